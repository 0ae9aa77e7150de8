"""`Linear`, `Embedding`, `cross_entropy` and `layer_norm`, forward and backward, against plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional

from ..directional import check_gradients
from ..drawing import NONSENSE, Draw
from ..verdict import attempt, check_close, check_like, tolerance_of

Array = NDArray[Any]
Values = dict[str, Array]


def leaf(draw: Draw, array: Array) -> Any:
    """Return a tensor that may require gradients."""
    tensor = rt.Tensor(array)
    return tensor.requires_grad_() if draw.chance(0.7) else tensor


def compare(
    draw: Draw,
    name: str,
    call: Callable[[], Any],
    leaves: dict[str, Any],
    right: Callable[[Values], Array],
    dtype: Any,
    *,
    length: int = 1,
    least: float = 0.0,
    watched: tuple[Any, ...] = (),
) -> None:
    """Call something that returns one tensor; compare it, and its gradients, with a function in float64."""
    result = attempt(draw, call, *leaves.values(), *watched)
    if draw.open:
        return
    values = {key: tensor.detach().numpy().astype(np.float64) for key, tensor in leaves.items()}
    with np.errstate(all="ignore"):
        wanted = np.asarray(right(values))

    def spread() -> float:
        rounding = float(np.finfo(dtype).eps)
        near = {k: v * (1 + rounding * draw.normal(v.shape, np.float64)) for k, v in values.items()}
        return float(np.nanmax(np.abs(right(near) - wanted), initial=0.0))

    check_close(
        name, result, wanted, dtype, tolerance=tolerance_of(dtype, length), least=least, spread=spread
    )
    asked = {key: tensor for key, tensor in leaves.items() if tensor.requires_grad}
    if not result.requires_grad or not draw.chance(0.7):
        return
    cotangent = rt.Tensor(draw.note("cotangent", draw.floats(result.shape, dtype)))
    weights = cotangent.detach().numpy().astype(np.float64)
    attempt(draw, lambda: result.backward(cotangent), *leaves.values(), *watched, cotangent, result)
    gradients = {
        key: check_like(f"{name}: gradient of {key}", tensor.grad, tensor.shape, dtype)
        for key, tensor in asked.items()
        if tensor.grad is not None
    }
    if gradients and all(np.isfinite(value).all() for value in values.values()):
        check_gradients(
            draw, lambda at: float((right(at) * weights).sum()), values, gradients, dtype, f"{name}: gradient"
        )


def spoiled_tensor(draw: Draw, tensor: Any) -> Any:
    """Return something else than a tensor of this shape and dtype."""
    array = tensor.detach().numpy()
    other = np.float32 if array.dtype == np.float64 else np.float64
    bad: list[Any] = [rt.Tensor(np.zeros((*array.shape, 3), array.dtype)), rt.Tensor(array.astype(other))]
    bad += [array, *NONSENSE]
    if array.ndim:
        bad.append(rt.Tensor(np.zeros([n + 2 for n in array.shape], array.dtype)))
    if array.ndim and array.shape[-1]:
        bad.append(rt.Tensor(array[..., 0]))
    chosen = draw.choose(bad)
    if isinstance(chosen, np.ndarray):
        draw.wrong, draw.open = None, "an array in the place of a tensor"
    return chosen


def _fits(x: Any, inputs: int, dtype: Any) -> bool:
    return isinstance(x, rt.Tensor) and x.dtype == dtype and x.shape[-1:] == (inputs,)


def linear(draw: Draw) -> None:
    """``x W^T + b`` for inputs of any number of dimensions."""
    dtype = draw.note("dtype", draw.dtype())
    inputs, outputs = draw.size(empty=0.03), draw.size(empty=0.03)
    leading = tuple(draw.size(9, empty=0.05) for _ in range(draw.random.randint(0, 3)))
    x = leaf(draw, draw.floats((*leading, inputs), dtype))
    weight = leaf(draw, draw.floats((outputs, inputs), dtype))
    bias = leaf(draw, draw.floats((outputs,), dtype)) if draw.chance(0.7) else None
    leaves = {"x": x, "weight": weight} | ({"bias": bias} if bias is not None else {})
    if draw.chance(0.02):
        weight.data = draw.planted(weight.detach().numpy())
    given = [x, weight, bias]
    if draw.spoil("an argument of another shape, dtype or type", 0.1):
        k = draw.random.randrange(3)
        given[k] = spoiled_tensor(draw, given[k] if given[k] is not None else rt.zeros(outputs, dtype=dtype))
        if k == 2 and given[k] is None:
            draw.wrong = None
            leaves.pop("bias", None)
        if k == 0 and _fits(
            given[0], inputs, dtype
        ):  # rows of another number of dimensions are right as well
            draw.wrong, given[0] = None, x
    draw.note("arguments", given)

    def right(at: Values) -> Array:
        rows: Array = np.einsum("...i,oi->...o", at["x"], at["weight"]) + at.get("bias", 0.0)
        return rows

    compare(draw, "linear", lambda: functional.linear(*given), leaves, right, dtype, length=inputs)


def linear_layer(draw: Draw) -> None:
    """Make a `Linear` of drawn sizes, right or wrong."""
    sizes: list[Any] = [draw.size(empty=0.05), draw.size(empty=0.05)]
    options: dict[str, Any] = {"bias": draw.chance(0.5), "dtype": draw.choose((None, "float32", np.float64))}
    if draw.spoil("sizes or a dtype that a layer does not have", 0.3):
        if draw.chance(0.7):
            sizes[draw.random.randrange(2)] = draw.choose((-1, 1.5, "three", None, (2, 3)))
        else:
            options["dtype"] = draw.choose(("no such", "complex64", "int64", object))
    draw.note("sizes, options", (sizes, options))
    layer = attempt(draw, lambda: nn.Linear(*sizes, **options))
    check_like("weight", layer.weight, (sizes[1], sizes[0]), options["dtype"] or np.float32)


def embedding(draw: Draw) -> None:
    """Rows of a table by ids, and the gradient that adds up where an id repeats."""
    dtype = draw.note("dtype", draw.dtype())
    number, width = draw.size(), draw.size(empty=0.03)
    shape = tuple(draw.size(9, empty=0.05) for _ in range(draw.random.randint(0, 3)))
    table = leaf(draw, draw.floats((number, width), dtype))
    ids = draw.integers(shape, number, draw.choose((np.int64, np.int64, np.int32, np.uint8, np.int8)))
    padding = draw.random.randint(-number, number - 1) if draw.chance(0.3) else None
    given: list[Any] = [draw.choose((rt.Tensor(ids), ids)), table, padding]
    if draw.spoil("bad ids, table or padding", 0.15):
        wrong = ids.astype(np.int64)
        bad: list[tuple[int, Any]] = [
            (1, _spoiled_table(draw, table)),
            (2, number),
            (2, -number - 1),
            (2, "first"),
        ]
        bad += [(0, ids + 0.5), (0, ids.astype(bool)), (0, "ids"), (0, None), (0, [[1], [2, 3]])]
        if ids.size:
            wrong.flat[draw.random.randrange(ids.size)] = draw.choose((-1, number, 2**40, -(2**62)))
            bad += [(0, wrong), (0, rt.Tensor(wrong)), (0, wrong)]
        k, value = draw.choose(bad)
        given[k] = value
    draw.note("ids, table, padding", given)
    keep = np.ones((number, 1))
    if padding is not None:
        keep[padding] = 0.0
    fixed = table.detach().numpy().astype(np.float64)

    def right(at: Values) -> Array:
        rows: Array = (at["table"] * keep + fixed * (1 - keep))[ids]
        return rows

    compare(
        draw,
        "embedding",
        lambda: functional.embedding(*given),
        {"table": table},
        right,
        dtype,
        watched=(ids,),
    )


def _spoiled_table(draw: Draw, table: Any) -> Any:
    array = table.detach().numpy()
    bad: list[Any] = [
        rt.Tensor(array[None]),
        rt.Tensor(array.astype(np.float16)),
        rt.Tensor(array.reshape(-1)),
    ]
    return draw.choose([*bad, rt.Tensor(array.astype(np.int64)), "table", None])


def cross_entropy(draw: Draw) -> None:
    """Classes or probabilities, weights, ignored classes, smoothing, reductions."""
    dtype = draw.note("dtype", draw.dtype())
    classes = draw.size()
    rest = tuple(draw.size(5, empty=0.05) for _ in range(draw.choose((0, 0, 1, 2))))
    leading: tuple[int, ...] = () if draw.chance(0.15) else (draw.size(empty=0.05),)
    rest = rest if leading else ()
    logits = leaf(draw, draw.floats((*leading, classes, *rest), dtype, draw.choose((1.0, 1.0, 30.0))))
    ignored = draw.choose((-100, -100, 0, classes - 1))
    target = draw.integers((*leading, *rest), classes, draw.choose((np.int64, np.int64, np.int32, np.uint8)))
    if ignored == -100 and target.dtype.kind == "i" and draw.chance(0.3) and target.size:
        target = target.copy()
        target.flat[0] = -100
    weight = rt.Tensor(np.abs(draw.floats((classes,), dtype)) + 0.1) if draw.chance(0.3) else None
    smoothing = draw.choose((0.0, 0.0, 0.1, 1.0))
    reduction = draw.choose(("mean", "sum", "none"))
    arguments: list[Any] = [logits, draw.choose((rt.Tensor(target), target)), weight]
    options: dict[str, Any] = {"ignore_index": ignored, "reduction": reduction, "label_smoothing": smoothing}
    if draw.spoil("a wrong argument or option", 0.15):
        _spoil_cross_entropy(draw, arguments, options, target, classes)
    draw.note("arguments, options", (arguments, options))

    def right(at: Values) -> Array:
        z = at["logits"]
        axis = 1 if leading else 0
        shifted = z - z.max(axis=axis, keepdims=True)
        log_p = np.moveaxis(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)), axis, -1)
        w = np.ones(classes) if weight is None else weight.detach().numpy().astype(np.float64)
        counts = target.astype(np.int64) != ignored
        at_class = np.where(counts, target, 0).astype(np.int64)
        picked = np.take_along_axis(log_p, at_class[..., None], -1)[..., 0] * w[at_class]
        losses = -(1 - smoothing) * picked - smoothing / classes * (log_p * w).sum(-1)
        losses = np.where(counts, losses, 0.0)
        if reduction == "none":
            return losses
        total = losses.sum()
        return np.asarray(total / (w[at_class] * counts).sum() if reduction == "mean" else total)

    call = lambda: functional.cross_entropy(*arguments, **options)  # noqa: E731 - named for the line's sake
    compare(
        draw,
        "cross_entropy",
        call,
        {"logits": logits},
        right,
        dtype,
        length=classes,
        least=1.0,
        watched=(target, weight),
    )


def _spoil_cross_entropy(
    draw: Draw, arguments: list[Any], options: dict[str, Any], target: Array, classes: int
) -> None:
    """Make one argument or option wrong."""
    logits = arguments[0]
    other = np.float32 if logits.dtype == np.float64 else np.float64
    bad_options: list[tuple[str, Any]] = [
        ("reduction", "average"),
        ("reduction", None),
        ("label_smoothing", 1.5),
    ]
    bad_options += [("label_smoothing", float("nan")), ("label_smoothing", -0.1), ("label_smoothing", "much")]
    bad_options += [("ignore_index", "none")]
    wrong = target.astype(np.int64)
    bad: list[tuple[int, Any]] = [(1, target[..., None]), (1, target.astype(bool)), (1, "target"), (1, None)]
    bad += [
        (2, rt.Tensor(np.ones(classes + 1, logits.dtype))),
        (2, rt.Tensor(np.ones(classes, other))),
        (2, "even"),
    ]
    bad += [
        (0, rt.Tensor(logits.detach().numpy().astype(np.float16))),
        (0, rt.Tensor(np.float32(1.0))),
        (0, "logits"),
        (0, None),
    ]
    if wrong.size:
        wrong.flat[draw.random.randrange(wrong.size)] = draw.choose((-1, classes, 2**40, -(2**62)))
        bad += [(1, wrong), (1, rt.Tensor(wrong)), (1, rt.Tensor(wrong))]
    if draw.chance(0.4):
        name, value = draw.choose(bad_options)
        options[name] = value
    else:
        k, value = draw.choose(bad)
        arguments[k] = value


def layer_norm(draw: Draw) -> None:
    """Normalise one or more of the last dimensions."""
    dtype = draw.note("dtype", draw.dtype())
    leading = tuple(draw.size(9, empty=0.05) for _ in range(draw.random.randint(0, 2)))
    normalised = tuple(draw.size(33) for _ in range(draw.choose((1, 1, 2))))
    x = leaf(draw, draw.floats((*leading, *normalised), dtype))
    weight = leaf(draw, draw.floats(normalised, dtype)) if draw.chance(0.6) else None
    bias = leaf(draw, draw.floats(normalised, dtype)) if draw.chance(0.6) else None
    eps = draw.choose((1e-5, 1e-3, 1.0))
    shape: Any = normalised[0] if len(normalised) == 1 and draw.chance(0.5) else normalised
    arguments: list[Any] = [x, shape, weight, bias, eps]
    if draw.spoil("a wrong argument", 0.1):
        bad: list[tuple[int, Any]] = [
            (1, ()),
            (1, (*normalised, 2)),
            (1, "last"),
            (1, None),
            (1, 1.5),
            (1, -1),
        ]
        bad += [(4, "small"), (4, None)]
        k = draw.choose((0, 2, 3))
        of = arguments[k] if arguments[k] is not None else rt.Tensor(np.ones(normalised, dtype))
        spoiled = spoiled_tensor(draw, of)
        bad += [(k, spoiled)] * 8 if not (k and spoiled is None) else []
        at, value = draw.choose(bad)
        arguments[at] = value
        if at == 0 and weight is None and bias is None:
            draw.wrong, draw.open = None, "another dtype, which nothing contradicts"
    draw.note("arguments", arguments)
    leaves = {k: t for k, t in (("x", x), ("weight", weight), ("bias", bias)) if t is not None}
    axes = tuple(range(-len(normalised), 0))

    def right(at: Values) -> Array:
        centred = at["x"] - at["x"].mean(axis=axes, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
        result: Array = scaled * at.get("weight", 1.0) + at.get("bias", 0.0)
        return result

    call = lambda: functional.layer_norm(*arguments)  # noqa: E731 - named for the line's sake
    compare(draw, "layer_norm", call, leaves, right, dtype, length=int(np.prod(normalised)))
