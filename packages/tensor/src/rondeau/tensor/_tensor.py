"""Tensor: an array, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self, TypeAlias, overload

import numpy as np
from numpy.typing import DTypeLike

from rondeau.tensor import _autograd, _inplace
from rondeau.tensor._arguments import array_of, number, plain_array, shape_of
from rondeau.tensor._autograd import Node, Op, Recorded, is_leaf_node, leaf_node, modes, record, wrap
from rondeau.tensor._devices import as_array, device_of, move, namespace
from rondeau.tensor._dtypes import as_dtype, default_for, float32, float64, int64
from rondeau.tensor._dtypes import bool as bool_
from rondeau.tensor._hooks import RemovableHandle
from rondeau.tensor._ops import activations, comparison, elementwise, indexing, linalg, reduce
from rondeau.tensor._ops import shape as shapes
from rondeau.tensor._ops._operands import cast

Array = np.ndarray[Any, Any]
Bool: TypeAlias = bool  # inside the class `bool` is a method

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
        Python numbers and lists become float32, int64 or bool. An array keeps its type and is shared, not copied.
    requires_grad : bool
        Collect gradients in ``.grad``; for floating types only.
    dtype : dtype_like, optional
        Convert to this type.
    device : {"cpu", "cuda"}, optional
        Default: where the array is.

    Raises
    ------
    TypeError
        If the data are no numbers, or gradients are required of integers.

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
        self._array = _as_data(data, dtype, device)
        self._node = None
        self._changes = None
        self._view = None
        self._grad = None
        if requires_grad:
            self.requires_grad_()

    # ------------------------------------------------------------------------------------------ what it is

    @property
    def data(self) -> Any:
        """The array itself, a NumPy array on the CPU. What is written into it is not recorded."""
        return self._array

    @data.setter
    def data(self, value: Any) -> None:
        array = value._array if isinstance(value, Recorded) else value
        if not _is_array(array):
            raise TypeError(f"expected an array as data, got {type(value).__name__}")
        if as_dtype(array.dtype) != array.dtype:
            raise TypeError(
                f"data should be in this machine's order of bytes, got {array.dtype}: convert it with "
                f"astype({as_dtype(array.dtype).name!r})"
            )
        if self._node is not None and array.dtype.kind != "f":
            raise TypeError(f"data of a tensor that requires gradients must be floating, got {array.dtype}")
        self._array = array

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward has accumulated; None before, and for tensors that collect none."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"a gradient is a Tensor or None, got {type(value).__name__}")
            if value._array.shape != self._array.shape or value._array.dtype != self._array.dtype:
                raise ValueError(
                    f"a gradient is like its tensor, {self._array.dtype} of shape {self._array.shape}; "
                    f"got {value._array.dtype} of shape {value._array.shape}"
                )
        self._grad = value

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of every dimension."""
        return self._array.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements, NumPy's."""
        return self._array.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> str:
        """Where the array is: "cpu" or "cuda"."""
        return device_of(self._array)

    @property
    def requires_grad(self) -> Bool:
        """Whether gradients flow to or through this tensor; settable for leaves."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: Bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> Bool:
        """Whether it was not computed from anything that requires gradients."""
        return self._node is None or is_leaf_node(self._node)

    @property
    def grad_fn(self) -> Node | None:
        """The node of the operation that computed it; None for leaves."""
        return None if self.is_leaf else self._node

    @property
    def T(self) -> Tensor:
        """The tensor with its dimensions in reverse order."""
        return shapes.reverse(self)

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two dimensions exchanged."""
        return shapes.transpose(self, -1, -2)

    @property
    def nbytes(self) -> int:
        """The bytes that the elements take."""
        return self._array.nbytes  # type: ignore[no-any-return]

    @property
    def itemsize(self) -> int:
        """The bytes that an element takes."""
        return self._array.itemsize  # type: ignore[no-any-return]

    @overload
    def size(self) -> tuple[int, ...]: ...
    @overload
    def size(self, dim: int) -> int: ...
    def size(self, dim: int | None = None) -> int | tuple[int, ...]:
        """Return the shape, or the size of one dimension."""
        shape: tuple[int, ...] = self._array.shape
        if dim is None:
            return shape
        axis = reduce.normalize_dim(dim, len(shape))
        if not shape:
            raise IndexError("size(dim) of a tensor without dimensions: it has no sizes")
        return shape[axis]

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self._array.ndim  # type: ignore[no-any-return]

    def numel(self) -> int:
        """Return the number of elements."""
        return self._array.size  # type: ignore[no-any-return]

    def is_floating_point(self) -> Bool:
        """Return whether the elements are of a floating type."""
        return self._array.dtype.kind == "f"  # type: ignore[no-any-return]

    def is_contiguous(self) -> Bool:
        """Return whether the elements lie in memory in order, without gaps."""
        return self._array.flags.c_contiguous  # type: ignore[no-any-return]

    # ------------------------------------------------------------------------------------- into other forms

    def numpy(self) -> Array:
        """Return the NumPy array that holds the values; memory is shared.

        Raises
        ------
        RuntimeError
            For a tensor that requires gradients, which would be lost; or on another device.
        """
        if self._node is not None:
            raise RuntimeError(
                "numpy() of a tensor that requires gradients would lose them: call detach().numpy(), or use .data"
            )
        if self.device != "cpu":
            raise RuntimeError(f"numpy() of a tensor on {self.device!r}: move it first, .cpu().numpy()")
        return self._array  # type: ignore[no-any-return]

    def item(self) -> Any:
        """Return the only element as a Python number.

        Raises
        ------
        ValueError
            If there is not exactly one.
        """
        if self._array.size != 1:
            raise ValueError(f"item() is for a tensor of one element, this one has shape {self._array.shape}")
        return self._array.item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self._array.tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: Bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(
                    f"a tensor of {array.dtype} cannot become an array of {np.dtype(dtype)} without a copy"
                )
            return array.astype(dtype)
        return array.copy() if copy else array

    def to(self, *args: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
        """Return the tensor in another type or on another device; itself where it is so already.

        Parameters
        ----------
        *args : dtype, device or Tensor
            In any order; of a Tensor its type and device.
        dtype : dtype_like, optional
        device : {"cpu", "cuda"}, optional

        Returns
        -------
        Tensor
        """
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, str) and arg in ("cpu", "cuda"):
                device = arg
            elif arg is not None:
                dtype = arg
        x = self if device is None else self._moved(device)
        return x if dtype is None else cast(x, as_dtype(dtype))

    def _moved(self, device: str) -> Tensor:
        namespace(device)
        before = self.device
        if before == device:
            return self
        return record(_MOVE, move(self._array, device), (self,), before)

    def cpu(self) -> Tensor:
        """Return the tensor on the CPU."""
        return self._moved("cpu")

    def cuda(self) -> Tensor:
        """Return the tensor on the GPU."""
        return self._moved("cuda")

    def float(self) -> Tensor:
        """Return the tensor in float32."""
        return cast(self, float32)

    def double(self) -> Tensor:
        """Return the tensor in float64."""
        return cast(self, float64)

    def long(self) -> Tensor:
        """Return the tensor in int64, fractions cut off."""
        return cast(self, int64)

    def bool(self) -> Tensor:
        """Return whether each element is not zero."""
        return cast(self, bool_)

    def type_as(self, other: Tensor) -> Tensor:
        """Return the tensor in the type of another."""
        return cast(self, array_of(other, "other").dtype)

    def contiguous(self) -> Tensor:
        """Return the tensor with its elements in order in memory; itself if they are so."""
        if self._array.flags.c_contiguous:
            return self
        return record(_CLONE, np.array(self._array, order="C"), (self,))

    # --------------------------------------------------------------------------------------------- gradients

    def backward(
        self, gradient: Any = None, retain_graph: Bool | None = None, create_graph: Bool = False
    ) -> None:
        """Add the gradient of this tensor to the ``.grad`` of every leaf it was computed from.

        Parameters
        ----------
        gradient : Tensor or array_like, optional
            The gradient of some scalar with respect to this tensor; may be left out for one element (then 1).
        retain_graph : bool, optional
            Keep the graph for another backward. Default: the value of `create_graph`.
        create_graph : bool
            Record the computation of the gradients too, for derivatives of higher order.

        Raises
        ------
        RuntimeError
            If the tensor requires no gradient, `gradient` is missing or of the wrong shape, the graph was freed by an
            earlier backward, or a tensor that it needs was changed in place.
        """
        _autograd.backward(self, gradient, retain_graph, create_graph)

    def requires_grad_(self, requires_grad: Bool = True) -> Self:
        """Declare that gradients are to be collected in ``.grad``, or no longer; returns the tensor.

        Raises
        ------
        TypeError
            For integers and booleans, which have no derivatives.
        RuntimeError
            To switch it off for a tensor that was computed: use detach().
        """
        if requires_grad:
            if self._array.dtype.kind != "f":
                raise TypeError(
                    f"only tensors of a floating type can require gradients, this one is {self._array.dtype}: "
                    "use .float() first"
                )
            if self._node is None:
                self._node = leaf_node(self)
        elif not self.is_leaf:
            raise RuntimeError("requires_grad of a computed tensor cannot be switched off: use detach()")
        else:
            self._node = None
        return self

    def detach(self) -> Tensor:
        """Return a tensor over the same memory that gradients do not flow through."""
        if self._changes is None:
            self._changes = _autograd.Changes()
        other = wrap(self._array)
        other._changes = self._changes
        return other

    def detach_(self) -> Self:
        """Cut the tensor from the graph that computed it; returns the tensor."""
        if self._view is not None:
            raise RuntimeError("detach_() of a view: use detach()")
        self._node = None
        return self

    def retain_grad(self) -> None:
        """Collect the gradient of a computed tensor in its ``.grad`` too."""
        import weakref

        if self._node is None:
            raise RuntimeError("retain_grad() of a tensor that does not require gradients")
        if self._node.holder is None:
            self._node.holder = weakref.ref(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call a function with the gradient of this tensor whenever backward has computed it.

        Parameters
        ----------
        hook : callable
            ``hook(grad)``; may return a Tensor to go on with instead. It must not change `grad` in place.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` takes the hook off again.

        Raises
        ------
        RuntimeError
            If the tensor requires no gradients.
        """
        if self._node is None:
            raise RuntimeError("register_hook() of a tensor that does not require gradients")
        if self._node.hooks is None:
            self._node.hooks = {}
        return RemovableHandle(self._node.hooks, hook)

    # ------------------------------------------------------------------------------------------ Python's protocols

    def __repr__(self) -> str:
        body = np.array2string(self._array, separator=", ", prefix="tensor(")
        notes = ""
        if self._array.dtype not in (float32, int64, bool_):
            notes += f", dtype={self._array.dtype}"
        if self._array.size == 0:
            notes = f", shape={self._array.shape}" + notes
        if self.device != "cpu":
            notes += f", device={self.device!r}"
        if self.grad_fn is not None:
            notes += f", grad_fn={self.grad_fn!r}"
        elif self.requires_grad:
            notes += ", requires_grad=True"
        return f"tensor({body}{notes})"

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise TypeError("len() of a tensor without dimensions")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        if self._array.ndim == 0:
            raise TypeError("iteration over a tensor without dimensions; use .item()")
        return iter(shapes.unbind(self))

    def __contains__(self, value: Any) -> Bool:
        return bool(np.any(comparison.eq(self, value)._array))

    def __bool__(self) -> Bool:
        if self._array.size != 1:
            raise ValueError(
                f"the truth of a tensor of shape {self._array.shape} is ambiguous: use .any() or .all()"
            )
        return bool(self._array.item())

    def __float__(self) -> Any:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self._array.dtype.kind not in "biu" or self._array.size != 1:
            raise TypeError("only a tensor of one integer can be used as an index")
        return int(self._array.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self._array.ndim == 0 and spec else str(self)

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("only leaves can be deep-copied: detach() the tensor first")
        copied = type(self)(self._array.copy(), requires_grad=self.requires_grad)
        if self._grad is not None:
            copied._grad = wrap(self._grad._array.copy())
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise RuntimeError("only leaves can be pickled: detach() the tensor first")
        return type(self), (self._array, self.requires_grad)

    # NumPy hands its functions over: the vector-Jacobian products are written in its vocabulary, and users may mix.

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any
    ) -> Any:
        if out is not None:
            # An array as target: numbers are wanted, nothing is recorded. p.data -= lr * p.grad works so.
            targets = tuple(o._array if isinstance(o, Recorded) else o for o in out)
            arrays = [x._array if isinstance(x, Recorded) else x for x in inputs]
            result = getattr(ufunc, method)(*arrays, out=targets, **kwargs)
            for o in out:
                if isinstance(o, Recorded):
                    _inplace.check_changeable(o)  # type: ignore[arg-type]
                    _autograd.mark_changed(o)
            return out[0] if isinstance(out[0], Recorded) else result
        operator = _UFUNCS.get(ufunc)
        if operator is None or method != "__call__" or kwargs:
            return _on_arrays(getattr(ufunc, method), f"np.{ufunc.__name__}", inputs, kwargs)
        return operator(*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        operator = _FUNCTIONS.get(function)
        if operator is None:
            return _on_arrays(function, f"np.{function.__name__}", args, kwargs)
        return operator(*args, **kwargs)

    # ------------------------------------------------------------------------------------------------ operators

    __add__ = elementwise.add
    __sub__ = elementwise.sub
    __mul__ = elementwise.mul
    __truediv__ = elementwise.div
    __floordiv__ = elementwise.floor_divide
    __mod__ = elementwise.remainder
    __pow__ = elementwise.pow
    __matmul__ = linalg.matmul
    __neg__ = elementwise.neg
    __pos__ = elementwise.positive
    __abs__ = elementwise.abs
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
        return elementwise.add(other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return elementwise.sub(other, self)

    def __rmul__(self, other: Any) -> Tensor:
        return elementwise.mul(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return elementwise.div(other, self)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return elementwise.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Tensor:
        return elementwise.remainder(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return elementwise.pow(other, self)

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
    add = elementwise.add
    sub = elementwise.sub
    mul = elementwise.mul
    div = elementwise.div
    pow = elementwise.pow
    remainder = elementwise.remainder
    floor_divide = elementwise.floor_divide
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    neg = elementwise.neg
    abs = elementwise.abs
    exp = elementwise.exp
    expm1 = elementwise.expm1
    log = elementwise.log
    log2 = elementwise.log2
    log1p = elementwise.log1p
    sqrt = elementwise.sqrt
    rsqrt = elementwise.rsqrt
    reciprocal = elementwise.reciprocal
    square = elementwise.square
    sin = elementwise.sin
    cos = elementwise.cos
    tanh = elementwise.tanh
    sigmoid = elementwise.sigmoid
    erf = elementwise.erf
    relu = activations.relu
    sign = elementwise.sign
    floor = elementwise.floor
    ceil = elementwise.ceil
    round = elementwise.round
    clamp = elementwise.clamp
    masked_fill = elementwise.masked_fill
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
        """Return this tensor where the condition holds, else `other`; see `rondeau.tensor.where`."""
        return elementwise.where(condition, self, other)

    # reductions
    sum = reduce.sum
    mean = reduce.mean
    var = reduce.var
    std = reduce.std
    amax = reduce.amax
    amin = reduce.amin
    max = reduce.max
    min = reduce.min
    argmax = reduce.argmax
    argmin = reduce.argmin
    all = reduce.all
    any = reduce.any
    softmax = reduce.softmax
    log_softmax = reduce.log_softmax
    logsumexp = reduce.logsumexp
    norm = reduce.norm
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
    split = shapes.split
    chunk = shapes.chunk
    unbind = shapes.unbind
    tril = shapes.tril
    triu = shapes.triu
    clone = clone

    def view(self, *size: Any) -> Tensor:
        """Return the same memory in another shape; see `rondeau.tensor.reshape`, which may copy where this raises.

        Raises
        ------
        ValueError
            If the strides do not allow it.
        """
        result = shapes.reshape(self, *size)
        if result._array.size and not np.may_share_memory(result._array, self._array):
            raise ValueError(
                f"view: a tensor of shape {self._array.shape} and these strides cannot be seen as {size} "
                "without a copy: use reshape()"
            )
        return result

    def view_as(self, other: Tensor) -> Tensor:
        """Return the same memory in the shape of another tensor."""
        return self.view(array_of(other, "other").shape)

    def expand_as(self, other: Tensor) -> Tensor:
        """Return the tensor expanded to the shape of another."""
        return shapes.expand(self, array_of(other, "other").shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        """Return the tensor in the shape of another."""
        return shapes.reshape(self, array_of(other, "other").shape)

    # parts and products
    index_select = indexing.index_select
    gather = indexing.gather
    scatter_add = indexing.scatter_add
    index_add = indexing.index_add
    masked_select = indexing.masked_select
    nonzero = indexing.nonzero
    sort = indexing.sort
    argsort = indexing.argsort
    topk = indexing.topk
    matmul = linalg.matmul
    mm = linalg.mm
    bmm = linalg.bmm
    mv = linalg.mv
    dot = linalg.dot
    outer = linalg.outer

    # in place
    sub_ = _inplace.in_place(elementwise.sub, np.subtract)
    mul_ = _inplace.in_place(elementwise.mul, np.multiply)
    div_ = _inplace.in_place(elementwise.div, np.true_divide)
    pow_ = _inplace.in_place(elementwise.pow)
    neg_ = _inplace.in_place(elementwise.neg)
    abs_ = _inplace.in_place(elementwise.abs)
    exp_ = _inplace.in_place(elementwise.exp)
    log_ = _inplace.in_place(elementwise.log)
    sqrt_ = _inplace.in_place(elementwise.sqrt)
    tanh_ = _inplace.in_place(elementwise.tanh)
    sigmoid_ = _inplace.in_place(elementwise.sigmoid)
    relu_ = _inplace.in_place(activations.relu)
    round_ = _inplace.in_place(elementwise.round)
    floor_ = _inplace.in_place(elementwise.floor)
    ceil_ = _inplace.in_place(elementwise.ceil)
    clamp_ = _inplace.in_place(elementwise.clamp)
    masked_fill_ = _inplace.in_place(elementwise.masked_fill)
    remainder_ = _inplace.in_place(elementwise.remainder)
    reciprocal_ = _inplace.in_place(elementwise.reciprocal)
    scatter_add_ = _inplace.in_place(indexing.scatter_add)
    index_add_ = _inplace.in_place(indexing.index_add)
    fill_ = _inplace.in_place(_inplace.fill)
    copy_ = _inplace.in_place(_inplace.copy)
    zero_ = _inplace.in_place(_inplace.zero)
    _plus_ = _inplace.in_place(elementwise.add, np.add)

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
        drawn = rand(*self.shape, generator=generator, dtype=self.dtype, device=self.device)
        return self.copy_(drawn * (high - low) + low)

    def normal_(self, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with numbers drawn from a normal distribution, from `generator` or the default one."""
        from rondeau.tensor._random import randn

        mean, std = number(mean, "mean"), number(std, "std")
        drawn = randn(*self.shape, generator=generator, dtype=self.dtype, device=self.device)
        return self.copy_(drawn * std + mean)

    def new_zeros(self, *size: Any) -> Tensor:
        """Return zeros of a shape, in the type and on the device of this tensor."""
        return wrap(namespace(self.device).zeros(shape_of(size), self._array.dtype))

    def new_ones(self, *size: Any) -> Tensor:
        """Return ones of a shape, in the type and on the device of this tensor."""
        return wrap(namespace(self.device).ones(shape_of(size), self._array.dtype))


def _is_array(value: Any) -> bool:
    """Whether a value is an array of NumPy or, on a GPU, of CuPy."""
    return isinstance(value, np.ndarray) or hasattr(value, "__cuda_array_interface__")


def _is_operand(value: Any) -> bool:
    """Whether comparing a tensor with `value` means comparing its elements."""
    return isinstance(value, (Recorded, np.ndarray, np.generic, int, float, bool, list))


_MOVE = Op("to", lambda g, _out, _x, device: _moved(g, device))


def _moved(g: Any, device: str) -> Any:
    return g._moved(device) if isinstance(g, Recorded) else move(g, device)  # type: ignore[attr-defined]


def _as_data(data: Any, dtype: DTypeLike | None, device: str | None) -> Any:
    """Return what a tensor holds, from whatever it is made of."""
    if isinstance(data, Recorded):
        array = data._array
    elif isinstance(data, np.generic):
        array = np.asarray(data)
    elif _is_array(data):
        array = (
            data if type(data) is np.ndarray else as_array(data)
        )  # of NumPy's own class: a subclass may index and compare by other rules
    else:
        array = plain_array(_plain(data))
        if dtype is None:
            dtype = default_for(array)
    wanted = as_dtype(array.dtype if dtype is None else dtype)
    if array.dtype != wanted:
        array = modes.quiet(array.astype, wanted)
    return array if device is None else move(array, device)


def _plain(data: Any) -> Any:
    """Nested lists with the tensors in them as arrays."""
    if isinstance(data, (list, tuple)):
        return [_plain(x) for x in data]
    return data._array if isinstance(data, Recorded) else data


def _on_arrays(function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """Run one of NumPy's functions that has no operator on the arrays of tensors, where no gradient can be lost."""

    def plain(x: Any) -> Any:
        if isinstance(x, Recorded):
            if x._node is not None and modes.recording:
                raise TypeError(
                    f"{name} is not an operator of tensors, and this one requires gradients: "
                    "use an operator of rondeau.tensor, or detach() first"
                )
            return x._array
        if isinstance(x, (list, tuple)):
            return type(x)(plain(i) for i in x) if type(x) in (list, tuple) else x
        return x

    return function(*plain(args), **{k: plain(v) for k, v in kwargs.items()})


_UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: elementwise.add,
    np.subtract: elementwise.sub,
    np.multiply: elementwise.mul,
    np.true_divide: elementwise.div,
    np.floor_divide: elementwise.floor_divide,
    np.remainder: elementwise.remainder,
    np.power: elementwise.pow,
    np.maximum: elementwise.maximum,
    np.minimum: elementwise.minimum,
    np.negative: elementwise.neg,
    np.positive: elementwise.positive,
    np.absolute: elementwise.abs,
    np.exp: elementwise.exp,
    np.expm1: elementwise.expm1,
    np.log: elementwise.log,
    np.log2: elementwise.log2,
    np.log1p: elementwise.log1p,
    np.sqrt: elementwise.sqrt,
    np.reciprocal: elementwise.reciprocal,
    np.square: elementwise.square,
    np.sin: elementwise.sin,
    np.cos: elementwise.cos,
    np.tanh: elementwise.tanh,
    np.sign: elementwise.sign,
    np.floor: elementwise.floor,
    np.ceil: elementwise.ceil,
    np.rint: elementwise.round,
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
    return shapes.reshape(x, tuple(1 if i in places else next(rest) for i in range(ndim)))


# NumPy's functions in NumPy's argument order, for vector-Jacobian products and for users who mix.
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: lambda x, axis=None, keepdims=False: reduce.sum(x, axis, keepdims),
    np.mean: lambda x, axis=None, keepdims=False: reduce.mean(x, axis, keepdims),
    np.prod: lambda x, axis=None, keepdims=False: reduce.prod(x, axis, keepdims),
    np.max: lambda x, axis=None, keepdims=False: reduce.amax(x, axis, keepdims),
    np.min: lambda x, axis=None, keepdims=False: reduce.amin(x, axis, keepdims),
    np.cumsum: lambda x, axis=None: reduce.cumsum(shapes.reshape(x, -1) if axis is None else x, axis or 0),
    np.where: elementwise.where,
    np.clip: elementwise.clamp,
    np.reshape: lambda x, shape_: shapes.reshape(x, shape_),
    np.transpose: lambda x, axes=None: x.T if axes is None else shapes.permute(x, axes),
    np.swapaxes: shapes.transpose,
    np.moveaxis: shapes.movedim,
    np.broadcast_to: shapes.broadcast_to,
    np.expand_dims: _expand_dims,
    np.squeeze: lambda x, axis=None: shapes.squeeze(x, axis),
    np.flip: lambda x, axis=None: shapes.flip(x, tuple(range(x.ndim)) if axis is None else axis),
    np.concatenate: lambda xs, axis=0: shapes.cat(xs, axis),
    np.stack: lambda xs, axis=0: shapes.stack(xs, axis),
    np.tril: shapes.tril,
    np.triu: shapes.triu,
    np.einsum: linalg.einsum,
}

_autograd.set_result_class(Tensor)
