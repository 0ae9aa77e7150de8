"""
A tensor that remembers
=======================

The NumPy autograd text begins with a tensor that records what was done with it and hands gradients back along
that record. This page makes tensors, draws the graphs of the text's two examples, and goes through nine cases
in which the text's design gives a wrong gradient or none, with the right number asserted for each.
"""

# %%
# Making tensors
# --------------
# From Python numbers, from NumPy arrays (sharing their memory), or filled. float32 unless said otherwise, as
# in PyTorch.

import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

rt.manual_seed(0)
print(rt.tensor([[1, 2], [3, 4]]))
print(rt.from_numpy(np.linspace(0.0, 1.0, 3)))
print(rt.zeros(2, 3).shape, rt.ones(5).dtype, rt.arange(4).tolist(), rt.full((2,), 7.0).tolist())
print(rt.rand(3), rt.randn(2, 2), rt.eye(2), sep="\n")

# %%
# The first graph
# ---------------
# z = x + y. A gradient of ones at z is a gradient of ones at both of its parts.

x = rt.tensor([1, 2, 3, 4, 5], requires_grad=True, dtype=rt.float32)
y = rt.tensor([2] * 5, requires_grad=True, dtype=rt.float32)
z = x + y
ax = rt.plot_graph(z, names={"x": x, "y": y})
ax.set_title("z = x + y")
z.backward(rt.ones(5))
assert z.tolist() == [3, 4, 5, 6, 7]
assert x.grad.tolist() == y.grad.tolist() == [1] * 5

# %%
# A tensor that is used twice
# ---------------------------
# b goes into d and into e, so both send it a gradient, and the two are added.

a = rt.tensor([1, 2, 3, 4, 5], requires_grad=True, dtype=rt.float32)
b = rt.tensor([2, 2, 2, 2, 2], requires_grad=True, dtype=rt.float32)
c = rt.tensor([5, 4, 3, 2, 1], requires_grad=True, dtype=rt.float32)
d = a + b
e = b + c
f = d + e
ax = rt.plot_graph(f, names={"a": a, "b": b, "c": c})
ax.set_title("f = (a + b) + (b + c)")
f.backward(rt.ones(5))
assert f.tolist() == [10] * 5
assert a.grad.tolist() == c.grad.tolist() == [1] * 5
assert b.grad.tolist() == [2] * 5

# %%
# A graph as source for Graphviz, here that of a + b. With a path that ends in ``.svg`` it is drawn, if
# ``dot`` is installed.

print(rt.draw_graph(a + b, names={"a": a, "b": b}))

# %%
# A second ``backward`` is refused
# --------------------------------
# What the walk back needs is let go on the way. To walk twice, say so the first time: ``retain_graph=True``.
# Gradients then add up, in ``grad``, until they are cleared.


def refused(action):
    """Return the message of the error that an action raises."""
    try:
        action()
    except (RuntimeError, TypeError, ValueError) as error:
        return str(error)
    raise AssertionError("no error")


product = (a * b).sum()
product.backward()
print(refused(product.backward))

a.grad = None
product = (a * b).sum()
product.backward(retain_graph=True)
product.backward()
assert a.grad.tolist() == [4] * 5

# %%
# What the text's tensor gets wrong
# ---------------------------------
# Each case is about the smallest in which its design fails. All that the cases need is the gradient of a sum:


def gradient(function, *values):
    """Return the gradients of the sum of a function of leaves with these values."""
    leaves = [rt.tensor(value, requires_grad=True, dtype=rt.float64) for value in values]
    return [one.tolist() for one in rt.grad(function(*leaves).sum(), leaves)]


# %%
# **1. Counting readers.** A node may hand its gradient on only when all of its readers have sent theirs. The
# text's ``mm``, ``transpose``, ``sum``, ``expand`` and ``neg`` do not say which reader a gradient comes from.
# A node with two readers then hands on after the first and again, with the sum, after the second: 1 + 2 = 3
# where the derivative is 2.


OPERATIONS = {
    "mm": lambda h: h.mm(rt.ones(1, 1, dtype=rt.float64)),
    "transpose": lambda h: h.transpose(0, 1),
    "sum": lambda h: h.sum(),
    "expand": lambda h: h.unsqueeze(0).expand(1, 1, 1),
    "neg": lambda h: -h,
}


def twice_read(operation):
    """Return a function of x that reads x * 1 twice."""

    def function(x):
        h = x * 1
        return operation(h) + operation(h)

    return function


for name, operation in OPERATIONS.items():
    (found,) = gradient(twice_read(operation), [[1.0]])
    print(f"{name:<9} {found}")
    assert found == ([[-2.0]] if name == "neg" else [[2.0]])

# %%
# The text's ``expand(dim, copies)`` puts copies along a new axis. Here that is ``unsqueeze`` and ``expand``;
# the gradient is the sum over the copies.

assert rt.tensor([1, 2]).unsqueeze(0).expand(3, 2).tolist() == [[1, 2], [1, 2], [1, 2]]
assert gradient(lambda x: x.unsqueeze(0).expand(3, 2), [1.0, 2.0]) == [[3.0, 3.0]]

# %%
# **2. A branch that nobody uses.** The text waits for the gradient of every reader, also of one whose result
# was thrown away, and so never goes on. Only readers on the way to the result count.


def unused_branch(x):
    h = x * 2
    h.exp()  # thrown away
    return h * 3


assert gradient(unused_branch, [1.0]) == [[6.0]]

# %%
# **3. Walking twice.** A second ``backward`` passes the text's check unseen through the operations of case 1.
# Here no operation has a say in it: the walk itself refuses.

for operation in OPERATIONS.values():
    m = rt.ones(1, 1, requires_grad=True, dtype=rt.float64)
    result = operation(m).sum()
    result.backward()
    assert "second time" in refused(result.backward)

# %%
# **4. A tensor plus a constant** loses its graph in the text. Numbers work on either side of every operator:

assert gradient(lambda t: (t + 5) * 2, [1.0]) == [[2.0]]
assert gradient(lambda t: 2 * t, [5.0]) == [[2.0]]
assert gradient(lambda t: 1 - t, [5.0]) == [[-1.0]]
assert gradient(lambda t: 10 / t, [5.0]) == [[-0.4]]
assert gradient(lambda t: 2**t, [0.0]) == [[np.log(2)]]

# %%
# **5. Broadcasting.** A bias that NumPy repeats over the rows gets, in the text, a gradient of the rows'
# shape. It is the sum over the rows that it was repeated for.

assert gradient(lambda x, bias: x + bias, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0.0, 0.0])[1] == [3.0, 3.0]

# %%
# **6. Shared gradients.** The text's ``add`` hands one and the same array to both parents, so that clearing
# one parent's gradient in place clears the other's.

p, q = rt.ones(2, requires_grad=True), rt.ones(2, requires_grad=True)
(p + q).sum().backward()
p.grad *= 0
assert q.grad.tolist() == [1, 1]

# %%
# **7. Names by lot.** The text tells nodes apart by random numbers. If these are below 100,000, two of n
# nodes draw the same one with a probability near 1 - exp(-n² / 200,000), and their gradients are then mixed
# up. Objects need no numbers: each is itself.

for n in (100, 400, 1000):
    print(f"{n} nodes: {1 - np.exp(-(n**2) / 200_000):.0%}")

long_chain = rt.tensor(1.0, requires_grad=True)
h = long_chain
for _ in range(20_000):
    h = h + long_chain
h.backward()
assert long_chain.grad.item() == 20_001

# %%
# **8. Clearing by multiplication.** ``grad *= 0`` keeps a NaN, since 0 * NaN is NaN. ``zero_grad`` takes the
# gradients away.

w = nn.Parameter(rt.tensor([1.0]))
optimizer = train.optim.SGD([w], lr=0.1)
w.grad = rt.tensor([float("nan")])
assert np.isnan((w.grad * 0).item())
optimizer.zero_grad()
assert w.grad is None

# %%
# **9. A parameter that the loss does not use** has no gradient, and the text's optimiser stops with an error
# at it. It is left as it is.

unused = nn.Parameter(rt.tensor([7.0]))
optimizer = train.optim.SGD([w, unused], lr=0.1)
(3 * w).sum().backward()
optimizer.step()
assert unused.tolist() == [7.0]
assert np.isclose(w.item(), 0.7)

# %%
# Integers
# --------
# A gradient is about small changes, and an integer has none. So integer tensors cannot require gradients:

print(refused(lambda: rt.tensor([1, 2, 3], requires_grad=True)))
