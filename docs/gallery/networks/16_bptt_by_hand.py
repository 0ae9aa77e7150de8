"""
Backpropagation through time by hand
====================================

Three steps of a recurrent network with one unit and one weight: the chain rule of "Naturally understanding
deep learning", term by term, and the same number from autograd. Each dh/dW in that chain is the local
derivative, with the state before held fixed. Read as the whole derivative it counts earlier steps more than
once; this page shows by how much.
"""

# %%
# The network
# -----------
# :math:`h_t = \tanh(w h_{t-1} + x_t)`, three times, and a loss on the last state alone, :math:`L = h_3^2 /
# 2`.

# sphinx_gallery_thumbnail_number = 2
import math

import matplotlib.pyplot as plt

from rondeau import nn
from rondeau import tensor as rt

w, h0, x = 0.8, 0.5, (1.0, -0.5, 0.25)
h = [h0]
for x_t in x:
    h.append(math.tanh(w * h[-1] + x_t))
print("states:", *(f"{state:.6f}" for state in h))

# %%
# The chain of the text
# ---------------------
# .. math::
#
#    \frac{dL}{dW} = L'(h_3) \left[ \frac{\partial h_3}{\partial W}
#    + \frac{\partial h_3}{\partial h_2} \frac{\partial h_2}{\partial W}
#    + \frac{\partial h_3}{\partial h_2} \frac{\partial h_2}{\partial h_1} \frac{\partial h_1}{\partial W} \right]
#
# The weight is used at three steps, s = 3, 2, 1, and each use contributes one term. The slope of tanh is
# :math:`1 - h_t^2`, so that the local derivatives are :math:`\partial h_t / \partial W = (1 - h_t^2) h_{t-1}`
# and :math:`\partial h_t / \partial h_{t-1} = (1 - h_t^2) w`.

of_weight = {t: (1 - h[t] ** 2) * h[t - 1] for t in (1, 2, 3)}
of_state = {t: (1 - h[t] ** 2) * w for t in (2, 3)}
terms = {
    3: h[3] * of_weight[3],
    2: h[3] * of_state[3] * of_weight[2],
    1: h[3] * of_state[3] * of_state[2] * of_weight[1],
}
for s, term in terms.items():
    print(f"by the weight's use at step {s}: {term:.6f}")
print(f"together: {sum(terms.values()):.6f}")
assert [round(term, 6) for term in terms.values()] == [0.068127, 0.225106, 0.021983]
assert round(sum(terms.values()), 6) == 0.315216

# %%
# Autograd gives the same
# -----------------------
# The same loop with a tensor. Behind the loss stands a graph in which ``w`` is used three times.

weight = rt.tensor(w, requires_grad=True, dtype=rt.float64)
state = rt.tensor(h0, dtype=rt.float64)
for x_t in x:
    state = (weight * state + x_t).tanh()
loss = state**2 / 2
loss.backward(retain_graph=True)
assert math.isclose(weight.grad.item(), sum(terms.values()), rel_tol=1e-12)

ax = rt.plot_graph(loss, names={"w": weight})
ax.set_title("The recorded graph: one weight, three uses")

# %%
# The three terms one by one: give each step a weight of its own, of the same value.

weights = [rt.tensor(w, requires_grad=True, dtype=rt.float64) for _ in x]


def loss_of(*weights):
    state = rt.tensor(h0, dtype=rt.float64)
    for weight, x_t in zip(weights, x, strict=True):
        state = (weight * state + x_t).tanh()
    return state**2 / 2


by_step = rt.grad(loss_of(*weights), weights)
assert all(math.isclose(by_step[s - 1].item(), term, rel_tol=1e-12) for s, term in terms.items())
assert rt.gradcheck(loss_of, weights)

# %%
# A layer gives the same
# ----------------------
# ``nn.RNN`` with one unit, the input weight 1 and no bias. It records one node for all steps and walks back
# in compiled code.

layer = nn.RNN(1, 1, bias=False, dtype=rt.float64)
nn.init.ones_(layer.weight_ih_l0)
nn.init.constant_(layer.weight_hh_l0, w)
_, h_n = layer(rt.tensor(x, dtype=rt.float64).reshape(3, 1, 1), rt.full((1, 1, 1), h0, dtype=rt.float64))
(h_n**2 / 2).sum().backward()
assert math.isclose(layer.weight_hh_l0.grad.item(), sum(terms.values()), rel_tol=1e-12)

# %%
# Backwards in one pass
# ---------------------
# The terms share their factors, so nobody multiplies them out. Going back from the last step, one number, the
# gradient of the loss by the state, is carried along: time in proportion to the steps rather than to their
# square.

of_loss, gradient = h[3], 0.0
for t in (3, 2, 1):
    before_tanh = of_loss * (1 - h[t] ** 2)
    gradient += before_tanh * h[t - 1]
    of_loss = before_tanh * w
assert math.isclose(gradient, sum(terms.values()), rel_tol=1e-12)

# %%
# Local, not whole
# ----------------
# The whole derivative of h_2 by the weight already holds what came through h_1. Whoever puts whole
# derivatives into the chain counts the term of step 2 twice and that of step 1 three times:

whole = {1: of_weight[1]}
for t in (2, 3):
    whole[t] = of_weight[t] + of_state[t] * whole[t - 1]
wrong = h[3] * (whole[3] + of_state[3] * whole[2] + of_state[3] * of_state[2] * whole[1])
print(f"with whole derivatives: {wrong:.6f} instead of {sum(terms.values()):.6f}")
assert math.isclose(wrong, terms[3] + 2 * terms[2] + 3 * terms[1], rel_tol=1e-12)

# %%
# Which step the gradient comes from
# ----------------------------------
# The use at step 2 counts most: the state after step 1, which it multiplies, is large. Step 1 lies behind two
# slopes and two weights below 1. With more steps the early terms fade away or blow up: see the next page.

fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
left = 0.0
for s, term in terms.items():
    ax.barh(f"s = {s}: {term:.6f}", term, left=left, color=f"C{3 - s}")
    left += term
ax.axvline(left, color="C7", linestyle="--", label=f"dL/dw = {left:.6f}")
ax.set(xlabel="contribution to dL/dw, added up", ylabel="use of the weight", title="Three uses, one gradient")
ax.invert_yaxis()
ax.legend(loc="lower left")
