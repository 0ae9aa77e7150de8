"""Embedding, a table with one vector for each id, and one-hot rows."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rondeau.kernels.checks import checked_indices
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops import scatter
from rondeau.kernels.ops.few_rows import are_few, summed
from rondeau.kernels.runtime import buffers
from rondeau.kernels.runtime.devices import is_of_device, library_of
from rondeau.tensor import Function, Tensor, empty, no_grad
from rondeau.tensor.autograd import from_few_rows

from . import init
from ._checks import as_array, check_devices, check_integer, check_sizes, check_tensor
from ._module import Module
from ._parameter import Parameter


def embedding(input: Tensor | NDArray[Any], weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Return the rows of `weight` at the ids in `input`.

    Parameters
    ----------
    input : Tensor or ndarray of integers
        Ids in [0, V), any shape.
    weight : Tensor
        Shape (V, E).
    padding_idx : int, optional
        The id whose row gets no gradient; a negative id counts from the end.

    Returns
    -------
    Tensor
        The shape of `input`, followed by E. Where an id repeats, its gradients are summed in ascending order; on a GPU
        in another, but always the same for the same ids.

    Raises
    ------
    TypeError
        If the ids or `padding_idx` are not integers, or `weight` is not a Tensor of float32 or float64.
    IndexError
        If an id is outside the table.
    ValueError
        If `weight` is not a matrix.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> table = rt.tensor([[0.0, 0.0], [1.0, 10.0]])
    >>> nn.functional.embedding(rt.tensor([1, 0]), table).tolist()
    [[1.0, 10.0], [0.0, 0.0]]
    """
    check_tensor("embedding: weight", weight)
    if weight.ndim != 2:
        raise ArgumentValueError(f"embedding: weight must have shape (V, E), got {tuple(weight.shape)}")
    if weight.dtype.char not in "fd":
        raise ArgumentTypeError(
            f"embedding: weight must be float32 or float64, got {weight.dtype}; use weight.float()"
        )
    ids = _copied_ids("embedding", input, weight.shape[0])
    check_devices("embedding", input=ids, weight=weight)
    padding = -1 if padding_idx is None else _checked_padding(padding_idx, weight.shape[0])
    rows: Tensor = _Lookup.apply(weight, ids.reshape(-1), padding)
    return rows.reshape((*ids.shape, weight.shape[1]))


def one_hot(tensor: Tensor | NDArray[Any], num_classes: int = -1) -> Tensor:
    """Return rows that are 1 at the given class and 0 elsewhere.

    Parameters
    ----------
    tensor : Tensor or ndarray of integers
        Classes, any shape, none negative.
    num_classes : int
        The width of the rows; -1 takes the largest class plus one, for which it waits if the classes are on a GPU.

    Returns
    -------
    Tensor
        int64, the shape of `tensor` followed by num_classes.

    Raises
    ------
    TypeError
        If the classes are not integers.
    IndexError
        If a class is outside [0, num_classes).
    ValueError
        If the number of classes is negative, or is -1 for an empty tensor.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.functional.one_hot(rt.tensor([0, 2]), 3).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    classes = as_array("one_hot: classes", tensor)
    check_integer("one_hot: num_classes", num_classes)
    if num_classes == -1:
        if classes.size == 0:
            raise ArgumentValueError(
                "one_hot: an empty tensor does not determine the number of classes; pass num_classes"
            )
        num_classes = int(Tensor(classes.max()).item()) + 1
    elif num_classes < 0:
        raise ArgumentValueError(
            f"one_hot: num_classes must be at least 0, or -1 to take the largest, got {num_classes}"
        )
    check_sizes(0, num_classes=num_classes)
    ids = _copied_ids("one_hot", classes, num_classes)
    rows = np.zeros_like(ids, order="C", shape=(ids.size, num_classes))
    rows[library_of(ids).arange(ids.size), ids.reshape(-1)] = 1
    return Tensor(rows.reshape(*ids.shape, num_classes))


def _copied_ids(name: str, input: Tensor | NDArray[Any], number: int) -> NDArray[np.int64]:
    # Copy: backward reads this, and the caller may overwrite it first.
    ids = as_array(f"{name}: ids", input).copy()
    if ids.dtype.kind not in "iu":
        raise ArgumentTypeError(f"{name}: ids must be integers, got {ids.dtype}; use ids.long()")
    return checked_ids(name, ids, number).astype(np.int64, copy=False)


def checked_ids(name: str, ids: NDArray[Any], number: int) -> NDArray[Any]:
    """Return ids, after checking that each is that of one of `number` rows; see `checked_indices`.

    Raises
    ------
    IndexError
        If one is out of range; for ids on a GPU when something is next read from there.
    """

    def error(wrong: Any) -> Exception:
        return IndexError(f"{name}: id {wrong} is out of range: there are {number} rows, 0 to {number - 1}")

    return checked_indices(ids, number, error)


def _checked_padding(padding_idx: int, number: int) -> int:
    check_integer("padding_idx", padding_idx)
    if not -number <= padding_idx < number:
        raise ArgumentValueError(
            f"padding_idx {padding_idx} is out of range for an embedding of {number} rows"
        )
    return padding_idx % number


class _Lookup(Function):
    """Rows of a table by id; the gradient is `_ScatterAdd`, whose own gradient is the lookup again."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: NDArray[np.int64], padding: int) -> Tensor:
        ctx.rows, ctx.ids, ctx.padding = table.shape[0], ids, padding
        if is_of_device(ids):
            return Tensor(np.take(table._array, ids, axis=0))
        rows = buffers.empty((ids.size, table.shape[1]), table.dtype)
        # The ids have been checked, and with mode "raise" take would go through a buffer.
        return Tensor(np.take(table._array, ids, axis=0, out=rows, mode="clip"))

    @staticmethod
    def backward(ctx: Any, d_rows: Tensor) -> tuple[Tensor, None, None]:
        shape = ctx.rows, d_rows.shape[1]
        if are_few(ctx.ids.size, shape) and not ctx.create_graph and not is_of_device(ctx.ids):
            few = summed(d_rows._array, ctx.ids, ctx.rows)
            few.values[few.ids == ctx.padding] = 0
            return from_few_rows(few), None, None
        return _ScatterAdd.apply(d_rows, ctx.ids, ctx.rows, ctx.padding), None, None


class _ScatterAdd(Function):
    """The sum of the rows of each id, on the CPU in ascending order of rows; zero for the padding id."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ids: NDArray[np.int64], number: int, padding: int) -> Tensor:
        ctx.ids, ctx.padding = ids, padding
        table = buffers.empty_like(rows._array, (number, rows.shape[1]))
        table.fill(0)
        scatter.add_rows(rows._array, ids, table)
        if padding >= 0:
            table[padding] = 0
        return Tensor(table)

    @staticmethod
    def backward(ctx: Any, d_table: Tensor) -> tuple[Tensor, None, None, None]:
        d_rows = _Lookup.apply(d_table, ctx.ids, ctx.padding)
        if ctx.padding >= 0:
            d_rows = d_rows * Tensor((ctx.ids != ctx.padding)[:, None].astype(d_table.dtype))
        return d_rows, None, None, None


class Embedding(Module):
    """A table of `num_embeddings` learned vectors of `embedding_dim` numbers, looked up by id.

    Parameters
    ----------
    num_embeddings : int
        Number of ids.
    embedding_dim : int
        Length of each vector.
    padding_idx : int, optional
        The padding id: its vector is initially zero and gets no gradient.
    device, dtype : optional
        Device and dtype of the parameter; float32 by default.

    Attributes
    ----------
    weight : Parameter
        Shape (num_embeddings, embedding_dim), initially drawn from N(0, 1).

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a size is negative, or `padding_idx` is outside the table.

    Notes
    -----
    If few rows of a large table were read, ``weight.grad`` holds these rows alone until something reads it; `SGD`
    without momentum and weight decay, and the clipping of gradients, do not read the others. There is no ``sparse``
    option: the results are the same bits.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> table = nn.Embedding(10, 3, padding_idx=0)
    >>> table(rt.tensor([[0, 2, 0, 5]])).shape
    (1, 4, 3)
    >>> table(rt.tensor([0])).tolist()
    [[0.0, 0.0, 0.0]]
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        check_sizes(0, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else _checked_padding(padding_idx, num_embeddings)
        self.weight = Parameter(empty(num_embeddings, embedding_dim, dtype=dtype, device=device))
        self.reset_parameters()

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None) -> Self:
        """Return an Embedding with a given table.

        Parameters
        ----------
        embeddings : Tensor
            Shape (num_embeddings, embedding_dim).
        freeze : bool
            Whether to exclude the table from training.
        padding_idx : int, optional
            The id that gets no gradient; its vector is left as it is.

        Returns
        -------
        Embedding
            It shares the memory of `embeddings`.

        Raises
        ------
        TypeError
            If `embeddings` is not a Tensor.
        ValueError
            If it is not a matrix.

        Examples
        --------
        >>> from rondeau import nn, tensor as rt
        >>> nn.Embedding.from_pretrained(rt.tensor([[1.0, 2.0], [3.0, 4.0]]))(rt.tensor(1)).tolist()
        [3.0, 4.0]
        """
        check_tensor("embeddings", embeddings)
        if embeddings.ndim != 2:
            raise ArgumentValueError(
                f"embeddings must have shape (num_embeddings, embedding_dim), got {tuple(embeddings.shape)}"
            )
        rows, width = embeddings.shape
        made = cls(rows, width, padding_idx, dtype=embeddings.dtype)
        made.weight = Parameter(embeddings, requires_grad=not freeze)
        return made

    def reset_parameters(self) -> None:
        """Draw new initial values; the padding vector becomes zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    def forward(self, input: Tensor | NDArray[Any]) -> Tensor:
        """Look up ids of any shape; the result has that shape followed by `embedding_dim`."""
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
