"""
Vanishing gradients, residual networks, initialisation
======================================================

What becomes of a gradient on its way down a deep network: measured, layer by layer, in a plain network and in
a residual one, and with three ways to draw the first weights. "Naturally understanding deep learning" takes
it that 56 plain layers do worse than 20 because gradients vanish; that they do worse is degradation, and what
the gradients do has to be measured. And the derivative of H = F + x is not "at least 1".
"""

# %%
# H = F + x
# ---------
# Its derivative is dF/dx + I. The identity carries a gradient past F, but F's part may point the other way:
# with F(x) = -0.9 x, H shrinks every gradient to a tenth, and with F(x) = -x nothing comes through.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn
from rondeau import tensor as rt

for slope in (-0.9, -1.0, 0.5):
    x = rt.tensor(2.0, requires_grad=True)
    (slope * x + x).backward()
    print(f"F(x) = {slope} x: dH/dx = {x.grad.item():.1f}")
    assert abs(x.grad.item() - (1 + slope)) < 1e-6

rt.manual_seed(0)
branch = nn.Sequential(nn.Linear(3, 3, dtype=rt.float64), nn.Tanh())
at = rt.randn(3, dtype=rt.float64, requires_grad=True)


def jacobian(function):
    return np.array([rt.grad(function(at)[i], [at])[0].numpy() for i in range(3)])


whole, part = jacobian(lambda x: branch(x) + x), jacobian(branch)
print("singular values of I + J:", np.round(np.linalg.svd(whole, compute_uv=False), 3))
assert np.allclose(whole, part + np.eye(3))
assert np.linalg.svd(whole, compute_uv=False).min() < 1

# %%
# Twenty convolutions, plain and residual
# ---------------------------------------
# Both have the same twenty convolutions of 3 x 3 with ReLU, drawn as ``nn.Conv2d`` draws them by default. One
# adds the input of every two. The third normalises after each convolution too, as residual networks do. The
# gradient of the loss by each convolution's weight, on random planes, before any training:


class Pair(nn.Module):
    """Two convolutions; with `residual` their input is added."""

    def __init__(self, channels, residual, normalised):
        super().__init__()
        self.residual = residual
        layers = []
        for _ in range(2):
            layers += [nn.Conv2d(channels, channels, 3, padding=1)]
            layers += [nn.BatchNorm2d(channels)] if normalised else []
            layers += [nn.ReLU()]
        self.branch = nn.Sequential(*layers[:-1])

    def forward(self, planes):
        output = self.branch(planes)
        return (output + planes if self.residual else output).relu()


planes, targets = rt.randn(16, 8, 10, 10), rt.randint(0, 10, (16,))


def gradient_norms(residual, normalised):
    rt.manual_seed(1)
    pairs = nn.Sequential(*(Pair(8, residual, normalised) for _ in range(10)))
    network = nn.Sequential(pairs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    nn.CrossEntropyLoss()(network(planes), targets).backward()
    weights = [parameter for parameter in pairs.parameters() if parameter.ndim == 4]
    return np.array([weight.grad.norm().item() for weight in weights])


kinds = {
    "plain": (False, False),
    "residual": (True, False),
    "plain, normalised": (False, True),
    "residual, normalised": (True, True),
}
norms = {name: gradient_norms(*kind) for name, kind in kinds.items()}
for name, norm in norms.items():
    print(f"{name:<21} first layer {norm[0]:.1e}, last {norm[-1]:.1e}, ratio {norm[0] / norm[-1]:.1e}")
assert norms["plain"][0] < 1e-4 * norms["plain"][-1]
assert norms["residual"][0] > 0.01 * norms["residual"][-1]
assert norms["residual, normalised"][0] > 0.01 * norms["residual, normalised"][-1]

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, norm), style in zip(norms.items(), ("o-", "s-", "o:", "s:"), strict=True):
    ax.semilogy(range(1, 21), norm, style, markersize=4, label=name)
ax.set(
    xlabel="convolution, from the input", ylabel="norm of the gradient of its weight", xticks=range(1, 21, 3)
)
ax.set_title("Plain and residual, with normalisation and without")
_ = ax.legend()

# %%
# The plain network's gradient has vanished at its first layers. That is the doing of its first weights, too
# small for ReLU, as much as of its depth: with normalisation, which undoes their scale, the plain network has
# gradients all the way down. So vanishing gradients cannot be why deep plain networks with normalisation do
# worse than shallow ones.
#
# Xavier and Kaiming
# ------------------
# A layer multiplies the variance of its input by (number of inputs) x (variance of a weight), times what the
# activation leaves of it. Xavier's variance, 2 / (inputs + outputs), holds the scale for a layer that is
# about linear, such as tanh near 0. ReLU drops half of the square, so that Kaiming's is 2 / inputs. Fifty
# layers of 256 units:

DEPTH, UNITS = 50, 256


def scales(activation, initialise):
    """Root mean square of the activations after each layer, and of the gradients by them."""
    rt.manual_seed(0)
    hidden, outputs = rt.randn(64, UNITS, dtype=rt.float64), []
    for _ in range(DEPTH):
        layer = nn.Linear(UNITS, UNITS, bias=False, dtype=rt.float64)
        initialise(layer.weight)
        hidden = activation(layer(hidden))
        outputs.append(hidden)
    gradients = rt.grad(hidden, outputs, [rt.randn(64, UNITS, dtype=rt.float64)])
    return [np.array([(t.detach() ** 2).mean().item() ** 0.5 for t in ts]) for ts in (outputs, gradients)]


ways = {
    "normal, deviation .01": lambda weight: nn.init.normal_(weight, 0, 0.01),
    "Xavier": nn.init.xavier_normal_,
    "Kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}
fig, axes = plt.subplots(2, 2, figsize=(8, 5.4), layout="constrained", sharex=True)
found = {}
for column, (name, activation) in zip(axes.T, {"tanh": rt.tanh, "ReLU": rt.relu}.items(), strict=True):
    for way, initialise in ways.items():
        forward, backward = found[name, way] = scales(activation, initialise)
        print(f"{name}, {way}: activations {forward[-1]:.1e}, gradients {backward[0]:.1e}")
        column[0].semilogy(range(1, DEPTH + 1), forward, label=way)
        column[1].semilogy(range(1, DEPTH + 1), backward, label=way)
    column[0].set_title(name)
    column[1].set_xlabel("layer, from the input")
for ax in axes.flat:
    ax.set_ylim(1e-12, 1e2)  # a deviation of .01 goes on to 1e-48
axes[0, 0].set_ylabel("activations (RMS)")
axes[1, 0].set_ylabel("gradients by them (RMS)")
axes[0, 0].legend()
assert found["ReLU", "normal, deviation .01"][0][-1] < 1e-30
assert 0.1 < found["ReLU", "Kaiming"][0][-1] < 10
assert 0.1 < found["ReLU", "Kaiming"][1][0] < 10
assert 1e-9 < found["ReLU", "Xavier"][0][-1] < 1e-6  # 2 ** -25 is 3e-8
assert found["tanh", "Xavier"][0][-1] > 0.05

# %%
# With ReLU, Xavier loses a factor of √2 at each layer, 2⁻²⁵ in all; Kaiming loses nothing. With tanh, which
# holds activations below 1, Xavier keeps both within sight of 1.
