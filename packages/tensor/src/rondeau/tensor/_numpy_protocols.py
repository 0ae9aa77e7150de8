"""NumPy's functions called with tensors: each becomes the operator of the same name, so that no gradient is lost.

NumPy hands its calls over (``__array_ufunc__``, ``__array_function__``). The vector-Jacobian products are written in
its vocabulary and run on tensors so under ``create_graph=True``; and users may mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.runtime.devices import is_array, is_of_device
from rondeau.tensor._graph import Recorded, unwrap
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
    systems,
    triangle,
)
from rondeau.tensor._ops._operands import different_devices
from rondeau.tensor._views import mark_changed

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
    np.linalg.solve: systems.solve,
    np.linalg.inv: systems.inv,
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


#: Functions that write into their first argument.
_WRITERS = frozenset((np.copyto, np.fill_diagonal, np.place, np.put, np.put_along_axis, np.putmask))


#: Functions that take indices which CuPy wraps around, without an error, where they are out of range.
_INDEXING = frozenset((np.choose, np.delete, np.put, np.put_along_axis, np.take, np.take_along_axis))


#: Attributes that NumPy's arrays have and tensors do not.
OF_ARRAYS: set[str] = set()


class _OfArrays:
    """An attribute that only arrays have: the error says where it is to be found.

    In the place of a ``__getattr__``, which would make ``np.asarray(tensor)`` ten times slower.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, tensor: Any, owner: type) -> NoReturn:
        name = self._name
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {name!r}: that is one of NumPy's arrays, so take "
            f"t.numpy().{name} (of a tensor that requires gradients t.detach().numpy().{name})",
            name=name,
            obj=owner if tensor is None else tensor,
        )


def refuse_attributes_of_arrays(cls: type) -> None:
    """Let `cls` say of each public attribute of an array that it lacks itself where to find it."""
    OF_ARRAYS.update(name for name in dir(np.ndarray) if name[0] != "_" and not hasattr(cls, name))
    for name in OF_ARRAYS:
        setattr(cls, name, _OfArrays(name))


def array_ufunc(
    _self: Any, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any
) -> Any:
    """Run a universal function of NumPy with a tensor among its operands."""
    function, name = getattr(ufunc, method), f"np.{ufunc.__name__}"
    if out is not None:
        # An array as target: numbers are wanted, nothing is recorded. ``p.numpy() -= lr * p.grad`` works so.
        _prepare(out, inputs, name)
        targets = tuple([unwrap(o) for o in out])
        result = _run(function, [unwrap(x) for x in inputs], {"out": targets, **kwargs})
        return out[0] if isinstance(out[0], Recorded) else result
    if method == "at":
        _prepare(inputs[:1], inputs, f"{name}.at")
    operator = _UFUNCS.get(ufunc)
    if operator is None or method != "__call__" or kwargs:
        return _on_arrays(function, name, inputs, kwargs)
    return operator(*inputs)


def array_function(_self: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """Run another function of NumPy that was called with a tensor."""
    name = f"np.{function.__name__}"
    inputs = (*args, *kwargs.values())
    if function in _INDEXING and any(is_of_device(unwrap(x)) for x in inputs):
        raise ArgumentTypeError(
            f"{name} of a tensor of a GPU would not notice an index out of range: use x[index] or "
            'rondeau.tensor.gather, or move the tensor, .to("cpu")'
        )
    if function in _WRITERS or (function is np.nan_to_num and kwargs.get("copy") is False):
        _prepare(args[:1] or inputs, inputs, name)
    elif "out" in kwargs:
        out = kwargs["out"]
        _prepare((out,), inputs, name)
        result = _on_arrays(function, name, args, kwargs)
        return out if result is unwrap(out) else result
    else:
        operator = _FUNCTIONS.get(function)
        if operator is not None:
            return operator(*args, **kwargs)
    return _on_arrays(function, name, args, kwargs)


def _prepare(targets: Any, inputs: Any, name: str) -> None:
    """Prepare the targets that are tensors for a NumPy function, which records nothing, to write to them.

    Raises
    ------
    RuntimeError
        If one must not be changed in place, or a gradient would be lost.
    """
    tensors = [target for target in targets if isinstance(target, Recorded)]
    for tensor in tensors:
        check_changeable(tensor)  # type: ignore[arg-type]
        if modes.recording and any(
            isinstance(x, Recorded) and x._node is not None for x in (tensor, *inputs)
        ):
            raise RuntimeError(
                f"{name} into a tensor is not recorded, and a gradient would be lost: use an operator of "
                "rondeau.tensor, or put the change into `with rt.no_grad():`"
            )
    for tensor in tensors:
        mark_changed(tensor)


def _on_arrays(function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """Run a NumPy function without an operator on the arrays of tensors, if no gradient can be lost."""

    def plain(x: Any) -> Any:
        if isinstance(x, Recorded):
            if x._node is not None and modes.recording:
                raise ArgumentTypeError(
                    f"{name} is not an operator of tensors, and this one requires gradients: "
                    "use an operator of rondeau.tensor, or detach() first"
                )
            return x._array
        return type(x)(plain(i) for i in x) if type(x) in (list, tuple) else x

    return _run(function, plain(args), {k: plain(v) for k, v in kwargs.items()})


def _run(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Call a NumPy function with arrays; of two devices, CuPy would say only that it does not take NumPy's."""
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError) as error:
        arrays = list(_arrays_in([*args, *kwargs.values()]))
        if len(set(map(is_of_device, arrays))) == 2:
            raise different_devices(*arrays) from error
        raise


def _arrays_in(values: Any) -> Iterator[Any]:
    for value in values:
        if is_array(value):
            yield value
        elif type(value) in (list, tuple):
            yield from _arrays_in(value)
