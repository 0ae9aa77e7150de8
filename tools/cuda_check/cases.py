"""A check: a computation that is run on the CPU and on the GPU, and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt

__all__ = ["Case", "Difference", "compare", "gradients", "host", "send"]

RTOL = {"float16": 2e-3, "float32": 2e-5, "float64": 1e-11}
"""The largest error, in units of the element plus the largest element: sums are in another order on a GPU."""
_LARGE = 1e4
"""An element above this is no measure for others."""


class Case(NamedTuple):
    """A computation.

    Attributes
    ----------
    name : str
    run : callable
        Takes ``"cpu"`` or ``"cuda"`` and returns tensors, arrays, numbers, and structures of them.
    looser : float, default 1
        How many times the usual bound is right.
    """

    name: str
    run: Callable[[str], Any]
    looser: float = 1.0


class Difference(AssertionError):  # noqa: N818 - a finding
    """The two devices differ."""


def compare(case: Case) -> float:
    """Run a case on both devices; return the largest error, as a part of its bound.

    Raises
    ------
    Difference
        If shapes, dtypes or integers differ, or an error is above its bound.
    """
    expected, got = dict(host(case.run("cpu"))), dict(host(case.run("cuda")))
    if expected.keys() != got.keys():
        raise Difference(f"gives {[*got]}, expected {[*expected]}")
    worst = 0.0
    for name, right in expected.items():
        worst = max(worst, _error(name, got[name], right, case.looser))
    return worst


def _error(name: str, got: NDArray[Any], right: NDArray[Any], looser: float) -> float:
    if (got.shape, got.dtype) != (right.shape, right.dtype):
        raise Difference(
            f"{name} has shape {got.shape} and dtype {got.dtype}, expected {right.shape}, {right.dtype}"
        )
    if right.dtype.kind != "f":
        if got.tobytes() != right.tobytes():
            raise Difference(f"{name}: {np.count_nonzero(got != right)} of {right.size} elements differ")
        return 0.0
    finite = np.isfinite(right)
    if not np.array_equal(np.where(finite, 0, got), np.where(finite, 0, right), equal_nan=True):
        raise Difference(f"{name}: infinities or NaN differ")
    size = np.abs(right[finite].astype(np.float64))
    error = np.abs(got[finite].astype(np.float64) - right[finite])
    largest = size.max(initial=0)
    bound = looser * RTOL[right.dtype.name] * (size + (largest if 1 < largest < _LARGE else 1))
    if not (error <= bound).all():
        at = np.argmax(error - bound)
        raise Difference(f"{name}: an error of {error[at]:.2e} of {size[at]:.3g}, above {bound[at]:.2e}")
    return float((error / bound).max(initial=0))


def host(value: Any, name: str = "result") -> Iterator[tuple[str, NDArray[Any]]]:
    """Give the arrays of a structure, on the host, with names."""
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from host(part, f"{name}.{key}" if name != "result" else str(key))
    elif isinstance(value, tuple | list):
        for index, part in enumerate(value):
            yield from host(part, f"{name}[{index}]")
    else:
        tensor = value.detach().cpu() if isinstance(value, rt.Tensor) else value
        yield name, np.asarray(tensor.numpy() if isinstance(tensor, rt.Tensor) else tensor)


def send(array: NDArray[Any], device: str) -> rt.Tensor:
    """Return an array as a tensor of a device, which has a gradient if its numbers are real."""
    return rt.tensor(array, device=device, requires_grad=array.dtype.kind == "f")


def gradients(outputs: Any, leaves: Iterable[tuple[str, rt.Tensor]], seed: int = 0) -> dict[str, Any]:
    """Return outputs, and the gradients of their sum under random weights.

    Parameters
    ----------
    outputs : tensor, or tuples, lists and dicts of them
    leaves : iterable of (str, Tensor)
    seed : int
        Of the weights.
    """
    rng = np.random.default_rng(seed)
    total = None
    for output in _tensors(outputs):
        if output.requires_grad:
            weights = rng.standard_normal(output.shape).astype(str(output.dtype).rpartition(".")[2])
            term = (output * rt.tensor(weights, device=output.device)).sum()
            total = term if total is None else total + term
    if total is not None:
        total.backward()
    return {"output": outputs, "gradient": {name: leaf.grad for name, leaf in leaves}}


def _tensors(value: Any) -> Iterator[rt.Tensor]:
    if isinstance(value, rt.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
