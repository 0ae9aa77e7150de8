"""Tensor: an array that remembers how it was computed."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeAlias, overload

import numpy as np
from numpy.typing import DTypeLike

from rondeau.kernels.checks import shown
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_array, is_of_device
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor import _backward, _inplace, _numpy_protocols
from rondeau.tensor._arguments import array_of, check_not_sizes, number, plain_array
from rondeau.tensor._devices import as_array, device, device_of, lies_in_pinned_memory, move, pinned
from rondeau.tensor._dtypes import (
    SUPPORTED,
    as_dtype,
    default_for,
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    names_dtype,
    type_name,
    type_of,
    uint8,
)
from rondeau.tensor._dtypes import bool as bool_
from rondeau.tensor._graph import (
    INFERENCE,
    InferenceMemory,
    Node,
    Op,
    Recorded,
    end_leaf,
    from_inference,
    is_leaf_node,
    leaf_node,
    made_memory,
    memory_of,
    record,
    same_memory,
    set_result_class,
    unwrap,
    wrap,
)
from rondeau.tensor._hooks import RemovableHandle
from rondeau.tensor._limits import check_all_hold, check_holds
from rondeau.tensor._modes import modes
from rondeau.tensor._ops import (
    activations,
    along_dim,
    arithmetic,
    choice,
    comparison,
    elementary,
    extremes,
    indexing,
    joining,
    linalg,
    ordering,
    reduce,
    rounding,
    triangle,
)
from rondeau.tensor._ops import norm as norms
from rondeau.tensor._ops import shape as shapes
from rondeau.tensor._ops import softmax as softmaxes
from rondeau.tensor._ops._aliases import numpy_names
from rondeau.tensor._ops._dims import normalize_dim
from rondeau.tensor._ops._operands import cast
from rondeau.tensor._views import begin_to_require, exchange_memory, mark_changed
from rondeau.tensor.cuda import gpu

Array = np.ndarray[Any, Any]
Bool: TypeAlias = bool  # inside the class `bool`, `int` and `device` are something else
Int: TypeAlias = int
Device: TypeAlias = device

_CLONE = Op("clone", lambda g, _out, _x: g)


def clone(x: Tensor) -> Tensor:
    """Return a copy that gradients flow through.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.clone(rt.tensor([1.0])).tolist()
    [1.0]
    """
    return record(_CLONE, array_of(x).copy(), (x,))


class Tensor(Recorded):
    """An array that remembers how it was computed, so that gradients can be propagated back.

    Every operator of the package is a method too, documented under `rondeau.tensor`; a trailing underscore means in
    place.

    Parameters
    ----------
    data : array_like or Tensor
        Python numbers and lists become floats, as in PyTorch; `tensor` keeps integers. An array keeps its type and is
        shared, not copied.
    requires_grad : bool
        Whether to collect gradients in ``.grad``; only for floating-point types.
    dtype : dtype_like, optional
        Convert to this type; numbers and lists take `get_default_dtype` by default.
    device : {"cpu", "cuda"}, optional
        By default, where the array is.

    Raises
    ------
    TypeError
        If the data are not numbers, or are one integer or a tuple of integers, which may mean sizes; or if gradients
        are required for integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ()

    # NumPy's operators leave the work to ours: ndarray * tensor records too.
    __array_priority__ = 1000

    def __init__(
        self,
        data: Any,
        requires_grad: Bool = False,
        dtype: DTypeLike | None = None,
        device: str | None = None,
    ) -> None:
        is_plain = type(data) is np.ndarray
        if is_plain and dtype is device is None and SUPPORTED.get(found := data.dtype) is found:
            self._array = data  # the usual case: an array that a kernel or an operator made
        else:
            if type(data) is int:
                raise ArgumentTypeError(
                    f"Tensor({shown(data)}) may mean a size or a number: use empty(...) for a shape, tensor(...) for a "
                    "number"
                )
            if type(data) is tuple:
                check_not_sizes("Tensor", data)
            self._array = array_from(data, dtype, device, _floating)
        if not is_plain and isinstance(data, Recorded) and self._array is data._array:
            self._memory = memory_of(data)
        else:
            self._memory = made_memory() if INFERENCE else None
        self._node = None
        self._view = None
        self._grad = None
        if requires_grad:
            self.requires_grad_()

    # ------------------------------------------------------------------------------------------ attributes

    @property
    def data(self) -> Tensor:
        """The values as a tensor that requires no gradient, over the same memory.

        Changing it, as in ``p.data -= lr * p.grad``, is neither recorded nor counted as a change of this tensor: a
        backward that saved the old values continues with the new ones. `detach()` differs only in that its changes
        count; so do changes under `no_grad`, and `rondeau.tensor.increment_version`. The NumPy array is ``numpy()``.

        Assigning a tensor or an array replaces the memory by that of the value, which may have another shape.
        """
        return wrap(self._array)

    @data.setter
    def data(self, value: Any) -> None:
        array = unwrap(value)
        if not is_array(array):
            raise ArgumentTypeError(f"expected a Tensor or an array as data, got {type(value).__name__}")
        array = as_array(array)
        if as_dtype(array.dtype) != array.dtype:
            raise ArgumentTypeError(
                f"data must be in this machine's order of bytes, got {array.dtype}: convert it with "
                f"astype({as_dtype(array.dtype).name!r})"
            )
        if self._node is not None and array.dtype.kind != "f":
            raise ArgumentTypeError(
                f"data of a tensor that requires gradients must be floating, got {array.dtype}"
            )
        if array is self._array:  # the end of p.data -= ...
            return
        before = self._array
        if (array.shape, array.dtype, type(array)) != (before.shape, before.dtype, type(before)):
            mark_changed(self)  # backward through earlier results cannot use the new data
        exchange_memory(self)
        self._array = array

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward has accumulated; None before that, and for tensors that collect none."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise ArgumentTypeError(f"a gradient is a Tensor or None, got {type(value).__name__}")
            if value._array.shape != self._array.shape or value._array.dtype != self._array.dtype:
                raise ArgumentValueError(
                    f"a gradient is like its tensor, {self._array.dtype} of shape {self._array.shape}; "
                    f"got {value._array.dtype} of shape {value._array.shape}"
                )
            if is_of_device(value._array) != is_of_device(self._array):
                raise ArgumentValueError(
                    f"a gradient is where its tensor is, on {self.device}; got one on {value.device}: move it, "
                    f".to({str(self.device)!r})"
                )
        self._grad = value

    @property
    def shape(self) -> tuple[Int, ...]:
        """The size of every dimension."""
        return self._array.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> Int:
        """The number of dimensions."""
        return self._array.ndim  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the elements."""
        return self._array.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> Device:
        """Where the array is: "cpu" or "cuda"."""
        return device_of(self._array)

    @property
    def is_cuda(self) -> Bool:
        """Whether the array is on a GPU."""
        return self.device.type == "cuda"

    @property
    def requires_grad(self) -> Bool:
        """Whether gradients flow to or through this tensor; settable for leaves."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: Bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> Bool:
        """Whether the tensor was not computed from anything that requires gradients."""
        return self._node is None or is_leaf_node(self._node)

    @property
    def grad_fn(self) -> Node | None:
        """The node of the operation that computed the tensor; None for leaves."""
        return None if self.is_leaf else self._node

    @property
    def T(self) -> Tensor:
        """The tensor with its dimensions in reverse order."""
        return shapes.reverse(self)

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two dimensions swapped."""
        return shapes.transpose(self, -1, -2)

    @property
    def nbytes(self) -> Int:
        """The size of all elements in bytes."""
        return self._array.nbytes  # type: ignore[no-any-return]

    @property
    def itemsize(self) -> Int:
        """The size of one element in bytes."""
        return self._array.itemsize  # type: ignore[no-any-return]

    @overload
    def size(self) -> tuple[Int, ...]: ...
    @overload
    def size(self, dim: Int) -> Int: ...
    @numpy_names
    def size(self, dim: Int | None = None) -> Int | tuple[Int, ...]:
        """Return the shape, or the size of one dimension."""
        shape: tuple[Int, ...] = self._array.shape
        if dim is None:
            return shape
        axis = normalize_dim(dim, len(shape))
        if not shape:
            raise IndexError("size(dim) of a tensor without dimensions: it has no sizes")
        return shape[axis]

    def dim(self) -> Int:
        """Return the number of dimensions."""
        return self._array.ndim  # type: ignore[no-any-return]

    def numel(self) -> Int:
        """Return the number of elements."""
        return self._array.size  # type: ignore[no-any-return]

    def is_floating_point(self) -> Bool:
        """Return whether the elements are floating-point numbers."""
        return self._array.dtype.kind == "f"  # type: ignore[no-any-return]

    def is_inference(self) -> Bool:
        """Return whether the tensor was made in `rondeau.tensor.inference_mode`."""
        return isinstance(self._memory, InferenceMemory)

    def is_contiguous(self) -> Bool:
        """Return whether the elements are in C order in memory, without gaps."""
        return self._array.flags.c_contiguous  # type: ignore[no-any-return]

    # ------------------------------------------------------------------------------------------ conversion

    def numpy(self) -> Array:
        """Return the NumPy array that holds the values; the memory is shared, so a tensor of a GPU has none.

        Raises
        ------
        RuntimeError
            If the tensor requires gradients, which would be lost, or is on another device.
        """
        if self._node is not None:
            raise RuntimeError(
                "numpy() of a tensor that requires gradients would lose them: call detach().numpy()"
            )
        if is_of_device(self._array):
            raise ArgumentTypeError(
                "numpy() of a cuda tensor, which shares no memory with NumPy: use .cpu().numpy()"
            )
        return self._array  # type: ignore[no-any-return]

    def item(self) -> Any:
        """Return the only element as a Python number.

        Raises
        ------
        ValueError
            If there is not exactly one.
        """
        if self._array.size != 1:
            raise ArgumentValueError(
                f"item() is for a tensor of one element, this one has shape {self._array.shape}"
            )
        array = self._array
        return (array if type(array) is np.ndarray else on_host(array)).item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self._host().tolist()

    def _host(self) -> Array:
        """Return the values in the host's memory, not to be changed."""
        array = self._array
        return array if type(array) is np.ndarray else on_host(array)

    def __array__(self, dtype: DTypeLike | None = None, copy: Bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ArgumentValueError(
                    f"a tensor of {array.dtype} cannot become an array of {np.dtype(dtype)} without a copy"
                )
            return array.astype(dtype)
        return array.copy() if copy else array

    def to(
        self,
        *args: Any,
        dtype: DTypeLike | None = None,
        device: str | None = None,
        non_blocking: Bool = False,
        copy: Bool = False,
    ) -> Tensor:
        """Return the tensor in another type or on another device; the tensor itself if nothing changes.

        Parameters
        ----------
        *args : dtype, device or Tensor
            In any order; a Tensor stands for its type and device.
        dtype : dtype_like, optional
        device : {"cpu", "cuda"}, optional
        non_blocking : bool
            Do not wait for a copy from pinned memory to the GPU, which must then stay as it is until the copy is done;
            see `pin_memory`. Other copies to the GPU never wait, and those to the CPU always do.
        copy : bool
            Return another tensor in any case.

        Returns
        -------
        Tensor
            Gradients flow through it, back to where this tensor is.

        Raises
        ------
        RuntimeError
            If the GPU is asked for and none is usable; the message says what to install.
        TypeError, ValueError
            If an argument is neither a dtype, a device nor a Tensor.

        Examples
        --------
        >>> from rondeau import tensor as rt
        >>> x = rt.ones(2)
        >>> x.to("float64").dtype, x.to("cpu") is x
        (dtype('float64'), True)
        """
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
                device = arg
            elif isinstance(arg, str) and not names_dtype(arg):
                raise ArgumentTypeError(
                    f"expected a dtype such as 'float32', or device 'cpu' or 'cuda', got {arg!r}"
                )
            elif arg is not None:
                dtype = arg
        x = self if device is None else self._moved(device, non_blocking)
        x = x if dtype is None else cast(x, as_dtype(dtype))
        return clone(x) if copy and x is self else x

    def _moved(self, device: str, non_blocking: Bool = False) -> Tensor:
        array = move(self._array, device, non_blocking)
        return self if array is self._array else record(_MOVE, array, (self,), self.device)

    def cpu(self) -> Tensor:
        """Return the tensor on the CPU."""
        return self._moved("cpu")

    def cuda(self, device: str | Int | None = None, non_blocking: Bool = False) -> Tensor:
        """Return the tensor on the GPU; arguments as in `to`, where the number of the GPU is 0."""
        return self._moved("cuda" if device is None else gpu(device), non_blocking)

    def pin_memory(self) -> Tensor:
        """Return the tensor in page-locked memory of the CPU, from which a GPU copies without waiting; a leaf.

        Raises
        ------
        RuntimeError
            If no GPU is usable, or the tensor is on one.
        """
        array = pinned(self._array)
        return self if array is self._array else wrap(array)

    def is_pinned(self) -> Bool:
        """Return whether the tensor is in page-locked memory; see `pin_memory`.

        Examples
        --------
        >>> from rondeau import tensor as rt
        >>> rt.ones(2).is_pinned()
        False
        """
        return lies_in_pinned_memory(self._array)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The memory of a tensor on the GPU, for ``cupy.asarray`` and other libraries that share it."""
        if not is_of_device(self._array):
            raise AttributeError("a tensor on the CPU has no __cuda_array_interface__; its array is .numpy()")
        if self._node is not None:
            raise RuntimeError(
                "sharing the memory of a tensor that requires gradients would lose them: call detach() first"
            )
        return self._array.__cuda_array_interface__  # type: ignore[no-any-return]

    def half(self) -> Tensor:
        """Return the tensor in float16."""
        return cast(self, float16)

    def float(self) -> Tensor:
        """Return the tensor in float32."""
        return cast(self, float32)

    def double(self) -> Tensor:
        """Return the tensor in float64."""
        return cast(self, float64)

    def char(self) -> Tensor:
        """Return the tensor in int8, with fractions truncated."""
        return cast(self, int8)

    def byte(self) -> Tensor:
        """Return the tensor in uint8, with fractions truncated."""
        return cast(self, uint8)

    def short(self) -> Tensor:
        """Return the tensor in int16, with fractions truncated."""
        return cast(self, int16)

    def int(self) -> Tensor:
        """Return the tensor in int32, with fractions truncated."""
        return cast(self, int32)

    def long(self) -> Tensor:
        """Return the tensor in int64, with fractions truncated."""
        return cast(self, int64)

    def bool(self) -> Tensor:
        """Return, for each element, whether it is not zero."""
        return cast(self, bool_)

    @overload
    def type(self) -> str: ...
    @overload
    def type(self, dtype: Any) -> Tensor: ...
    def type(self, dtype: Any = None) -> str | Tensor:
        """Return the name of the type, such as ``"torch.FloatTensor"``, or the tensor in another type.

        Parameters
        ----------
        dtype : dtype_like, a class such as `rondeau.tensor.LongTensor`, or its name, optional

        Returns
        -------
        str or Tensor
        """
        if dtype is None:
            return type_name(self._array.dtype)
        return cast(self, type_of(dtype))

    def type_as(self, other: Tensor) -> Tensor:
        """Return the tensor in the type of another."""
        return cast(self, array_of(other, "other").dtype)

    def contiguous(self) -> Tensor:
        """Return the tensor with its elements in C order in memory; itself if they already are."""
        if self._array.flags.c_contiguous:
            return self
        return record(_CLONE, self._array.copy(), (self,))

    # --------------------------------------------------------------------------------------------- gradients

    def backward(
        self, gradient: Any = None, retain_graph: Bool | None = None, create_graph: Bool = False
    ) -> None:
        """Add the gradient of this tensor to the ``.grad`` of every leaf that it was computed from.

        Parameters
        ----------
        gradient : Tensor or array_like, optional
            The gradient of some scalar with respect to this tensor; 1 by default, if the tensor has one element.
        retain_graph : bool, optional
            Whether to keep the graph for another backward; by default the value of `create_graph`.
        create_graph : bool
            Whether to record the computation of the gradients too, for higher-order derivatives.

        Raises
        ------
        RuntimeError
            If the tensor requires no gradient, `gradient` is missing or of the wrong shape, the graph was freed by an
            earlier backward, or a tensor that it needs was changed in place.
        """
        _backward.backward(self, gradient, retain_graph, create_graph)

    def requires_grad_(self, requires_grad: Bool = True) -> Self:
        """Set whether to collect gradients in ``.grad``; returns the tensor.

        Raises
        ------
        TypeError
            For integers and booleans, which have no derivatives.
        RuntimeError
            If it is switched off for a tensor that was computed: use detach(). To switch it on, outside of
            `inference_mode`, for one that was made in it.
        """
        if requires_grad:
            if self._array.dtype.kind != "f":
                raise ArgumentTypeError(
                    f"only tensors of a floating type can require gradients, this one is {self._array.dtype}: "
                    "use .float() first"
                )
            if from_inference(self):
                raise RuntimeError(
                    "a tensor made in inference_mode cannot begin to require gradients outside of it: clone() it first"
                )
            if self._node is None:
                self._node = leaf_node(self)
                begin_to_require(self)
        elif not self.is_leaf:
            raise RuntimeError("requires_grad of a computed tensor cannot be switched off: use detach()")
        else:
            end_leaf(self)
        return self

    def detach(self) -> Tensor:
        """Return a tensor over the same memory that gradients do not flow through."""
        return same_memory(self)

    def detach_(self) -> Self:
        """Detach the tensor from the graph that computed it; returns the tensor.

        Tensors that were computed from it before keep their history.

        Raises
        ------
        RuntimeError
            If it is a view, whose base would not follow.
        """
        if self._view is not None:
            raise RuntimeError("detach_() of a view: use detach()")
        if self.is_leaf:
            end_leaf(self)
        self._node = None
        return self

    def retain_grad(self) -> None:
        """Collect the gradient of a computed tensor in its ``.grad`` too; after an in-place change, of the new value.

        Raises
        ------
        RuntimeError
            If the tensor does not require gradients.
        """
        if self._node is None:
            raise RuntimeError("retain_grad() of a tensor that does not require gradients")
        if self._node.holder is None:
            self._node.holder = weakref.ref(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call a function with the gradient of this tensor whenever backward has computed it.

        The hook belongs to the value that the tensor has now: after an in-place change it still gets the gradient of
        the old value.

        Parameters
        ----------
        hook : callable
            ``hook(grad)``; it may return a Tensor to be used instead. It must not change `grad` in place.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` removes the hook.

        Raises
        ------
        RuntimeError
            If the tensor does not require gradients.
        """
        if self._node is None:
            raise RuntimeError("register_hook() of a tensor that does not require gradients")
        if self._node.hooks is None:
            self._node.hooks = {}
        return RemovableHandle(self._node.hooks, hook)

    # ------------------------------------------------------------------------------------------ Python's protocols

    def __repr__(self) -> str:
        body = np.array2string(self._host(), separator=", ", prefix="tensor(")
        notes = ""
        if self._array.dtype not in (get_default_dtype(), int64, bool_):
            notes += f", dtype={self._array.dtype}"
        if self._array.size == 0:
            notes = f", shape={self._array.shape}" + notes
        if self.device != "cpu":
            notes += f", device='{self.device}'"
        if self.grad_fn is not None:
            notes += f", grad_fn={self.grad_fn!r}"
        elif self.requires_grad:
            notes += ", requires_grad=True"
        return f"tensor({body}{notes})"

    def __len__(self) -> Int:
        if self._array.ndim == 0:
            raise ArgumentTypeError("len() of a tensor without dimensions")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        if self._array.ndim == 0:
            raise ArgumentTypeError("iteration over a tensor without dimensions; use .item()")
        return iter(joining.unbind(self))

    def __contains__(self, value: Any) -> Bool:
        return bool(reduce.any(comparison.eq(self, value)))

    def __bool__(self) -> Bool:
        if self._array.size != 1:
            raise ArgumentValueError(
                f"the truth of a tensor of shape {self._array.shape} is ambiguous: use .any() or .all()"
            )
        return bool(self._host().item())

    def __float__(self) -> Any:
        return float(self.item())

    def __int__(self) -> Int:
        return int(self.item())

    def __index__(self) -> Int:
        if self._array.dtype.kind not in "biu" or self._array.size != 1:
            raise ArgumentTypeError("only a tensor of one integer can be used as an index")
        return int(self._host().item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self._array.ndim == 0 and spec else str(self)

    def __hash__(self) -> Int:
        return id(self)

    def __deepcopy__(self, memo: dict[Int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("only leaves can be deep-copied: detach() the tensor first")
        array = self._array  # first: to read it may change the class
        copied = type(self)(array.copy(), requires_grad=self.requires_grad)
        if self._grad is not None:
            copied._grad = wrap(self._grad._array.copy())
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise RuntimeError("only leaves can be pickled: detach() the tensor first")
        array = self._array  # first: to read it may change the class
        return type(self), (array, self.requires_grad)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in _numpy_protocols.OF_ARRAYS]

    # NumPy hands its functions over: the vector-Jacobian products are written in its vocabulary, and users may mix.

    __array_ufunc__ = _numpy_protocols.array_ufunc
    __array_function__ = _numpy_protocols.array_function

    # ------------------------------------------------------------------------------------------------ operators

    __add__ = arithmetic.add
    __sub__ = arithmetic.sub
    __mul__ = arithmetic.mul
    __truediv__ = arithmetic.div
    __floordiv__ = arithmetic.floor_divide
    __mod__ = arithmetic.remainder
    __pow__ = arithmetic.pow
    __matmul__ = linalg.matmul
    __neg__ = arithmetic.neg
    __pos__ = arithmetic.positive
    __abs__ = arithmetic.abs
    __invert__ = comparison.bitwise_not
    __and__ = comparison.bitwise_and
    __or__ = comparison.bitwise_or
    __xor__ = comparison.bitwise_xor
    __lt__ = comparison.less
    __le__ = comparison.less_equal
    __gt__ = comparison.greater
    __ge__ = comparison.greater_equal
    __getitem__ = indexing.getitem
    __setitem__ = _inplace.setitem

    def __radd__(self, other: Any) -> Tensor:
        return arithmetic.add(other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return arithmetic.sub(other, self)

    def __rmul__(self, other: Any) -> Tensor:
        return arithmetic.mul(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return arithmetic.div(other, self)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return arithmetic.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Tensor:
        return arithmetic.remainder(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return arithmetic.pow(other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return linalg.matmul(other, self)

    def __eq__(self, other: Any) -> Any:
        return comparison.eq(self, other) if _is_operand(other) else NotImplemented

    def __ne__(self, other: Any) -> Any:
        return comparison.ne(self, other) if _is_operand(other) else NotImplemented

    __rand__ = comparison.bitwise_and
    __ror__ = comparison.bitwise_or
    __rxor__ = comparison.bitwise_xor

    # elementwise
    add = arithmetic.add
    sub = arithmetic.sub
    mul = arithmetic.mul
    div = arithmetic.div
    pow = arithmetic.pow
    remainder = arithmetic.remainder
    floor_divide = arithmetic.floor_divide
    maximum = choice.maximum
    minimum = choice.minimum
    neg = arithmetic.neg
    abs = arithmetic.abs
    exp = elementary.exp
    expm1 = elementary.expm1
    log = elementary.log
    log2 = elementary.log2
    log1p = elementary.log1p
    sqrt = elementary.sqrt
    rsqrt = elementary.rsqrt
    reciprocal = arithmetic.reciprocal
    square = arithmetic.square
    sin = elementary.sin
    cos = elementary.cos
    tanh = elementary.tanh
    sigmoid = elementary.sigmoid
    erf = elementary.erf
    relu = activations.relu
    sign = rounding.sign
    floor = rounding.floor
    ceil = rounding.ceil
    round = rounding.round
    clamp = choice.clamp
    masked_fill = choice.masked_fill
    eq = comparison.eq
    ne = comparison.ne
    logical_and = comparison.logical_and
    logical_or = comparison.logical_or
    logical_not = comparison.logical_not
    isnan = comparison.isnan
    isinf = comparison.isinf
    isfinite = comparison.isfinite
    equal = comparison.equal
    allclose = comparison.allclose
    lt = comparison.less
    le = comparison.less_equal
    gt = comparison.greater
    ge = comparison.greater_equal

    def where(self, condition: Any, other: Any) -> Tensor:
        """Return this tensor where the condition is true and `other` elsewhere; see `rondeau.tensor.where`."""
        return choice.where(condition, self, other)

    # reductions
    sum = reduce.sum
    mean = reduce.mean
    var = reduce.var
    std = reduce.std
    amax = extremes.amax
    amin = extremes.amin
    max = extremes.max
    min = extremes.min
    argmax = extremes.argmax
    argmin = extremes.argmin
    all = reduce.all
    any = reduce.any
    softmax = softmaxes.softmax
    log_softmax = softmaxes.log_softmax
    logsumexp = softmaxes.logsumexp
    norm = norms.norm
    prod = reduce.prod
    cumsum = reduce.cumsum

    # shapes
    reshape = shapes.reshape
    flatten = shapes.flatten
    unflatten = shapes.unflatten
    squeeze = shapes.squeeze
    unsqueeze = shapes.unsqueeze
    permute = shapes.permute
    transpose = shapes.transpose
    t = shapes.t
    movedim = shapes.movedim
    swapaxes = shapes.transpose
    expand = shapes.expand
    broadcast_to = shapes.broadcast_to
    flip = shapes.flip
    repeat = shapes.repeat
    split = joining.split
    chunk = joining.chunk
    unbind = joining.unbind
    tril = triangle.tril
    triu = triangle.triu
    clone = clone

    def view(self, *size: Any) -> Tensor:
        """Return the same memory with another shape; `rondeau.tensor.reshape` may copy where this raises.

        Raises
        ------
        ValueError
            If the strides do not allow it.
        """
        result = shapes.reshape(self, *size)
        if result._array.size and not np.may_share_memory(result._array, self._array):
            raise ArgumentValueError(
                f"view: a tensor of shape {self._array.shape} and these strides cannot be seen as {size} "
                "without a copy: use reshape()"
            )
        return result

    def view_as(self, other: Tensor) -> Tensor:
        """Return the same memory with the shape of another tensor."""
        return self.view(array_of(other, "other").shape)

    def expand_as(self, other: Tensor) -> Tensor:
        """Return the tensor expanded to the shape of another."""
        return shapes.expand(self, array_of(other, "other").shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        """Return the tensor reshaped to the shape of another."""
        return shapes.reshape(self, array_of(other, "other").shape)

    # parts and products
    index_select = along_dim.index_select
    gather = along_dim.gather
    scatter_add = along_dim.scatter_add
    index_add = along_dim.index_add
    masked_select = indexing.masked_select
    nonzero = indexing.nonzero
    sort = ordering.sort
    argsort = ordering.argsort
    topk = ordering.topk
    matmul = linalg.matmul
    mm = linalg.mm
    bmm = linalg.bmm
    mv = linalg.mv
    dot = linalg.dot
    outer = linalg.outer

    # in place
    sub_ = _inplace.in_place(arithmetic.sub, np.subtract)
    mul_ = _inplace.in_place(arithmetic.mul, np.multiply)
    div_ = _inplace.in_place(arithmetic.div, np.true_divide)
    pow_ = _inplace.in_place(arithmetic.pow)
    neg_ = _inplace.in_place(arithmetic.neg)
    abs_ = _inplace.in_place(arithmetic.abs)
    exp_ = _inplace.in_place(elementary.exp)
    log_ = _inplace.in_place(elementary.log)
    sqrt_ = _inplace.in_place(elementary.sqrt)
    tanh_ = _inplace.in_place(elementary.tanh)
    sigmoid_ = _inplace.in_place(elementary.sigmoid)
    relu_ = _inplace.in_place(activations.relu)
    round_ = _inplace.in_place(rounding.round)
    floor_ = _inplace.in_place(rounding.floor)
    ceil_ = _inplace.in_place(rounding.ceil)
    clamp_ = _inplace.in_place(choice.clamp)
    masked_fill_ = _inplace.in_place(choice.masked_fill)
    remainder_ = _inplace.in_place(arithmetic.remainder)
    reciprocal_ = _inplace.in_place(arithmetic.reciprocal)
    scatter_add_ = _inplace.in_place(along_dim.scatter_add)
    index_add_ = _inplace.in_place(along_dim.index_add)
    fill_ = _inplace.in_place(_inplace.fill)
    copy_ = _inplace.in_place(_inplace.copy)
    zero_ = _inplace.in_place(_inplace.zero)
    _plus_ = _inplace.in_place(arithmetic.add, np.add)

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """Add ``alpha * other`` in place; see `rondeau.tensor.add`. Returns the tensor itself."""
        alpha = number(alpha, "alpha")
        return self._plus_(other if alpha == 1 else other * alpha)

    __iadd__ = add_
    __isub__ = sub_
    __imul__ = mul_
    __itruediv__ = div_
    __ipow__ = pow_

    def uniform_(self, low: Any = 0.0, high: Any = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with numbers drawn uniformly from [low, high), from `generator` or the default one."""
        from rondeau.tensor._random import rand

        low, high = number(low, "low"), number(high, "high")
        for value in (low, high, high - low):
            check_holds(self._array.dtype, value, "uniform_: ")
        if not 0 <= high - low < math.inf:
            raise ArgumentValueError(f"uniform_: low must be finite and not above high, got {low} and {high}")
        drawn = rand(*self.shape, generator=generator, dtype=self.dtype, device=self.device)
        return self.copy_(drawn * (high - low) + low)

    def normal_(self, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with numbers drawn from a normal distribution, from `generator` or the default one."""
        from rondeau.tensor._random import randn

        mean, std = number(mean, "mean"), number(std, "std")
        for value in (mean, std):
            check_holds(self._array.dtype, value, "normal_: ")
        drawn = randn(*self.shape, generator=generator, dtype=self.dtype, device=self.device)
        return self.copy_(drawn * std + mean)

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        """Return zeros of a shape, with the type and device of this tensor unless options say otherwise.

        Parameters
        ----------
        *size : int, or one sequence of int
        **options
            `dtype`, `device`, `requires_grad`.

        Returns
        -------
        Tensor
        """
        return _make("zeros", *size, **self._as_here(options))

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        """Return ones; otherwise like `new_zeros`."""
        return _make("ones", *size, **self._as_here(options))

    def new_empty(self, *size: Any, **options: Any) -> Tensor:
        """Return an uninitialised tensor; otherwise like `new_zeros`."""
        return _make("empty", *size, **self._as_here(options))

    def new_full(self, size: Any, fill_value: Any, **options: Any) -> Tensor:
        """Return one value everywhere; otherwise like `new_zeros`, with the shape as one sequence."""
        return _make("full", size, fill_value, **self._as_here(options))

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        """Return a new tensor with a copy of the data; otherwise like `new_zeros`."""
        return _make("tensor", data, **self._as_here(options))

    def _as_here(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a function that creates tensors, by default those of this tensor."""
        return {"dtype": self._array.dtype, "device": self.device, **options}


def _make(function: str, *args: Any, **options: Any) -> Tensor:
    """Call one of the functions that make tensors, which need this class."""
    from rondeau.tensor import _creation

    made: Tensor = getattr(_creation, function)(*args, **options)
    return made


def _is_operand(value: Any) -> bool:
    """Return whether comparing a tensor with `value` means comparing its elements."""
    return isinstance(value, (Recorded, np.generic, int, float, bool, list)) or is_array(value)


_MOVE = Op("to", lambda g, _out, _x, device: _moved(g, device))


def _moved(g: Any, device: str) -> Any:
    return g._moved(device) if isinstance(g, Recorded) else move(g, device)  # type: ignore[attr-defined]


def array_from(
    data: Any,
    dtype: DTypeLike | None,
    device: str | None,
    of_numbers: Callable[[Array], np.dtype[Any]] = default_for,
) -> Any:
    """Return the array of a tensor that is made from `data`; `of_numbers` gives the type of Python's numbers."""
    if isinstance(data, Recorded):
        array = data._array
    elif isinstance(data, np.generic):
        array = np.asarray(data)
    elif is_array(data):
        array = data if type(data) is np.ndarray else as_array(data)
    else:
        array = plain_array(_plain(data))
        if dtype is None:
            dtype = of_numbers(array)
        check_all_hold(as_dtype(dtype), array)
        device = device or modes.device
    wanted = as_dtype(array.dtype if dtype is None else dtype)
    if array.dtype != wanted:
        array = modes.quiet(array.astype, wanted)
    return array if device is None else move(array, device)


def _floating(_numbers: Array) -> np.dtype[Any]:
    return get_default_dtype()


def _plain(data: Any) -> Any:
    """Return nested lists with their tensors replaced by arrays of the host."""
    if isinstance(data, (list, tuple)):
        return [_plain(x) for x in data]
    return on_host(unwrap(data))


set_result_class(Tensor)
_numpy_protocols.refuse_attributes_of_arrays(Tensor)
