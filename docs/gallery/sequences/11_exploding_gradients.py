"""
Exploding gradients, and clipping off and on
============================================

d2l's recurrent language model trained twice from the same weights: once as the chapter does it, with the
gradient's norm clipped to 1, and once without. The chapter says why to clip; here is what happens if one does
not.
"""

# %%
# Why
# ---
# Let f be a loss whose value changes at most L times as fast as its argument. A step of size :math:`\eta`
# along the gradient g changes it by at most :math:`|f(x) - f(x - \eta g)| \le L \eta |g|`. Through 35 steps
# of a recurrent network g is a sum of products of up to 35 matrices and may become very long at a single
# batch, so that this bound says nothing. Clipping, :math:`g \leftarrow \min(1, \theta / |g|)\, g`, keeps the
# direction and makes the bound :math:`L \eta \theta`.

import math

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

gradient = rt.tensor([3.0, 4.0])
weight = rt.zeros(2, requires_grad=True)
(weight * gradient).sum().backward()
norm = nn.utils.clip_grad_norm_([weight], max_norm=1.0)
print(f"norm {norm.item():.1f}, clipped to {[round(g, 3) for g in weight.grad.tolist()]}")
assert np.allclose(weight.grad.numpy(), [0.6, 0.8])

# %%
# Two runs
# --------
# The recipe of the chapter: 10,000 characters, 256 tanh units, plain gradient descent with a rate of 1.
# ``Trainer`` reports the mean norm of the gradients before clipping; clipped to infinity they stay as they
# are, and the norm is reported too.

text = datasets.timemachine(stand_in=True)
print(datasets.describe("timemachine"))
real = datasets.is_real("timemachine")
letters = "".join(data.d2l_lines(text))[:10_000]
codec = data.Codec.fit(letters, data.CharTokenizer())
stream = data.TokenStream(codec.encode(letters), len(codec))


def fit(clip_norm):
    rt.manual_seed(0)
    model = nn.LanguageModel(len(codec), recurrent="rnn", hidden_size=256)
    history = train.History()
    trainer = train.Trainer(
        model,
        train.optim.SGD(model.parameters(), lr=1.0),
        data.SequentialBatches(stream, batch_size=32, num_steps=35, seed=0),
        max_steps=2000,
        clip_norm=clip_norm,
        log_every=1,
        callbacks=[history],
    )
    try:
        trainer.fit()
    except train.DivergedError as error:
        print(error)
    return model, history.curve("train_loss")[1], history.curve("grad_norm")[1]


model, *clipped = fit(1.0)
_, *free = fit(math.inf)
runs = {"clipped to 1": clipped, "not clipped": free}
for name, (losses, norms) in runs.items():
    perplexity, worst = np.exp(losses[-50:].mean()), np.exp(losses.max())
    print(f"{name:<13} last perplexity {perplexity:.3g}, largest {worst:.3g}; ", end="")
    print(f"gradient norm: median {np.median(norms):.2f}, largest {norms.max():.3g}")

# %%
# Both learn alike, and as they do, the gradients get longer. The steps of the unclipped run get longer with
# them, until one goes too far: the loss rises, the gradients there are longer still, the next steps throw the
# weights far away, and what was learned is lost. The clipped run meets gradients as long as the other does
# just before, and keeps learning.

figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
for name, (losses, norms) in runs.items():
    steps = np.arange(1, len(losses) + 1)
    upper.semilogy(steps, np.exp(np.minimum(losses, 50)), linewidth=1, label=name)
    lower.semilogy(steps, norms, linewidth=1, label=name)
lower.axhline(1.0, color="0.5", linewidth=1)
upper.set(ylabel="perplexity of the batch (log, to $e^{50}$)", title="d2l's recipe with and without clipping")
lower.set(xlabel="updates", ylabel="gradient norm before clipping (log)")
_ = upper.legend()

if real:
    assert clipped[0][-50:].mean() < 1.5
    losses, norms = free
    assert losses.max() > 2 * math.log(len(codec))
    assert norms.max() > 10 * np.median(norms)

# %%
# One step, measured
# ------------------
# The change of the loss along the gradient of one batch, at the weights where the clipped run ended, for the
# batch of the epoch with the longest gradient. A short step of size :math:`\eta` lowers the loss by
# :math:`\eta |g|^2`, as the first derivative promises. The step of the chapter, :math:`\eta = 1`, is no short
# step: the loss rises although it goes downhill. Clipped, it is.


def loss_and_gradient(X, Y):
    model.zero_grad()
    logits, _ = model(X)
    loss = nn.functional.cross_entropy(logits, rt.tensor(Y.T.reshape(-1)))
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    return loss.item(), gradients, math.sqrt(sum((g**2).sum().item() for g in gradients))


batches = list(data.SequentialBatches(stream, batch_size=32, num_steps=35, seed=0))
X, Y = max(batches, key=lambda batch: loss_and_gradient(*batch)[2])
loss, gradients, norm = loss_and_gradient(X, Y)
weights = [parameter.data.clone() for parameter in model.parameters()]
etas = np.logspace(-4, 1, 40)
after = []
for eta in etas:
    for parameter, weight, gradient in zip(model.parameters(), weights, gradients, strict=True):
        parameter.data.copy_(weight - eta * gradient)
    after.append(loss_and_gradient(X, Y)[0])
whole, shortened = np.interp([0.0, -math.log(norm)], np.log(etas), after)
print(f"loss {loss:.3f}; after a step of size 1: {whole:.3f}, of length 1: {shortened:.3f}")
if real:
    assert whole > loss > shortened

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.semilogx(etas, np.array(after) - loss, label="measured")
promised = -etas * norm**2
ax.semilogx(etas[promised > -loss], promised[promised > -loss], "--", label=r"promised, $-\eta |g|^2$")
ax.axvline(1.0, color="C3", linewidth=1, label="the step without clipping")
ax.axvline(min(1.0, 1.0 / norm), color="C2", linewidth=1, label="the step clipped to norm 1")
ax.set(
    xlabel=r"size of the step $\eta$",
    ylabel="change of the loss (nats)",
    title=f"A batch with |g| = {norm:.2f}",
)
_ = ax.legend()
