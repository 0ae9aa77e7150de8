r"""
Convolution and pooling, by hand and by layer
=============================================

What a convolution and a pooling compute, written as loops over NumPy arrays and compared with the layers:
padding, stride, dilation, channels, 1 x 1. From "Naturally understanding deep learning", whose formula for
the size of the output holds for odd kernels only. A maximum is padded with :math:`-\infty`, not with zeros as
a convolution is.
"""

# %%
# Convolution
# -----------
# Every output group b has a kernel for each of the C input channels. It is laid on the input at one place
# after another; the products are summed over the kernel and over all channels.

import itertools

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn
from rondeau import tensor as rt

generator = np.random.default_rng(0)


def convolve(planes, kernels, bias, stride=1, padding=0, dilation=1):
    """Planes (C, H, W), kernels (B, C, a, a), bias (B,): the output (B, H', W')."""
    padded = np.pad(planes, ((0, 0), (padding, padding), (padding, padding)))
    a = kernels.shape[-1]
    reach = dilation * (a - 1) + 1  # what a kernel covers
    rows, columns = ((size - reach) // stride + 1 for size in padded.shape[1:])
    output = np.empty((len(kernels), rows, columns))
    for b, i, j in itertools.product(range(len(kernels)), range(rows), range(columns)):
        top, left = i * stride, j * stride
        seen = padded[:, top : top + reach : dilation, left : left + reach : dilation]
        output[b, i, j] = (seen * kernels[b]).sum() + bias[b]
    return output


planes = generator.normal(size=(3, 9, 8))
for stride, padding, dilation in itertools.product((1, 2), (0, 1), (1, 2)):
    layer = nn.Conv2d(3, 4, 3, stride=stride, padding=padding, dilation=dilation, dtype=rt.float64)
    by_layer = layer(rt.tensor(planes[None]))[0].detach().numpy()
    weight, bias = (parameter.detach().numpy() for parameter in (layer.weight, layer.bias))
    by_hand = convolve(planes, weight, bias, stride, padding, dilation)
    assert by_layer.shape == by_hand.shape
    assert np.allclose(by_layer, by_hand, rtol=1e-12, atol=1e-12)
print(f"weight {weight.shape}: 4 groups, 3 channels, 3 x 3; the eight layers equal the loops")

# %%
# An edge is where neighbours differ: a kernel of ones and minus ones finds it, here in a picture of ones (black)
# on zeros. Padding by one keeps the size, and makes an edge of the right border, where the ones meet the zeros
# of the padding. Blue is above zero, red below.

picture = np.zeros((12, 12))
picture[3:9, 4:12] = 1
kernels = {
    "upright edges": [[1, 0, -1]] * 3,
    "level edges": [[1] * 3, [0] * 3, [-1] * 3],
    "mean": [[1 / 9] * 3] * 3,
}
fig, axes = plt.subplots(1, 4, figsize=(7, 2.3), layout="constrained")
axes[0].imshow(picture, cmap="gray_r")
axes[0].set_title("picture", size=10)
for ax, (name, kernel) in zip(axes[1:], kernels.items(), strict=True):
    weight = rt.tensor([[kernel]], dtype=rt.float64)
    seen = nn.functional.conv2d(rt.tensor(picture[None, None]), weight, padding=1)[0, 0].numpy()
    assert seen.shape == picture.shape
    ax.imshow(seen, cmap="RdBu", vmin=-3, vmax=3)
    ax.set_title(name, size=10)
for ax in axes:
    ax.set(xticks=[], yticks=[])

# %%
# The size of the output
# ----------------------
# A input rows, padding p, stride s, dilation d, a kernel rows: floor((A + 2p - d(a - 1) - 1) / s) + 1. A 5 x
# 5 input, padded to 7 x 7, stays 5 x 5 under a 3 x 3 kernel. With half the kernel, rounded down, as the
# padding, that is so for every odd kernel; under an even one the output is a row larger than the input.


def output_size(A, a, p=0, s=1, d=1):
    return (A + 2 * p - d * (a - 1) - 1) // s + 1


checked = 0
for A, a, p, s, d in itertools.product((5, 8, 13), (1, 2, 3, 4, 5), (0, 1, 2), (1, 2, 3), (1, 2)):
    if output_size(A, a, p, s, d) > 0:
        shape = nn.Conv2d(1, 1, a, stride=s, padding=p, dilation=d)(rt.zeros(1, 1, A, A)).shape
        assert shape == (1, 1, output_size(A, a, p, s, d), output_size(A, a, p, s, d))
        checked += 1
print(f"the formula holds for {checked} combinations")
assert output_size(5, 3, p=1) == 5
sizes = {a: output_size(5, a, p=a // 2) for a in range(1, 6)}
print(
    "5 rows, kernel of a rows, padding a // 2: "
    + ", ".join(f"a = {a} gives {size}" for a, size in sizes.items())
)
assert sizes == {1: 5, 2: 6, 3: 5, 4: 6, 5: 5}

# %%
# Pooling
# -------
# The maximum or the mean of each window. Padding counts as minus infinity for a maximum, so that a window of
# negative numbers has a negative maximum at the border too. With zeros it would be 0. For the mean, padding
# is zeros, which count unless ``count_include_pad=False``.


def pool(plane, size, stride, padding, fill, reduce):
    padded = np.pad(plane, padding, constant_values=fill)
    rows, columns = ((length - size) // stride + 1 for length in padded.shape)
    windows = [
        [padded[i * stride : i * stride + size, j * stride : j * stride + size] for j in range(columns)]
        for i in range(rows)
    ]
    return np.array([[reduce(window) for window in row] for row in windows])


plane = generator.normal(size=(7, 7)) - 3
for size, stride, padding in ((2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 1, 0)):
    largest = nn.MaxPool2d(size, stride, padding)(rt.tensor(plane[None, None]))[0, 0].numpy()
    mean = nn.AvgPool2d(size, stride, padding)(rt.tensor(plane[None, None]))[0, 0].numpy()
    assert np.array_equal(largest, pool(plane, size, stride, padding, -np.inf, np.max))
    assert np.allclose(mean, pool(plane, size, stride, padding, 0, np.mean), rtol=1e-12)

below_zero = rt.tensor([[[-1.0, -2.0], [-3.0, -4.0]]])
print(f"maximum with padding: {nn.MaxPool2d(2, 2, padding=1)(below_zero).tolist()}")
print(f"padded with zeros:    {pool(below_zero[0].numpy(), 2, 2, 1, 0, np.max).tolist()}")
assert nn.MaxPool2d(2, 2, padding=1)(below_zero).tolist() == [[[-1, -2], [-3, -4]]]

ramp = rt.arange(16, dtype=rt.float32).reshape(1, 4, 4)
print(f"4 x 4 ramp: maxima {nn.MaxPool2d(2)(ramp).tolist()}, means {nn.AvgPool2d(2)(ramp).tolist()}")
assert nn.MaxPool2d(2)(ramp).tolist() == [[[5, 7], [13, 15]]]
assert nn.AvgPool2d(2)(ramp).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
assert nn.AdaptiveAvgPool2d(1)(ramp).item() == 7.5

# %%
# Where the gradient goes: for a maximum, to the element that was it; for a mean, to all in equal parts.

fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
drawn = rt.tensor(plane[:6, :6][None], requires_grad=True)
axes[0].imshow(plane[:6, :6], cmap="viridis")
axes[0].set_title("input", size=10)
for ax, layer in zip(axes[1:], (nn.MaxPool2d(2), nn.AvgPool2d(2)), strict=True):
    (gradient,) = rt.grad(layer(drawn).sum(), [drawn])
    ax.imshow(gradient[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(f"gradient of {type(layer).__name__}(2)", size=10)
    assert gradient.sum().item() == 9
for ax in axes:
    ax.set(xticks=[], yticks=[])

# %%
# Why 1 x 1
# ---------
# A 1 x 1 convolution is a linear layer over the channels, the same at every place. Before an expensive
# convolution it makes the channels few: from 192 x 28 x 28 to 32 channels by 5 x 5 there are 120,422,400
# multiplications; through 16 channels first, 12,443,648, a tenth.

point = nn.Conv2d(192, 16, 1)
places = rt.randn(1, 192, 4, 4)
linear = places.permute(0, 2, 3, 1) @ point.weight.reshape(16, 192).t() + point.bias
assert rt.allclose(point(places), linear.permute(0, 3, 1, 2), atol=1e-5)


def multiplications(layer, size=28):
    """One for each weight at each place of the output."""
    return layer.weight.numel() * size * size


directly = multiplications(nn.Conv2d(192, 32, 5, padding=2))
narrowed = multiplications(point) + multiplications(nn.Conv2d(16, 32, 5, padding=2))
print(f"directly {directly:,}, through 16 channels {narrowed:,}: {directly / narrowed:.1f} times fewer")
assert directly == 120_422_400
assert narrowed == 12_443_648

fig, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
first, second = multiplications(point) / 1e6, multiplications(nn.Conv2d(16, 32, 5)) / 1e6
ax.barh(["through 16 channels", "directly"], [first, 0], label="1 x 1")
ax.barh(["through 16 channels", "directly"], [second, directly / 1e6], left=[first, 0], label="5 x 5")
ax.set(xlabel="multiplications (millions)", title="A 5 x 5 convolution, directly and through 1 x 1")
_ = ax.legend()
