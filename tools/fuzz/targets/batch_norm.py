"""`batch_norm`, by function and by layer: results, gradients and running statistics, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional

from ..drawing import Draw
from ..verdict import Finding, check_close, tolerance_of
from .layers import Values, compare, leaf, spoiled_tensor

Array = NDArray[Any]


def batch_norm(draw: Draw) -> None:
    """Normalise in training or evaluation, with or without running statistics, weight and bias."""
    dtype = draw.note("dtype", draw.dtype())
    channels = draw.size()
    shape = (
        draw.size(33, empty=0.05),
        channels,
        *(draw.size(9, empty=0.02) for _ in range(draw.random.randint(0, 3))),
    )
    training = draw.chance(0.6)
    scale, shift = draw.choose(((1.0, 0.0), (1.0, 0.0), (1e-3, 0.0), (1e3, 0.0), (1.0, 100.0)))
    x = leaf(draw, draw.laid_out(np.asarray(draw.normal(shape, np.float64, scale) + shift, dtype)))
    if draw.chance(0.02):
        x.data = draw.planted(x.detach().numpy())
    weight = leaf(draw, draw.floats((channels,), dtype)) if draw.chance(0.6) else None
    bias = leaf(draw, draw.floats((channels,), dtype)) if draw.chance(0.6) else None
    tracked = not training or draw.chance(0.6)
    mean = rt.Tensor(draw.floats((channels,), dtype)) if tracked else None
    var = (
        rt.Tensor(draw.laid_out(np.abs(draw.normal((channels,), dtype)) + dtype.type(0.1)))
        if tracked
        else None
    )
    momentum, eps = draw.choose((0.1, 0.1, 0.0, 1.0, 0.37)), draw.choose((1e-5, 1e-5, 1e-3, 1.0))
    if training and tracked and draw.chance(0.2):
        mean, var = draw.choose(((mean, None), (None, var)))
    count = int(np.prod(shape)) // channels
    if training and count == 1:
        draw.wrong = "one number per channel, which has no variance"
    arguments: list[Any] = [x, mean, var, weight, bias, training, momentum, eps]
    if draw.spoil("a wrong argument", 0.12):
        _spoil(draw, arguments, channels)
    if training and draw.wrong is None and any(_cannot_be_written(t) for t in arguments[1:3]):
        draw.wrong = "running statistics in memory that cannot be written"
    fits_a_layer = len(shape) in (2, 3, 4) and (mean is None) == (var is None)
    by_layer = draw.wrong is None and draw.open is None and fits_a_layer and draw.chance(0.3)
    draw.note("arguments, by layer", (arguments, by_layer))
    before = {name: _copied(t) for name, t in (("mean", mean), ("var", var))}
    leaves = {key: t for key, t in (("x", x), ("weight", weight), ("bias", bias)) if t is not None}
    if by_layer:
        leaves = {key: t if key == "x" else t.detach() for key, t in leaves.items()}
    along, over = (1, channels, *(1,) * (len(shape) - 2)), (0, *range(2, len(shape)))

    def call() -> Any:
        if not by_layer:
            return functional.batch_norm(*arguments)
        layer = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(
            channels,
            eps,
            momentum,
            affine=weight is not None,
            track_running_stats=mean is not None,
            dtype=dtype,
        )
        layer.weight, layer.bias = _as_parameter(weight), _as_parameter(bias)
        layer.running_mean, layer.running_var = mean, var
        return layer.train(training)(x)

    def right(at: Values) -> Array:
        values = at["x"]
        if values.size == 0:
            return values
        m, v = _statistics(values, over) if training else (before["mean"], before["var"])
        y = (values - m.reshape(along)) / np.sqrt(v.reshape(along) + eps)
        return np.asarray(
            y * at.get("weight", np.ones(channels)).reshape(along)
            + at.get("bias", np.zeros(channels)).reshape(along)
        )

    try:
        compare(draw, "batch_norm", call, leaves, right, dtype, length=max(count, 1), least=1.0)
    finally:
        if draw.wrong is not None or not training or count == 0:
            _check_unchanged(before, {"mean": mean, "var": var})
    if training and count > 1 and draw.open is None:
        m, v = _statistics(x.detach().numpy().astype(np.float64), over)
        for name, tensor, new in (("mean", mean, m), ("var", var, v * count / (count - 1))):
            if tensor is not None:
                wanted = (1 - momentum) * before[name] + momentum * new
                least = float(np.abs(x.detach().numpy().astype(np.float64)).max()) ** (
                    2 if name == "var" else 1
                )
                least = least if np.isfinite(least) else 1.0
                check_close(
                    f"running {name}", tensor, wanted, dtype, tolerance=tolerance_of(dtype, 8), least=least
                )


def _statistics(values: Array, over: tuple[int, ...]) -> tuple[Array, Array]:
    with np.errstate(all="ignore"):
        return values.mean(axis=over), values.var(axis=over)


def _as_parameter(tensor: Any) -> Any:
    return None if tensor is None else nn.Parameter(tensor.detach())


def _copied(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().numpy().astype(np.float64)


def _cannot_be_written(tensor: Any) -> bool:
    return isinstance(tensor, rt.Tensor) and not tensor.detach().numpy().flags.writeable


def _check_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, array in before.items():
        if array is not None and not np.array_equal(array, after[name].detach().numpy()):
            raise Finding(
                "changed its input", f"running {name} has other values after the call", f"running {name}"
            )


def _spoil(draw: Draw, arguments: list[Any], channels: int) -> None:
    """Make one argument wrong."""
    x, training = arguments[0], arguments[5]
    k = draw.choose((0, 1, 2, 3, 4, 6, 7))
    if k in (6, 7):
        arguments[k] = draw.choose(
            ("small", None, True, 1j, [0.1], float("nan")) + ((-1.0,) if k == 7 else ())
        )
        return
    of = arguments[k] if arguments[k] is not None else rt.zeros(channels, dtype=x.dtype)
    arguments[k] = spoiled_tensor(draw, of)
    if arguments[k] is None and (k > 2 or (k > 0 and training)):
        draw.wrong, draw.open = None, "nothing, which is allowed"
    if k == 0 and all(argument is None for argument in arguments[1:5]):
        draw.wrong, draw.open = None, "another input, which nothing contradicts"
    elif k == 0 and isinstance(arguments[0], rt.Tensor) and arguments[0].ndim > x.ndim:
        draw.wrong, draw.open = None, "one more dimension, which may fit"
    elif k == 0 and isinstance(arguments[0], rt.Tensor) and arguments[0].ndim == x.ndim - 1 and x.ndim > 2:
        draw.wrong, draw.open = None, "one dimension less, which may fit"
