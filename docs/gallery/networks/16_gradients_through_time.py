"""
Gradients through time: vanishing and exploding
===============================================

How much of the gradient of a loss at the last step arrives at each step before: for a linear network, for
tanh units, for a GRU and for an LSTM. After "Naturally understanding deep learning". A short rule says: below
1 for the norm of the recurrent matrix the gradient vanishes, above 1 it explodes. Only the first half holds
for tanh units; above 1 the gradient can explode, and need not.
"""

# %%
# Measuring
# ---------
# A layer is run one step at a time, so that every state is a tensor of its own. ``rt.grad`` then gives the
# derivative of a random projection of the last output by each of them. An LSTM's state is a pair; its two
# parts count together.

# sphinx_gallery_thumbnail_number = 3
import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn
from rondeau import tensor as rt

rt.manual_seed(0)
T, HIDDEN = 100, 32
projection = rt.randn(HIDDEN, dtype=rt.float64)
projection = projection / projection.norm()


def gradient_norms(layer, x):
    """The norm of the derivative by the state k = 0, 1, ..., T - 1 steps before the last."""
    parts = 2 if isinstance(layer, nn.LSTM) else 1
    state = tuple(rt.zeros(1, 1, HIDDEN, dtype=rt.float64, requires_grad=True) for _ in range(parts))
    states = []
    for x_t in x:
        _, state = layer(x_t.reshape(1, 1, -1), state if parts == 2 else state[0])
        state = state if parts == 2 else (state,)
        states.append(state)
    loss = (state[0].flatten() * projection).sum()
    flat = rt.grad(loss, [part for state in states for part in state], allow_unused=True)
    squares = [0.0 if g is None else (g**2).sum().item() for g in flat]  # the last memory cell has no use
    return np.sqrt(np.reshape(squares, (T, parts)).sum(1))[::-1]


x = rt.randn(T, 4, dtype=rt.float64)

# %%
# The linear network: :math:`|\lambda|^T`
# ---------------------------------------
# Without a nonlinearity each step back multiplies the gradient by the transpose of the same matrix R. After
# some steps the eigenvalue of the largest modulus decides: the gradient follows a line in the logarithm, of
# slope :math:`\log|\lambda|`. The same random matrix, scaled to three moduli:

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
steps = np.arange(T)
random = np.random.default_rng(0).normal(size=(HIDDEN, HIDDEN))
random /= abs(np.linalg.eigvals(random)).max()
for colour, modulus in zip(("C0", "C1", "C2"), (0.9, 1.0, 1.1), strict=True):
    layer = nn.Recurrent(nn.cells.linear_rnn, 4, HIDDEN, dtype=rt.float64)
    layer.load_state_dict({**layer.state_dict(), "weight_hh_l0": rt.tensor(modulus * random)})
    norms = gradient_norms(layer, x)
    slope = np.polyfit(steps[T // 2 :], np.log(norms[T // 2 :]), 1)[0]
    print(f"|lambda| = {modulus}: a step back multiplies by {np.exp(slope):.4f}")
    assert abs(np.exp(slope) - modulus) < 0.01
    ax.semilogy(steps, norms, colour, label=f"measured, |λ| = {modulus}")
    ax.semilogy(steps, norms[-1] * modulus ** (steps - T + 1.0), colour, linestyle=":")
ax.set(
    xlabel="steps back from the loss", ylabel="norm of the gradient", title="Linear network; dotted: |λ|^k"
)
ax.legend()

# %%
# tanh units: the norm of R
# -------------------------
# A step back multiplies by :math:`R^\top \mathrm{diag}(1 - h_t^2)`, and no slope of tanh is above 1. So the norm
# of the gradient is multiplied by :math:`\|R\|_2`, the largest singular value of R, at most; where that is below
# 1, the gradient must vanish:


def tanh_layer(matrix):
    layer = nn.RNN(4, HIDDEN, bias=False, dtype=rt.float64)
    layer.load_state_dict({**layer.state_dict(), "weight_hh_l0": rt.tensor(matrix)})
    return layer


singular = random / np.linalg.norm(random, 2)
vanishing = gradient_norms(tanh_layer(0.95 * singular), x)
assert (vanishing <= 0.95**steps * (1 + 1e-12)).all()

# %%
# Above 1 nothing follows. Three cases with a norm far above 1: a matrix that explodes, the same one with
# inputs that drive tanh to its flat ends, and a shift, whose entries are all 0 but for 3s beside the
# diagonal: its norm is 3, its eigenvalues are all 0, and after 32 steps back the gradient is exactly 0.

shift = 3.0 * np.eye(HIDDEN, k=1)
cases = {
    "‖R‖ = 0.95: has to vanish": vanishing,
    "‖R‖ = 2.5, no inputs: explodes": gradient_norms(tanh_layer(1.5 * random), 0 * x),
    "‖R‖ = 2.5, large inputs: vanishes": gradient_norms(tanh_layer(1.5 * random), 10 * x),
    "‖R‖ = 3, a shift: 0 after 32 steps": gradient_norms(tanh_layer(shift), 0 * x),
}
norm = np.linalg.norm(1.5 * random, 2)
print(f"norm of R {norm:.2f}, of the shift {np.linalg.norm(shift, 2):.2f}")
exploding, saturated, shifted = list(cases.values())[1:]
assert exploding[40] > 1e4
assert saturated[40] < 1e-4
assert (shifted[HIDDEN:] == 0).all()

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, norms), style in zip(cases.items(), ("-", "--", "-.", ":"), strict=True):
    drawn = norms > 1e-16
    ax.semilogy(steps[drawn], norms[drawn], linestyle=style, label=name)
ax.set(
    xlabel="steps back from the loss", ylabel="norm of the gradient", title="tanh units", ylim=(1e-16, 1e16)
)
ax.legend()

# %%
# RNN against GRU and LSTM
# ------------------------
# With the usual initial values, uniform within :math:`\pm 1/\sqrt{H}`, all three forget. What sets gated
# layers apart is that they can learn not to: the gradient along the memory cell is multiplied by the forget
# gate alone, and that along the state of a GRU by its update gate, next to smaller terms. Both gates start
# half open, which halves the gradient at each step; a bias opens them. That is why an LSTM's forget bias is
# often started at 1 or higher.


def layer_of(kind, gate_bias=0.0):
    rt.manual_seed(1)
    layer = kind(4, HIDDEN, dtype=rt.float64)
    if gate_bias:
        gate = slice(HIDDEN, 2 * HIDDEN)  # second in both: r, z, n and i, f, g, o
        layer.bias_ih_l0.data[gate] = gate_bias
        layer.bias_hh_l0.data[gate] = 0.0
    return layer


layers = {
    "RNN": layer_of(nn.RNN),
    "GRU": layer_of(nn.GRU),
    "LSTM": layer_of(nn.LSTM),
    "GRU, update bias 4": layer_of(nn.GRU, 4.0),
    "LSTM, forget bias 1": layer_of(nn.LSTM, 1.0),
    "LSTM, forget bias 4": layer_of(nn.LSTM, 4.0),
}
norms = {name: gradient_norms(layer, x) for name, layer in layers.items()}
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, colour, style in zip(
    norms, ("C0", "C1", "C2", "C1", "C2", "C2"), ["-", "-", "-", "--", "-.", "--"], strict=True
):
    ax.semilogy(steps, norms[name], color=colour, linestyle=style, label=name)
    factor = (norms[name][60] / norms[name][10]) ** (1 / 50)
    print(f"{name:20} a step back multiplies by {factor:.3f}")
ax.set(
    xlabel="steps back from the loss",
    ylabel="norm of the gradient",
    title="Untrained layers, 32 units",
    ylim=(1e-16, 10),
)
ax.legend(loc="lower left")
assert (
    norms["RNN"][50] < norms["LSTM"][50] < norms["LSTM, forget bias 1"][50] < norms["LSTM, forget bias 4"][50]
)
assert norms["RNN"][50] < norms["GRU"][50] < norms["GRU, update bias 4"][50]
assert norms["LSTM, forget bias 4"][99] > 0.01 * norms["LSTM, forget bias 4"][1]

# %%
# Clipping, the usual cure for exploding gradients, bounds the length of the step and keeps its direction. It
# cannot bring back a gradient that has vanished:

weight = nn.Parameter(rt.tensor([0.0, 0.0], dtype=rt.float64))
(weight * rt.tensor([3e6, 4e6], dtype=rt.float64)).sum().backward()
norm = nn.utils.clip_grad_norm_([weight], max_norm=5.0)
print(f"norm {norm.item():.0f} clipped: {weight.grad.tolist()}")
assert np.allclose(weight.grad.numpy(), [3, 4])
