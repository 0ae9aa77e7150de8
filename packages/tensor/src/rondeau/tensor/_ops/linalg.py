"""Products of matrices and vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels import product
from rondeau.tensor._arguments import array_of, described
from rondeau.tensor._autograd import Op, Recorded, record
from rondeau.tensor._dtypes import float32, float64
from rondeau.tensor._ops._operands import as_tensor, pair
from rondeau.tensor._ops.reduce import sum as reduce_sum
from rondeau.tensor._ops.shape import permute, reshape, unsqueeze

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


def product_array(a: Any, b: Any) -> Any:
    """Return the matrix product of two arrays of one type with at least two dimensions, batches broadcast.

    Floats go through the library's own product, whose bits do not depend on the number of threads.
    """
    dtype = a.dtype
    if (dtype is not float32 and dtype is not float64) or type(a) is not np.ndarray:
        return np.matmul(a, b)
    if a.ndim == 2 and b.ndim == 2:
        return product.matmul(a, b)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, columns, count = a.shape[-2], b.shape[-1], math.prod(batch)
    left = np.broadcast_to(a, (*batch, *a.shape[-2:])).reshape(count, *a.shape[-2:])
    right = np.broadcast_to(b, (*batch, *b.shape[-2:])).reshape(count, *b.shape[-2:])
    out = np.empty((count, rows, columns), a.dtype)
    for i in range(count):
        product.matmul(left[i], right[i], out=out[i])
    return out.reshape(*batch, rows, columns)


def _times(a: Any, b: Any) -> Any:
    """Return the product of two arrays, or of operands one of which is a tensor."""
    if isinstance(a, Recorded) or isinstance(b, Recorded):
        return matmul(a, b)
    return product_array(a, b)


_MATMUL = Op(
    "matmul",
    lambda g, _out, _a, b: _times(g, np.swapaxes(b, -1, -2)),
    lambda g, _out, a, _b: _times(np.swapaxes(a, -1, -2), g),
)


def matmul(a: Any, b: Any) -> Tensor:
    """Return the matrix product; batches broadcast, vectors count as a row before and a column behind.

    Parameters
    ----------
    a : Tensor or ndarray
        Shape (..., M, K) or (K,).
    b : Tensor or ndarray
        Shape (..., K, N) or (K,).

    Returns
    -------
    Tensor
        Shape (..., M, N), without what a vector does not have. The same bits for any number of threads.

    Raises
    ------
    TypeError
        If the operands' types differ.
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.matmul(rt.tensor([[1.0, 2.0]]), rt.tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    if not (isinstance(a, Recorded) and isinstance(b, Recorded)):
        a, b = as_tensor(a), as_tensor(b)
    x, y = a._array, b._array
    if x.dtype != y.dtype:
        raise TypeError(
            f"matmul needs operands of one type, got {x.dtype} and {y.dtype}: convert one with .to(...)"
        )
    n, m = x.ndim, y.ndim
    if n == 0 or m == 0 or x.shape[-1] != y.shape[-2 if m > 1 else 0]:
        raise ValueError(
            f"matmul: shapes {x.shape} and {y.shape} do not fit: the last size of the first must equal "
            "the last but one of the second (its only one for a vector)"
        )
    if n == 2 and m == 2:
        return record(_MATMUL, product_array(x, y), (a, b))
    if n == 1:
        return reshape(matmul(unsqueeze(a, 0), b), (*y.shape[:-2], *y.shape[-1:]) if m > 1 else ())
    if m == 1:
        return reshape(matmul(a, unsqueeze(b, 1)), x.shape[:-1])
    if m == 2:  # one matrix behind a batch: all rows at once
        return reshape(
            matmul(reshape(a, (-1 if x.size else math.prod(x.shape[:-1]), x.shape[-1])), b),
            (*x.shape[:-1], y.shape[-1]),
        )
    try:
        result = product_array(x, y)
    except ValueError as error:
        raise ValueError(f"matmul: the batches of shapes {x.shape} and {y.shape} do not broadcast") from error
    recorded = record(_MATMUL, result, (a, b))
    if recorded._node is not None and x.shape[:-2] != y.shape[:-2]:
        recorded._node.shapes = (x.shape, y.shape)
    return recorded


def _checked(name: str, x: Any, ndim: int) -> None:
    shape = array_of(x).shape
    if len(shape) != ndim:
        raise ValueError(f"{name} needs a tensor of {ndim} dimensions here, got shape {shape}")


def mm(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of two matrices.

    Parameters
    ----------
    a : Tensor
        Shape (M, K).
    b : Tensor
        Shape (K, N).

    Returns
    -------
    Tensor
        Shape (M, N).

    Raises
    ------
    ValueError
        If they are no matrices, or do not fit.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.mm(rt.eye(2), rt.tensor([[1.0], [2.0]])).tolist()
    [[1.0], [2.0]]
    """
    _checked("mm", a, 2)
    _checked("mm", b, 2)
    return matmul(a, b)


def bmm(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of two batches of matrices.

    Parameters
    ----------
    a : Tensor
        Shape (B, M, K).
    b : Tensor
        Shape (B, K, N).

    Returns
    -------
    Tensor
        Shape (B, M, N).

    Raises
    ------
    ValueError
        If they are no batches of matrices, or do not fit.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.bmm(rt.ones(2, 1, 3), rt.ones(2, 3, 1)).tolist()
    [[[3.0]], [[3.0]]]
    """
    _checked("bmm", a, 3)
    _checked("bmm", b, 3)
    if a._array.shape[0] != b._array.shape[0]:
        raise ValueError(f"bmm needs equal batches, got shapes {a._array.shape} and {b._array.shape}")
    return matmul(a, b)


def mv(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of a matrix and a vector.

    Parameters
    ----------
    a : Tensor
        Shape (M, K).
    b : Tensor
        Shape (K,).

    Returns
    -------
    Tensor
        Shape (M,).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.mv(rt.eye(2), rt.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    _checked("mv", a, 2)
    _checked("mv", b, 1)
    return matmul(a, b)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of the products of two vectors.

    Parameters
    ----------
    a, b : Tensor
        Shape (K,).

    Returns
    -------
    Tensor
        Shape ().

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.dot(rt.tensor([1.0, 2.0]), rt.tensor([3.0, 4.0])).item()
    11.0
    """
    _checked("dot", a, 1)
    _checked("dot", b, 1)
    return matmul(a, b)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Return all products of the elements of two vectors.

    Parameters
    ----------
    a : Tensor
        Shape (M,).
    b : Tensor
        Shape (N,).

    Returns
    -------
    Tensor
        Shape (M, N).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.outer(rt.tensor([1.0, 2.0]), rt.tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    _checked("outer", a, 1)
    _checked("outer", b, 1)
    return unsqueeze(a, 1) * b


# --------------------------------------------------------------------------------------------------- einsum


def _parse(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """Return one label per dimension of each operand, and of the output; an ellipsis gets labels of its own."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: {equation!r} names {len(terms)} operands, {len(ndims)} were given")
    if any(not c.isalpha() for term in (*terms, right) for c in term.replace("...", "", 1)):
        raise ValueError(f"einsum: expected letters, commas, '...' and one '->' in {equation!r}")
    hidden = max(
        (n - len(term) + 3 for term, n in zip(terms, ndims, strict=True) if "..." in term), default=0
    )
    # Labels that no user writes stand for the dimensions of the ellipsis, aligned at the right.
    pool = [chr(0x100 + i) for i in range(max(hidden, 0))]
    labelled = []
    for term, n in zip(terms, ndims, strict=True):
        if "..." in term:
            own = n - len(term) + 3
            if own < 0:
                raise ValueError(f"einsum: {term!r} names more dimensions than the {n} of its operand")
            term = term.replace("...", "".join(pool[len(pool) - own :]))
        if len(term) != n:
            raise ValueError(f"einsum: {term!r} names {len(term)} dimensions, its operand has {n}")
        labelled.append(term)
    if arrow:
        output = right.replace("...", "".join(pool))
    else:
        everything = "".join(labelled)
        output = "".join(pool) + "".join(
            sorted(c for c in set(everything) if everything.count(c) == 1 and c not in pool)
        )
    if len(set(output)) != len(output) or not set(output) <= set("".join(labelled)):
        raise ValueError(
            f"einsum: the output of {equation!r} repeats a label, or has one that no operand has"
        )
    return labelled, output


def _diagonals(x: Tensor, labels: str) -> tuple[Tensor, str]:
    """Take the diagonal where a label repeats within one operand."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i, j = labels.index(label), labels.rindex(label)
            n, m = x._array.shape[i], x._array.shape[j]
            if n != m:
                raise ValueError(f"einsum: label {label!r} has sizes {n} and {m} in one operand")
            order = [k for k in range(x._array.ndim) if k not in (i, j)]
            steps = np.arange(n)
            x = permute(x, (i, j, *order))[steps, steps]
            labels = label + "".join(labels[k] for k in order)
    return x, labels


def _arranged(x: Tensor, labels: str, wanted: str) -> Tensor:
    """Permute `x` to the order of `wanted`, with size 1 for the labels it lacks."""
    x = permute(x, tuple(labels.index(c) for c in wanted if c in labels))
    for i, c in enumerate(wanted):
        if c not in labels:
            x = unsqueeze(x, i)
    return x


def _contract(a: Tensor, a_labels: str, b: Tensor, b_labels: str, later: set[str]) -> tuple[Tensor, str]:
    """Multiply two operands as one batched matrix product; sum over labels that nothing later needs."""
    for x, labels, other in ((a, a_labels, b_labels), (b, b_labels, a_labels)):
        gone = [i for i, c in enumerate(labels) if c not in other and c not in later]
        if gone:
            summed = reduce_sum(x, gone)
            left = "".join(c for i, c in enumerate(labels) if i not in gone)
            if x is a:
                a, a_labels = summed, left
            else:
                b, b_labels = summed, left
    shared = [c for c in a_labels if c in b_labels]
    batch = "".join(c for c in shared if c in later)
    inner = "".join(c for c in shared if c not in later)
    rows = "".join(c for c in a_labels if c not in b_labels)
    columns = "".join(c for c in b_labels if c not in a_labels)

    sizes: dict[str, int] = {}
    for x, labels in ((a, a_labels), (b, b_labels)):
        for c, n in zip(labels, x._array.shape, strict=True):
            if sizes.get(c, 1) == 1:
                sizes[c] = n
            elif n not in (1, sizes[c]):
                raise ValueError(f"einsum: a label has size {sizes[c]} in one operand and {n} in another")

    def matrices(x: Tensor, labels: str, first: str, second: str) -> Tensor:
        wanted = batch + first + second
        full = _arranged(x, labels, wanted).expand(tuple(sizes[c] for c in wanted))
        return reshape(
            full,
            (
                *(sizes[c] for c in batch),
                math.prod(sizes[c] for c in first),
                math.prod(sizes[c] for c in second),
            ),
        )

    result = matmul(matrices(a, a_labels, rows, inner), matrices(b, b_labels, inner, columns))
    labels = batch + rows + columns
    return reshape(result, tuple(sizes[c] for c in labels)), labels


def einsum(equation: str, *operands: Any) -> Tensor:
    """Return sums of products of elements, by Einstein's convention.

    Operands are multiplied from left to right, each pair as one batched matrix product.

    Parameters
    ----------
    equation : str
        Labels of the dimensions of each operand, separated by commas, and after ``->`` of the result; labels that
        it lacks are summed. ``...`` stands for further dimensions, which broadcast. Without ``->`` the result has
        those labels that occur once, in alphabetical order. A label that repeats within an operand takes its diagonal.
    *operands : Tensor or ndarray
        Of one type.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If the equation is no string, or an operand no tensor.
    ValueError
        If equation and shapes do not fit.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.einsum("ij,kj->ik", rt.tensor([[1.0, 2.0]]), rt.tensor([[3.0, 4.0]])).tolist()
    [[11.0]]
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: equation must be str such as 'ij,jk->ik', got {described(equation)}")
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    if not operands:
        raise ValueError("einsum needs at least one operand")
    operands = tuple([as_tensor(x) for x in operands])
    labelled, output = _parse(equation, [x._array.ndim for x in operands])
    terms = [_diagonals(x, labels) for x, labels in zip(operands, labelled, strict=True)]
    x, labels = terms[0]
    for i, (other, other_labels) in enumerate(terms[1:], 2):
        later = set(output).union(*(term[1] for term in terms[i:]))
        x, other = pair(x, other)
        x, labels = _contract(x, labels, other, other_labels, later)
    gone = [i for i, c in enumerate(labels) if c not in output]
    if gone:
        x = reduce_sum(x, gone)
        labels = "".join(c for c in labels if c in output)
    return permute(x, tuple(labels.index(c) for c in output)) if labels else x
