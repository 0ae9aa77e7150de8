"""NumPy's functions, called with tensors: each becomes the operator of its name, so that no gradient is lost.

NumPy hands its calls over (``__array_ufunc__``, ``__array_function__``). The vector-Jacobian products are written in
its vocabulary and run on tensors so under ``create_graph=True``; and users may mix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.tensor._graph import Recorded, mark_changed, unwrap
from rondeau.tensor._inplace import check_changeable
from rondeau.tensor._modes import modes
from rondeau.tensor._ops import (
    arithmetic,
    choice,
    comparison,
    einsum,
    elementary,
    extremes,
    joining,
    linalg,
    reduce,
    rounding,
    shape,
    triangle,
)

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: arithmetic.add,
    np.subtract: arithmetic.sub,
    np.multiply: arithmetic.mul,
    np.true_divide: arithmetic.div,
    np.floor_divide: arithmetic.floor_divide,
    np.remainder: arithmetic.remainder,
    np.power: arithmetic.pow,
    np.maximum: choice.maximum,
    np.minimum: choice.minimum,
    np.negative: arithmetic.neg,
    np.positive: arithmetic.positive,
    np.absolute: arithmetic.abs,
    np.exp: elementary.exp,
    np.expm1: elementary.expm1,
    np.log: elementary.log,
    np.log2: elementary.log2,
    np.log1p: elementary.log1p,
    np.sqrt: elementary.sqrt,
    np.reciprocal: arithmetic.reciprocal,
    np.square: arithmetic.square,
    np.sin: elementary.sin,
    np.cos: elementary.cos,
    np.tanh: elementary.tanh,
    np.sign: rounding.sign,
    np.floor: rounding.floor,
    np.ceil: rounding.ceil,
    np.rint: rounding.round,
    np.equal: comparison.eq,
    np.not_equal: comparison.ne,
    np.less: comparison.less,
    np.less_equal: comparison.less_equal,
    np.greater: comparison.greater,
    np.greater_equal: comparison.greater_equal,
    np.logical_and: comparison.logical_and,
    np.logical_or: comparison.logical_or,
    np.logical_not: comparison.logical_not,
    np.bitwise_and: comparison.bitwise_and,
    np.bitwise_or: comparison.bitwise_or,
    np.bitwise_xor: comparison.bitwise_xor,
    np.invert: comparison.bitwise_not,
    np.isnan: comparison.isnan,
    np.isinf: comparison.isinf,
    np.isfinite: comparison.isfinite,
    np.matmul: linalg.matmul,
}


def _expand_dims(x: Any, axis: Any) -> Tensor:
    axes = (axis,) if isinstance(axis, int) else axis
    ndim = x._array.ndim + len(axes)
    places = {a % ndim for a in axes}
    rest = iter(x._array.shape)
    return shape.reshape(x, tuple(1 if i in places else next(rest) for i in range(ndim)))


# In NumPy's argument order.
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: lambda x, axis=None, keepdims=False: reduce.sum(x, axis, keepdims),
    np.mean: lambda x, axis=None, keepdims=False: reduce.mean(x, axis, keepdims),
    np.prod: lambda x, axis=None, keepdims=False: reduce.prod(x, axis, keepdims),
    np.max: lambda x, axis=None, keepdims=False: extremes.amax(x, axis, keepdims),
    np.min: lambda x, axis=None, keepdims=False: extremes.amin(x, axis, keepdims),
    np.cumsum: lambda x, axis=None: reduce.cumsum(shape.reshape(x, -1) if axis is None else x, axis or 0),
    np.where: choice.where,
    np.clip: choice.clamp,
    np.reshape: lambda x, shape_: shape.reshape(x, shape_),
    np.transpose: lambda x, axes=None: x.T if axes is None else shape.permute(x, axes),
    np.swapaxes: shape.transpose,
    np.moveaxis: shape.movedim,
    np.broadcast_to: shape.broadcast_to,
    np.expand_dims: _expand_dims,
    np.squeeze: lambda x, axis=None: shape.squeeze(x, axis),
    np.flip: lambda x, axis=None: shape.flip(x, tuple(range(x.ndim)) if axis is None else axis),
    np.concatenate: lambda xs, axis=0: joining.cat(xs, axis),
    np.stack: lambda xs, axis=0: joining.stack(xs, axis),
    np.tril: triangle.tril,
    np.triu: triangle.triu,
    np.einsum: einsum.einsum,
}


def array_ufunc(
    _self: Any, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any
) -> Any:
    """Run a universal function of NumPy that an operand is a tensor of."""
    if out is not None:
        # An array as target: numbers are wanted, nothing is recorded. p.data -= lr * p.grad works so.
        changed = [o for o in out if isinstance(o, Recorded)]
        for tensor in changed:
            check_changeable(tensor)  # type: ignore[arg-type]
        arrays, targets = [unwrap(x) for x in inputs], tuple([unwrap(o) for o in out])
        result = getattr(ufunc, method)(*arrays, out=targets, **kwargs)
        for tensor in changed:
            mark_changed(tensor)
        return out[0] if isinstance(out[0], Recorded) else result
    operator = _UFUNCS.get(ufunc)
    if operator is None or method != "__call__" or kwargs:
        return _on_arrays(getattr(ufunc, method), f"np.{ufunc.__name__}", inputs, kwargs)
    return operator(*inputs)


def array_function(_self: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """Run another function of NumPy that was called with a tensor."""
    operator = _FUNCTIONS.get(function)
    if operator is None:
        return _on_arrays(function, f"np.{function.__name__}", args, kwargs)
    return operator(*args, **kwargs)


def _on_arrays(function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """Run one of NumPy's functions that has no operator on the arrays of tensors, where no gradient can be lost."""

    def plain(x: Any) -> Any:
        if isinstance(x, Recorded):
            if x._node is not None and modes.recording:
                raise ArgumentTypeError(
                    f"{name} is not an operator of tensors, and this one requires gradients: "
                    "use an operator of rondeau.tensor, or detach() first"
                )
            return x._array
        return type(x)(plain(i) for i in x) if type(x) in (list, tuple) else x

    return function(*plain(args), **{k: plain(v) for k, v in kwargs.items()})
