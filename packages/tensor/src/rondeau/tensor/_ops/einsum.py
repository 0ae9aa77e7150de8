"""Sums of products in Einstein's notation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor._arguments import described
from rondeau.tensor._ops._operands import as_tensor, pair
from rondeau.tensor._ops.indexing import take
from rondeau.tensor._ops.linalg import matmul
from rondeau.tensor._ops.reduce import sum as reduce_sum
from rondeau.tensor._ops.shape import permute, reshape, unsqueeze

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


def _parse(equation: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """Return one label per dimension of each operand and of the output; an ellipsis gets its own labels."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ArgumentValueError(f"einsum: {equation!r} names {len(terms)} operands, {len(ndims)} were given")
    if any(not c.isalpha() for term in (*terms, right) for c in term.replace("...", "", 1)):
        raise ArgumentValueError(f"einsum: expected letters, commas, '...' and one '->' in {equation!r}")
    hidden = max(
        (n - len(term) + 3 for term, n in zip(terms, ndims, strict=True) if "..." in term), default=0
    )
    # Labels that no user writes represent the dimensions of the ellipsis, aligned to the right.
    pool = [chr(0x100 + i) for i in range(max(hidden, 0))]
    labelled = []
    for term, n in zip(terms, ndims, strict=True):
        if "..." in term:
            own = n - len(term) + 3
            if own < 0:
                raise ArgumentValueError(
                    f"einsum: {term!r} names more dimensions than the {n} of its operand"
                )
            term = term.replace("...", "".join(pool[len(pool) - own :]))
        if len(term) != n:
            raise ArgumentValueError(f"einsum: {term!r} names {len(term)} dimensions, its operand has {n}")
        labelled.append(term)
    if arrow:
        output = right.replace("...", "".join(pool))
    else:
        everything = "".join(labelled)
        output = "".join(pool) + "".join(
            sorted(c for c in set(everything) if everything.count(c) == 1 and c not in pool)
        )
    if len(set(output)) != len(output) or not set(output) <= set("".join(labelled)):
        raise ArgumentValueError(
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
                raise ArgumentValueError(f"einsum: label {label!r} has sizes {n} and {m} in one operand")
            order = [k for k in range(x._array.ndim) if k not in (i, j)]
            steps = library_of(x._array).arange(n)
            x = take(permute(x, (i, j, *order)), (steps, steps))
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
    """Multiply two operands as one batched matrix product, and sum over labels that are not needed later."""
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
                raise ArgumentValueError(
                    f"einsum: a label has size {sizes[c]} in one operand and {n} in another"
                )

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
    """Return sums of products of elements, in Einstein's summation convention.

    Operands are multiplied from left to right, each pair as one batched matrix product.

    Parameters
    ----------
    equation : str
        Labels of the dimensions of each operand, separated by commas, and after ``->`` those of the result; labels that
        the result lacks are summed over. ``...`` stands for further dimensions, which are broadcast. Without ``->`` the
        result has the labels that occur once, in alphabetical order. A label that repeats within an operand takes its
        diagonal.
    *operands : Tensor or ndarray
        Of one type.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError
        If the equation is not a string, or an operand is not a tensor.
    ValueError
        If the equation and the shapes do not match.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.einsum("ij,kj->ik", rt.tensor([[1.0, 2.0]]), rt.tensor([[3.0, 4.0]])).tolist()
    [[11.0]]
    """
    if not isinstance(equation, str):
        raise ArgumentTypeError(
            f"einsum: equation must be str such as 'ij,jk->ik', got {described(equation)}"
        )
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    if not operands:
        raise ArgumentValueError("einsum needs at least one operand")
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
