"""
Truncated backpropagation through time in NumPy
===============================================

A network that predicts the next word, in NumPy alone, with its three matrices U, W and V and every derivative
spelled out: the program of the bare NumPy text. Truncation bounds the cost of a long text. It is no cure for
vanishing gradients: they vanish as before, and it cuts off what is left of them.
"""

# %%
# A sentence
# ----------
# "I like to play ." in a vocabulary of 80 words is 2, 45, 10, 64, 1. Each word is to predict the one after
# it.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

sentence = np.array([2, 45, 10, 64, 1])
inputs, targets = sentence[:-1], sentence[1:]
assert inputs.tolist() == [2, 45, 10, 64]
assert targets.tolist() == [45, 10, 64, 1]

# %%
# The network
# -----------
# x is the word's row of an embedding table E of 100 columns. The state has 100 units: h = tanh(U x + W h),
# and the probabilities of the next word are softmax(V h). There are no biases. The loss is the sum over the
# steps of -log of the probability of the right word.


def initial_weights(vocab_size, size=100):
    random = np.random.default_rng(0)
    bound = 1 / np.sqrt(size)
    return {
        "E": random.normal(0, 1, (vocab_size, size)),
        "U": random.uniform(-bound, bound, (size, size)),
        "W": random.uniform(-bound, bound, (size, size)),
        "V": random.uniform(-bound, bound, (vocab_size, size)),
    }


def forward(weights, inputs):
    """Return the states, the zero state first, and the probabilities of all steps."""
    states, probabilities = [np.zeros(len(weights["W"]))], []
    for word in inputs:
        states.append(np.tanh(weights["U"] @ weights["E"][word] + weights["W"] @ states[-1]))
        scores = weights["V"] @ states[-1]
        powers = np.exp(scores - scores.max())
        probabilities.append(powers / powers.sum())
    return states, probabilities


# %%
# Backward, piece by piece
# ------------------------
# Each piece takes the derivative of the loss by its result, ``dz``, and gives those by its arguments.


def multiplication_backward(matrix, vector, dz):
    """Go back through z = matrix @ vector."""
    return np.outer(dz, vector), matrix.T @ dz


def addition_backward(dz):
    """Go back through z = a + b."""
    return dz, dz


def tanh_backward(z, dz):
    """Go back through z = tanh(a)."""
    return (1 - z**2) * dz


def softmax_loss_backward(probabilities, target):
    """Go back through -log softmax(scores)[target]."""
    one_hot = np.arange(len(probabilities)) == target
    return probabilities - one_hot


# %%
# Backward through time
# ---------------------
# The loss of step t reaches its own step, and then k = ``bptt_truncate`` earlier ones, down to step max(1, t
# - k). With k = None it reaches the first step. That is a window for each t. Cutting a long text into pieces
# and carrying the state from one to the next, as ``train.Trainer`` does, is another thing: there the loss at
# the start of a piece reaches no earlier step, and the one at its end reaches them all.


def backward(weights, inputs, targets, bptt_truncate):
    """Return the loss and the derivatives by all weights."""
    states, probabilities = forward(weights, inputs)
    loss = -sum(np.log(p[target]) for p, target in zip(probabilities, targets, strict=True))
    gradients = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for t in range(1, len(inputs) + 1):
        d_scores = softmax_loss_backward(probabilities[t - 1], targets[t - 1])
        d_matrix, d_state = multiplication_backward(weights["V"], states[t], d_scores)
        gradients["V"] += d_matrix
        first = 1 if bptt_truncate is None else max(1, t - bptt_truncate)
        for s in range(t, first - 1, -1):
            d_input_part, d_state_part = addition_backward(tanh_backward(states[s], d_state))
            word = inputs[s - 1]
            d_matrix, d_vector = multiplication_backward(weights["U"], weights["E"][word], d_input_part)
            gradients["U"] += d_matrix
            gradients["E"][word] += d_vector
            d_matrix, d_state = multiplication_backward(weights["W"], states[s - 1], d_state_part)
            gradients["W"] += d_matrix
    return loss, gradients


weights = initial_weights(80)
loss, _ = backward(weights, inputs, targets, None)
print(f"loss of the sentence {loss:.4f}; guessing would cost {4 * np.log(80):.4f}")

# %%
# The oracle
# ----------
# What a truncated gradient is, without any of the above: for each t, start from the state k + 1 steps before
# as if it were a constant, run to t, and let autograd differentiate that step's loss. The sum over t is the
# truncated gradient.


def oracle(weights, inputs, targets, bptt_truncate):
    """Return the derivatives by all weights, from a run of its own for each step."""
    states, _ = forward(weights, inputs)
    leaves = {name: rt.tensor(weight, requires_grad=True) for name, weight in weights.items()}
    for t in range(1, len(inputs) + 1):
        first = 1 if bptt_truncate is None else max(1, t - bptt_truncate)
        h = rt.tensor(states[first - 1])
        for s in range(first, t + 1):
            h = (leaves["U"] @ leaves["E"][int(inputs[s - 1])] + leaves["W"] @ h).tanh()
        (-(leaves["V"] @ h).log_softmax(0)[int(targets[t - 1])]).backward()
    return {name: leaf.grad.numpy() for name, leaf in leaves.items()}


# %%
# The library's layer
# -------------------
# ``bptt_truncate`` is an option of every recurrent layer. It walks the windows inside one fused operation.


class Network(nn.Module):
    def __init__(self, weights, bptt_truncate):
        super().__init__()
        vocab_size, size = weights["E"].shape
        self.embedding = nn.Embedding(vocab_size, size, dtype=rt.float64)
        self.recurrent = nn.Recurrent(
            nn.cells.rnn_tanh, size, size, bias=False, bptt_truncate=bptt_truncate, dtype=rt.float64
        )
        self.head = nn.Linear(size, vocab_size, bias=False, dtype=rt.float64)
        names = dict(zip("EUWV", self.state_dict(), strict=True))
        self.load_state_dict({names[name]: rt.tensor(weight) for name, weight in weights.items()})

    def forward(self, inputs):
        states, _ = self.recurrent(self.embedding(inputs))
        return self.head(states)


criterion = nn.CrossEntropyLoss(reduction="sum")
for k in (0, 1, 2, None):
    _, by_hand = backward(weights, inputs, targets, k)
    network = Network(weights, k)
    criterion(network(rt.tensor(inputs)), rt.tensor(targets)).backward()
    for (name, gradient), parameter in zip(by_hand.items(), network.parameters(), strict=True):
        assert np.allclose(gradient, oracle(weights, inputs, targets, k)[name], rtol=1e-12, atol=1e-12)
        assert np.allclose(gradient, parameter.grad.numpy(), rtol=1e-12, atol=1e-12)
    print(f"k = {k}: |dL/dW| = {np.linalg.norm(by_hand['W']):.6f} by hand, by the oracle, by the layer")

# %%
# Three numbers to check any implementation by
# --------------------------------------------
# h_t = tanh(w h_{t-1} + x_t) with w = 0.8, h_0 = 0.5, x = (1, -0.5, 0.25) and L = the sum of h_t² / 2. By
# hand with k = 0, 1 and 2, then by the layer, whose one unit has U = 1 and W = w.


def scalar_gradient(bptt_truncate, w=0.8, h0=0.5, x=(1.0, -0.5, 0.25)):
    h = [h0]
    for value in x:
        h.append(np.tanh(w * h[-1] + value))
    total = 0.0
    for t in (1, 2, 3):
        dh = h[t]
        for s in range(t, max(1, t - bptt_truncate) - 1, -1):
            da = tanh_backward(h[s], dh)
            total += da * h[s - 1]
            dh = w * da
    return total


for k, expected in ((0, 0.337930), (1, 0.580040), (2, 0.602023)):
    layer = nn.Recurrent(nn.cells.rnn_tanh, 1, 1, bias=False, bptt_truncate=k, dtype=rt.float64)
    layer.load_state_dict(
        {"weight_ih_l0": rt.tensor([[1.0]]).double(), "weight_hh_l0": rt.tensor([[0.8]]).double()}
    )
    h, _ = layer(rt.tensor([[1.0], [-0.5], [0.25]]).double(), rt.tensor([[0.5]]).double())
    (h**2 / 2).sum().backward()
    print(f"k = {k}: dL/dw = {scalar_gradient(k):.6f}")
    assert round(scalar_gradient(k), 6) == round(layer.weight_hh_l0.grad.item(), 6) == expected
assert scalar_gradient(3) == scalar_gradient(2)

# %%
# What truncation does, and what it does not
# ------------------------------------------
# It bounds the work: k + 1 steps for each loss instead of t. The gradient that arrives s steps back is the
# same as without it, until it is cut off. If it vanishes, it vanishes with truncation too, only sooner.

STEPS = 40
random = np.random.default_rng(0)
words = random.integers(0, 80, STEPS)
states, probabilities = forward(weights, words)


def reach(bptt_truncate):
    """Return how large the gradient of the last step's loss is, by the steps that it went back."""
    d_state = weights["V"].T @ softmax_loss_backward(probabilities[-1], 0)
    norms = np.zeros(STEPS)
    for back in range(STEPS if bptt_truncate is None else bptt_truncate + 1):
        norms[back] = np.linalg.norm(d_state)
        d_state = weights["W"].T @ tanh_backward(states[STEPS - back], d_state)
    return norms


full = reach(None)
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.semilogy(full, "C0-", linewidth=5, label=f"whole: {STEPS * (STEPS + 1) // 2} steps back in all")
for k, style in ((4, "C1o-"), (16, "C2.-")):
    truncated = reach(k)
    assert np.array_equal(truncated[: k + 1], full[: k + 1])
    visited = sum(min(t, k + 1) for t in range(1, STEPS + 1))
    ax.semilogy(truncated[: k + 1], style, label=f"k = {k}: {visited} steps back in all")
ax.set(
    xlabel="steps back from the loss",
    ylabel="norm of the gradient by the state",
    title=f"A text of {STEPS} words",
)
ax.legend()
print(f"the gradient shrinks to {full[16] / full[0]:.0e} in 16 steps")
assert full[16] < 1e-3 * full[0]

# %%
# A real text
# -----------
# The first two thousand words of The Time Machine, as it is reduced in d2l, twenty at a time. A word that
# comes once is unknown.

lines = data.d2l_lines(datasets.timemachine(stand_in=True))
print(datasets.describe("timemachine"))
story = [word for line in lines for word in line.split()][:2001]
vocab = data.Vocab(story, min_freq=2)
ids = np.array(vocab[story])
pieces = [(ids[i : i + 20], ids[i + 1 : i + 21]) for i in range(0, 2000, 20)]
print(f"{len(set(story))} distinct words, {len(vocab)} in the vocabulary")

# %%
# One step of descent for each piece, on the mean loss of its words. The rate falls to its XX epochs: a
# schedule needs an optimiser to act on, and the NumPy version reads the rate from it. Both versions train
# with k = 4.

EPOCHS, K = 6, 4
weights = initial_weights(len(vocab))
network = Network(weights, K)
optimizer = train.optim.SGD(network.parameters(), lr=0.2)
schedule = train.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
by_hand, by_layer, rates = [], [], []
for _ in range(EPOCHS):
    rate = schedule.get_last_lr()[0]
    rates.append(rate)
    sums = np.zeros(2)
    for inputs, targets in pieces:
        loss, gradients = backward(weights, inputs, targets, K)
        for name, gradient in gradients.items():
            weights[name] -= rate * gradient / len(inputs)
        layer_loss = criterion(network(rt.tensor(inputs)), rt.tensor(targets))
        optimizer.zero_grad()
        (layer_loss / len(inputs)).backward()
        optimizer.step()
        sums += loss, layer_loss.item()
    schedule.step()
    by_hand.append(sums[0] / 2000)
    by_layer.append(sums[1] / 2000)
    print(f"rate {rate:.3f}: {by_hand[-1]:.4f} nats per word by hand, {by_layer[-1]:.4f} by the layer")
assert rates == [0.2] * 2 + [0.1] * 2 + [0.05] * 2
assert np.allclose(by_hand, by_layer, rtol=1e-6)
assert by_hand[-1] < by_hand[0] < np.log(len(vocab))

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
epochs = range(1, EPOCHS + 1)
ax.plot(epochs, by_hand, linewidth=5, label="NumPy by hand")
ax.plot(epochs, by_layer, linewidth=1.5, marker="o", label="nn.Recurrent")
ax.set(xlabel="epoch", ylabel="training loss (nats per word)", title="The same training, truncated at k = 4")
ax.legend()
right = ax.twinx()
right.step(epochs, rates, "C2:", where="mid")
right.set(ylabel="rate (dotted)", ylim=(0, 0.4))
