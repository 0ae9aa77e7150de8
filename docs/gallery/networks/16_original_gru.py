"""
The GRU as it was published, and PyTorch's
==========================================

"Naturally understanding deep learning" defines the gated recurrent unit with a z that weights the new state
and a reset gate inside the recurrent product. PyTorch's and rondeau's ``nn.GRU`` do both the other way round,
so that weights moved from one to the other unchanged give another network. Here is what leads across.
"""

# %%
# The text's equations
# --------------------
# .. math::
#
#    z_t &= \sigma(W_z x_t + U_z h_{t-1}), \qquad r_t = \sigma(W_r x_t + U_r h_{t-1}) \\
#    n_t &= \tanh(W x_t + U (r_t \odot h_{t-1})) \\
#    h_t &= (1 - z_t) \odot h_{t-1} + z_t \odot n_t
#
# without biases. Written out:

import matplotlib.pyplot as plt

from rondeau import nn
from rondeau import tensor as rt

rt.manual_seed(0)
T, BATCH, INPUT, HIDDEN = 20, 3, 4, 5


def gru_by_hand(x, W, U, h):
    """Run over x (T, B, I); W and U hold the rows of the gates r, z, n."""
    (W_r, W_z, W_n), (U_r, U_z, U_n) = W.chunk(3), U.chunk(3)
    outputs = []
    for x_t in x:
        r = (x_t @ W_r.T + h @ U_r.T).sigmoid()
        z = (x_t @ W_z.T + h @ U_z.T).sigmoid()
        n = (x_t @ W_n.T + (r * h) @ U_n.T).tanh()
        h = (1 - z) * h + z * n
        outputs.append(h)
    return rt.stack(outputs)


# %%
# The library has this cell, ``nn.cells.gru_original``. Same outputs, same gradients:

x = rt.randn(T, BATCH, INPUT, dtype=rt.float64)
h_0 = rt.randn(1, BATCH, HIDDEN, dtype=rt.float64)
cotangent = rt.randn(T, BATCH, HIDDEN, dtype=rt.float64)
layer = nn.Recurrent(nn.cells.gru_original, INPUT, HIDDEN, bias=False, dtype=rt.float64)
output, _ = layer(x, h_0)
by_hand = gru_by_hand(x, layer.weight_ih_l0, layer.weight_hh_l0, h_0[0])
assert rt.allclose(output, by_hand, rtol=0, atol=1e-12)
weights = [layer.weight_ih_l0, layer.weight_hh_l0]
of_layer = rt.grad((output * cotangent).sum(), weights)
of_hand = rt.grad((by_hand * cotangent).sum(), weights)
assert all(rt.allclose(a, b, rtol=0, atol=1e-11) for a, b in zip(of_layer, of_hand, strict=True))

# %%
# Which state z weights
# ---------------------
# In PyTorch's convention, also that of the paper by Cho and others, z weights the old state: h' = (1 - z) n +
# z h. Since :math:`1 - \sigma(a) = \sigma(-a)`, negating the rows of the update gate in both matrices turns
# one convention into the other, exactly. The paper's cell is written in three lines:


@nn.recurrent_cell(gates=("r", "z", "n"), states=("h",))
def gru_of_paper(x, r, s):
    keep = nn.cell_math.sigmoid(x.z + r.z)
    new = nn.cell_math.tanh(x.n + r.n(nn.cell_math.sigmoid(x.r + r.r) * s.h))
    return (1 - keep) * new + keep * s.h


def with_update_gate_negated(layer):
    """The weights of a layer, the rows of its gate z (the second of r, z, n) negated."""
    weights = {name: weight.detach().clone() for name, weight in layer.state_dict().items()}
    rows = slice(layer.hidden_size, 2 * layer.hidden_size)
    for weight in weights.values():
        weight[rows] = -weight[rows]
    return weights


paper = nn.Recurrent(gru_of_paper, INPUT, HIDDEN, bias=False, dtype=rt.float64)
paper.load_state_dict(layer.state_dict())
unchanged, _ = paper(x, h_0)
assert (unchanged - output).abs().max() > 0.1
paper.load_state_dict(with_update_gate_negated(layer))
assert rt.allclose(paper(x, h_0)[0], output, rtol=0, atol=1e-12)

# %%
# Where the reset gate stands
# ---------------------------
# ``nn.GRU`` multiplies by the reset gate after the recurrent product, r * (U h) rather than U (r * h),
# because all three products with h can then be one. No weights undo that, but there are cases in which it
# makes no difference. With one hidden unit U is a number, and numbers commute:

narrow = nn.Recurrent(nn.cells.gru_original, INPUT, 1, bias=False, dtype=rt.float64)
torch_like = nn.GRU(INPUT, 1, bias=False, dtype=rt.float64)
torch_like.load_state_dict(with_update_gate_negated(narrow))
assert rt.allclose(torch_like(x, h_0[..., :1])[0], narrow(x, h_0[..., :1])[0], rtol=0, atol=1e-12)

# %%
# With more units, the first step from a state of zeros is the same, and the difference begins with the
# second:

torch_like = nn.GRU(INPUT, HIDDEN, bias=False, dtype=rt.float64)
torch_like.load_state_dict(with_update_gate_negated(layer))
mapped, original = torch_like(x)[0], layer(x)[0]
assert rt.allclose(mapped[0], original[0], rtol=0, atol=1e-12)
assert (mapped[1] - original[1]).abs().max() > 1e-4

# %%
# How far apart
# -------------
# One unit over 20 steps. With z mapped, what remains of the difference is the place of the reset gate; with
# the weights as they are, the two networks have little in common.

torch_like.load_state_dict(layer.state_dict())
as_they_are = torch_like(x)[0]
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(original[:, 0, 0].tolist(), marker="o", label="the text's GRU")
ax.plot(mapped[:, 0, 0].tolist(), "--", marker=".", label="nn.GRU, update gate negated")
ax.plot(as_they_are[:, 0, 0].tolist(), ":", marker=".", label="nn.GRU, weights unchanged")
ax.set(xlabel="step", ylabel="state of a unit", xticks=range(0, T, 2), title="The same weights in two forms")
ax.legend()
remaining, between = (mapped - original).abs().mean().item(), (as_they_are - original).abs().mean().item()
print(f"mean difference with z mapped {remaining:.4f}, with the weights unchanged {between:.4f}")
assert remaining < between / 3
