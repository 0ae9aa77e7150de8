"""Convolution and pooling: windows of any size, stride, dilation and padding, against sums over NumPy's windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.runtime import threads
from rondeau.nn import functional

from ..drawing import Draw
from ..verdict import check_equal, check_like
from .layers import Values, compare, leaf, spoiled_tensor

Array = NDArray[Any]

NO_SIZE: tuple[Any, ...] = (-1, 0, 1.5, True, "two", None, (1, 2, 3), (), (1, None), 2**31, 2**70)
"""What is no stride, dilation or size of a window."""
NUMPY_MODES: dict[str, Any] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


class Geometry(NamedTuple):
    """Windows on an input: one of each for every dimension.

    Attributes
    ----------
    input, size, stride, dilation : tuple of int
    before, after : tuple of int
        The padding.
    """

    input: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def rooms(self) -> tuple[int, ...]:
        """By how much the first window can move; negative where none fits."""
        return tuple(n + b + a - d * (k - 1) - 1 for n, k, _, d, b, a in zip(*self, strict=True))

    @property
    def output(self) -> tuple[int, ...]:
        """How many windows there are."""
        return tuple(room // s + 1 for room, s in zip(self.rooms, self.stride, strict=True))


@contextmanager
def _some_threads(draw: Draw) -> Iterator[None]:
    """Compute on one to three threads, and often on all of them however small the work."""
    least = threads.PARALLEL_FROM
    threads.set_num_threads(draw.choose((1, 2, 3)))
    threads.PARALLEL_FROM = draw.choose((least, 0))
    try:
        yield
    finally:
        threads.PARALLEL_FROM = least


def _compare(
    draw: Draw,
    name: str,
    call: Callable[[], Any],
    leaves: dict[str, Any],
    right: Callable[[Values], Array],
    dtype: Any,
    *,
    length: int = 1,
    least: float = 0.0,
) -> None:
    """Compare as all targets do, and the bits of one number of threads with those of another."""
    with _some_threads(draw):
        compare(draw, name, call, leaves, right, dtype, length=length, least=least)
    if draw.open is None and draw.chance(0.2):
        results = []
        for _ in range(2):
            with _some_threads(draw):
                results.append(np.array(call().detach().numpy()))
        check_equal(f"{name} on another number of threads", results[1], results[0])


def cut(x: Array, geometry: Geometry, fill: str = "constant") -> Array:
    """Return what all windows show: (N, C, H, W) to (N, C, P, Q, rows, columns), and so for one dimension."""
    number = len(geometry.input)
    sides = [(0, 0), (0, 0), *zip(geometry.before, geometry.after, strict=True)]
    beside = np.pad(x, sides, mode=fill)  # type: ignore[call-overload]
    for axis, (count, k, s, d) in enumerate(
        zip(geometry.output, geometry.size, geometry.stride, geometry.dilation, strict=True)
    ):
        at = np.arange(count)[:, None] * s + np.arange(k) * d
        beside = np.take(beside, at, axis=2 + 2 * axis)
    if number == 2:  # (N, C, P, rows, Q, columns)
        beside = beside.swapaxes(3, 4)
    return np.asarray(beside)


def _one_or_each(draw: Draw, sizes: tuple[int, ...]) -> Any:
    """Return sizes as a caller may write them."""
    if len(set(sizes)) == 1 and draw.chance(0.5):
        return sizes[0]
    return draw.choose((sizes, list(sizes)))


def _drawn_geometry(draw: Draw, number: int, most: int) -> Geometry:
    def sizes(*options: int) -> tuple[int, ...]:
        return tuple(draw.choose(options) for _ in range(number))

    shape = tuple(draw.size(most) for _ in range(number))
    padding = sizes(0, 0, 0, 1, 2, 5)
    return Geometry(
        shape, sizes(1, 2, 2, 3, 3, 5), sizes(1, 1, 1, 2, 3, 7), sizes(1, 1, 1, 1, 2, 3), padding, padding
    )


def convolution(draw: Draw) -> None:
    """Convolve sequences or planes, by function or by layer, in every way of padding."""
    number = draw.note("dimensions", draw.choose((1, 2, 2)))
    dtype = draw.note("dtype", draw.dtype())
    groups = draw.choose((1, 1, 1, 2, 3))
    of_group, filters = draw.size(9), groups * draw.size(9)
    batch: tuple[int, ...] = () if draw.chance(0.15) else (draw.size(9, empty=0.05),)
    geometry = _drawn_geometry(draw, number, 70 if number == 1 else 17)
    mode = draw.choose(("zeros", "zeros", "zeros", "reflect", "replicate", "circular"))
    padding: Any = _one_or_each(draw, geometry.before)
    if draw.chance(0.2):
        padding, nothing = draw.choose(("valid", "same")), (0,) * number
        geometry = geometry._replace(before=nothing, after=nothing)
        if padding == "same":
            totals = [d * (k - 1) for k, d in zip(geometry.size, geometry.dilation, strict=True)]
            geometry = geometry._replace(
                stride=(1,) * number,
                before=tuple(total // 2 for total in totals),
                after=tuple(total - total // 2 for total in totals),
            )
    x = leaf(draw, draw.floats((*batch, of_group * groups, *geometry.input), dtype))
    weight = leaf(draw, draw.floats((filters, of_group, *geometry.size), dtype))
    bias = leaf(draw, draw.floats((filters,), dtype)) if draw.chance(0.6) else None
    if draw.chance(0.02):
        x.data = draw.planted(x.detach().numpy())
    arguments: list[Any] = [x, weight, bias]
    options: dict[str, Any] = {
        "stride": _one_or_each(draw, geometry.stride),
        "padding": padding,
        "dilation": _one_or_each(draw, geometry.dilation),
        "groups": groups,
    }
    _spoil_geometry(draw, geometry, mode)
    by_layer = mode != "zeros" or draw.chance(0.3)
    if draw.spoil("a wrong argument or option", 0.15):
        by_layer = False if mode == "zeros" else by_layer
        _spoil_convolution(draw, arguments, options, by_layer)
    draw.note("arguments, options, mode, by layer", (arguments, options, mode, by_layer))

    def call() -> Any:
        if not by_layer:
            return (functional.conv1d if number == 1 else functional.conv2d)(*arguments, **options)
        kind = nn.Conv1d if number == 1 else nn.Conv2d
        layer = kind(
            of_group * groups,
            filters,
            geometry.size,
            bias=bias is not None,
            padding_mode=mode,
            dtype=dtype,
            **options,
        )
        layer.weight, layer.bias = _as_parameter(weight), _as_parameter(bias)
        return layer(arguments[0])

    def right(at: Values) -> Array:
        planes = at["x"] if batch else at["x"][None]
        shown = cut(planes, geometry, NUMPY_MODES[mode])
        parts = []
        for g in range(groups):
            mine = shown[:, g * of_group : (g + 1) * of_group]
            w = at["weight"].reshape(groups, -1, *at["weight"].shape[1:])[g]
            parts.append(np.einsum("ncpi,fci->nfp" if number == 1 else "ncpqij,fcij->nfpq", mine, w))
        y = np.concatenate(parts, axis=1)
        if "bias" in at:
            y = y + at["bias"].reshape(-1, *(1,) * number)
        return y if batch else y[0]

    leaves = {key: t for key, t in (("x", x), ("weight", weight), ("bias", bias)) if t is not None}
    length = of_group * int(np.prod(geometry.size))
    if by_layer:  # whose parameters are copies: their gradients are not ours
        leaves = {key: t if key == "x" else t.detach() for key, t in leaves.items()}
    _compare(draw, "convolution", call, leaves, right, dtype, length=length, least=1.0)


def _as_parameter(tensor: Any) -> Any:
    return None if tensor is None else nn.Parameter(tensor.detach())


def _spoil_geometry(draw: Draw, geometry: Geometry, mode: str) -> None:
    """Say whether no window fits, or there is too little to mirror."""
    if min(geometry.rooms) < 0:
        draw.wrong = "no window fits"
    there = {"zeros": 2**40, "replicate": 2**40, "reflect": -1, "circular": 0}[mode]
    for n, b, a in zip(geometry.input, geometry.before, geometry.after, strict=True):
        if max(b, a) > 0 and max(b, a) > n + there:
            draw.wrong = "more padding than there is to mirror"


def _spoil_convolution(draw: Draw, arguments: list[Any], options: dict[str, Any], by_layer: bool) -> None:
    """Make one argument or option wrong."""
    x, weight, _ = arguments
    if by_layer or draw.chance(0.5):
        name = draw.choose(("stride", "dilation", "padding", "groups"))
        bad = [value for value in NO_SIZE if name != "padding" or value != 0]
        bad += ["circular", b"same"] if name == "padding" else []
        bad += [weight.shape[0] + 1] if name == "groups" else []
        options[name] = draw.choose(bad)
        return
    k = draw.random.randrange(3)
    of = arguments[k] if arguments[k] is not None else rt.zeros(weight.shape[0], dtype=weight.dtype)
    arguments[k] = spoiled_tensor(draw, of)
    if k == 2 and arguments[k] is None:
        draw.wrong, draw.open = None, "no bias, which nothing contradicts"
    if k == 0 and isinstance(arguments[0], rt.Tensor) and arguments[0].ndim in (x.ndim - 1, x.ndim + 1):
        draw.wrong, draw.open = None, "one sample more or less, which may fit"


def _drawn_planes(draw: Draw, dtype: Any) -> Any:
    leading: tuple[int, ...] = (draw.size(9),)
    if draw.chance(0.85):
        leading = (draw.size(5, empty=0.05), *leading)
    x = leaf(draw, draw.floats((*leading, draw.size(17), draw.size(17)), dtype))
    if draw.chance(0.05):
        x.data = draw.planted(x.detach().numpy())
    return x


def _pool_options(draw: Draw, x: Any, dilates: bool) -> tuple[dict[str, Any], Geometry]:
    """Draw the options that both pools have; all windows together, those of `ceil_mode` too."""
    geometry = _drawn_geometry(draw, 2, 17)._replace(input=tuple(x.shape[-2:]))
    padding = tuple(min(p, k // 2) for p, k in zip(geometry.before, geometry.size, strict=True))
    geometry = geometry._replace(before=padding, after=padding)
    if not dilates:
        geometry = geometry._replace(dilation=(1, 1))
    if draw.chance(0.4):
        geometry = geometry._replace(stride=geometry.size)
    options: dict[str, Any] = {"kernel_size": _one_or_each(draw, geometry.size)}
    if geometry.stride != geometry.size or draw.chance(0.3):
        options["stride"] = _one_or_each(draw, geometry.stride)
    options["padding"] = _one_or_each(draw, padding)
    options["ceil_mode"] = draw.chance(0.3)
    if options["ceil_mode"]:
        geometry = geometry._replace(after=_reached(geometry))
    if min(geometry.rooms) < 0:
        draw.wrong = "no window fits"
    return options, geometry


def _reached(geometry: Geometry) -> tuple[int, ...]:
    """Return the padding after the input that the windows of `ceil_mode` reach over."""
    after = []
    for n, k, s, d, p, _ in zip(*geometry, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        number = -(-room // s) + 1
        if (number - 1) * s >= n + p:
            number -= 1
        after.append(p + max((number - 1) * s - room, 0) if number > 0 else p)
    return tuple(after)


def _spoil_pool(draw: Draw, given: list[Any], options: dict[str, Any]) -> None:
    """Make the input or an option wrong."""
    if draw.chance(0.5):
        given[0] = spoiled_tensor(draw, given[0])
        if isinstance(given[0], rt.Tensor) and given[0].dtype.char in "fd":
            draw.wrong, draw.open = None, "another shape or dtype, which nothing contradicts"
        return
    name = draw.choose([name for name in options if name not in ("ceil_mode", "count_include_pad")])
    bad = [v for v in NO_SIZE if not (v == 0 and name == "padding") and not (v is None and name == "stride")]
    bad += [10**6] if name == "padding" else []
    options[name] = draw.choose(bad)
    if name == "divisor_override":
        options[name] = draw.choose((0, 1.5, "two", True, 2**31, -(2**70)))


def max_pooling(draw: Draw) -> None:
    """Find the largest element of every window, and where it is; without a gradient where elements are equal."""
    dtype = draw.note("dtype", draw.dtype())
    x = _drawn_planes(draw, dtype)
    if np.unique(x.detach().numpy()).size < x.numel():
        x = x.detach()
    options, geometry = _pool_options(draw, x, dilates=True)
    if geometry.dilation != (1, 1) or draw.chance(0.3):
        options["dilation"] = _one_or_each(draw, geometry.dilation)
    there = np.pad(
        np.ones((1, 1, *geometry.input)), [(0, 0), (0, 0), *zip(geometry.before, geometry.after, strict=True)]
    )
    bare = geometry._replace(before=(0, 0), after=(0, 0))
    if draw.wrong is None and not (_cut_padded(there, bare, geometry) > 0).any(axis=(4, 5)).all():
        draw.wrong = "a window that shows none of the input"
    given: list[Any] = [x]
    if draw.spoil("a wrong argument or option", 0.12):
        _spoil_pool(draw, given, options)
    by_layer, indices = draw.chance(0.3), draw.chance(0.5)
    draw.note("input, options, by layer, indices", (given, options, by_layer, indices))
    found: list[Any] = []

    def call() -> Any:
        if by_layer:
            found[:] = [nn.MaxPool2d(**options, return_indices=indices)(given[0])]
        else:
            found[:] = [functional.max_pool2d(given[0], **options, return_indices=indices)]
        return found[0][0] if indices else found[0]

    def right(at: Values) -> Array:
        planes = at["x"].reshape(1, -1, *at["x"].shape[-2:])
        sides = [(0, 0), (0, 0), *zip(geometry.before, geometry.after, strict=True)]
        shown = _cut_padded(np.pad(planes, sides, constant_values=-np.inf), bare, geometry)
        return np.asarray(shown.max(axis=(4, 5)).reshape(*at["x"].shape[:-2], *geometry.output))

    _compare(draw, "max_pooling", call, {"x": x}, right, dtype)
    if indices and draw.open is None:
        largest, at = found[0]
        check_like("indices", at, largest.shape, np.int64)
        planes = x.detach().numpy().reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
        picked = np.take_along_axis(
            planes, at.detach().numpy().reshape(*x.shape[:-2], int(np.prod(geometry.output))), -1
        )
        check_equal(
            "what lies at the indices", picked.reshape(largest.shape), np.asarray(largest.detach().numpy())
        )


def _cut_padded(padded: Array, bare: Geometry, geometry: Geometry) -> Array:
    """Cut windows from an input with its padding."""
    return cut(padded, bare._replace(input=tuple(padded.shape[-2:])))


def average_pooling(draw: Draw) -> None:
    """Take the mean of every window, over its padding or not, or its sum over another number."""
    dtype = draw.note("dtype", draw.dtype())
    x = _drawn_planes(draw, dtype)
    options, geometry = _pool_options(draw, x, dilates=False)
    includes = options["count_include_pad"] = draw.chance(0.5)
    divisor = draw.choose((None, None, 3, -7, 2**31 - 1))
    if divisor is not None or draw.chance(0.2):
        options["divisor_override"] = divisor
    given: list[Any] = [x]
    if draw.spoil("a wrong argument or option", 0.12):
        _spoil_pool(draw, given, options)
    by_layer = draw.chance(0.3)
    draw.note("input, options, by layer", (given, options, by_layer))
    paddings = geometry.before

    def call() -> Any:
        if by_layer:
            return nn.AvgPool2d(**options)(given[0])
        return functional.avg_pool2d(given[0], **options)

    def right(at: Values) -> Array:
        planes = at["x"].reshape(1, -1, *at["x"].shape[-2:])
        sums = cut(planes, geometry).sum(axis=(4, 5))
        inside = np.ones((1, 1, *geometry.input))
        if includes:
            inside = np.pad(inside, [(0, 0), (0, 0), *((p, p) for p in paddings)], constant_values=1)
            rest = tuple(a - p for a, p in zip(geometry.after, paddings, strict=True))
            counted = geometry._replace(input=tuple(inside.shape[-2:]), before=(0, 0), after=rest)
        else:
            counted = geometry
        counts = cut(inside, counted).sum(axis=(4, 5)) if divisor is None else np.float64(divisor)
        means = sums / np.where(counts == 0, 1, counts)
        return np.asarray(means.reshape(*at["x"].shape[:-2], *geometry.output))

    _compare(draw, "average_pooling", call, {"x": x}, right, dtype, length=int(np.prod(geometry.size)))


def adaptive_pooling(draw: Draw) -> None:
    """Take means of windows that cut planes into as many as are asked for."""
    dtype = draw.note("dtype", draw.dtype())
    x = _drawn_planes(draw, dtype)
    sizes: tuple[Any, ...] = tuple(draw.choose((None, draw.size(25, empty=0.1))) for _ in range(2))
    asked: Any = sizes[0] if sizes[0] == sizes[1] and draw.chance(0.5) else draw.choose((sizes, list(sizes)))
    given: list[Any] = [x, asked]
    if draw.spoil("a wrong argument", 0.12):
        if draw.chance(0.5):
            given[0] = spoiled_tensor(draw, x)
            if isinstance(given[0], rt.Tensor) and given[0].dtype.char in "fd":
                draw.wrong, draw.open = None, "another shape or dtype, which nothing contradicts"
        else:
            given[1] = draw.choose(
                (-1, 1.5, True, "two", (1, 2, 3), (), (2, -1), (None, 1.5), 2**31, 2**70, {})
            )
    by_layer = draw.chance(0.3)
    draw.note("input, size, by layer", (*given, by_layer))

    def call() -> Any:
        return (
            nn.AdaptiveAvgPool2d(given[1])(given[0]) if by_layer else functional.adaptive_avg_pool2d(*given)
        )

    def right(at: Values) -> Array:
        y = at["x"]
        for axis, size in zip((-2, -1), sizes, strict=True):
            n = y.shape[axis]
            parts = n if size is None else size
            ends = [(i * n // parts, -(-(i + 1) * n // parts)) for i in range(parts)]
            y = np.moveaxis(y, axis, 0)
            means = [y[first:last].mean(axis=0) for first, last in ends]
            y = np.moveaxis(np.stack(means) if means else np.empty((0, *y.shape[1:])), 0, axis)
        return np.asarray(y)

    _compare(draw, "adaptive_pooling", call, {"x": x}, right, dtype, length=x.shape[-1] * x.shape[-2])
