"""
An expression, its graph and its gradients
==========================================

The first example of micrograd, a scalar autograd engine of a hundred lines: an expression of two numbers is built step
by step, and one call gives the derivative of its result by each. The notes say that micrograd differentiates higher
orders too. It does not; rondeau does, as the end of this page shows.
"""

# %%
# The expression
# --------------
# ``requires_grad=True`` makes a tensor a leaf that gradients go to. Everything computed from it is recorded.

from rondeau import tensor as rt

a = rt.tensor(-4.0, requires_grad=True, dtype=rt.float64)
b = rt.tensor(2.0, requires_grad=True, dtype=rt.float64)
c = a + b
d = a * b + b**3
c = c + (c + 1)
c = c + (1 + c + (-a))
d = d + (d * 2 + (b + a).relu())
d = d + (3 * d + (b - a).relu())
e = c - d
f = e**2
g = f / 2
g = g + 10 / f
print(f"g = {g.item():.4f}")
assert round(g.item(), 4) == 24.7041

# %%
# Its gradients
# -------------
# ``backward`` walks the record from the result to the leaves, once, and leaves the derivatives in ``grad``.

g.backward(retain_graph=True)
print(f"dg/da = {a.grad.item():.4f}, dg/db = {b.grad.item():.4f}")
assert round(a.grad.item(), 4) == 138.8338
assert round(b.grad.item(), 4) == 645.5773

# %%
# The graph
# ---------
# What was recorded, from the leaves on the left to g on the right. ``rt.draw_graph`` gives the same for Graphviz.

ax = rt.plot_graph(g, names={"a": a, "b": b})
ax.set_title("The recorded graph of g")

# %%
# The gradient is right: central differences
# ------------------------------------------
# ``gradcheck`` compares every derivative with (g(a + h) - g(a - h)) / 2h.


def expression(a, b):
    c = 2 * (a + b) + 1
    c = c + (1 + c - a)
    d = a * b + b**3
    d = 3 * d + (b + a).relu()
    d = 4 * d + (b - a).relu()
    f = (c - d) ** 2
    return f / 2 + 10 / f


assert rt.gradcheck(expression, (a, b))

# %%
# The second derivative
# ---------------------
# With ``create_graph=True`` the walk back is recorded as well, so that its result can be differentiated again.

(first,) = rt.grad(g, [a], create_graph=True)
(second,) = rt.grad(first, [a])
h = 1e-4
by_differences = (
    expression(a.detach() + h, b) - 2 * expression(a.detach(), b) + expression(a.detach() - h, b)
).item() / h**2
print(f"d2g/da2 = {second.item():.4f}, by central differences {by_differences:.4f}")
assert abs(second.item() - by_differences) < 1e-3
