"""Random tensors, and the generators they are drawn from.

On a GPU numbers are drawn there, and nothing is copied. One generator serves both devices, and its state is a few
integers of the host. Uniform numbers, and with them `bernoulli`, dropout and most initialisers, have the same bits on
both devices (`rondeau.kernels.numerics.pcg64`), and the generator goes on from the same place. NumPy's methods for
normal numbers, integers and permutations reject some of what they draw, so their number of steps is not known before.
On a GPU these are made of the words of Philox instead, under a key that the generator draws
(`rondeau.kernels.numerics.draws`): the same seed gives the same numbers there again, but others than on the CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rondeau.kernels.checks import shown
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics import draws, pcg64
from rondeau.kernels.runtime.deferred import require
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor._arguments import array_of, count, described, integer, number, shape_of
from rondeau.tensor._creation import like
from rondeau.tensor._devices import namespace
from rondeau.tensor._dtypes import as_dtype, float32, get_default_dtype, int64
from rondeau.tensor._limits import check_holds, does_not_fit
from rondeau.tensor._ops._operands import as_tensor
from rondeau.tensor._tensor import Tensor


class Generator:
    """A stream of random numbers (PCG64), with a state that can be saved as JSON.

    Parameters
    ----------
    seed : int or None
        None draws one from the operating system.
    device : {"cpu", "cuda"}, optional
        PyTorch's; it changes nothing, because every generator serves tensors on both devices.

    Raises
    ------
    ValueError
        For a negative seed or an unknown device.
    RuntimeError
        For "cuda" where no GPU is usable.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> g = rt.Generator(0)
    >>> state = g.get_state()
    >>> a = rt.rand(3, generator=g)
    >>> g.set_state(state)
    >>> rt.equal(a, rt.rand(3, generator=g))
    True
    """

    def __init__(self, seed: int | None = None, *, device: str | None = None) -> None:
        namespace(device or "cpu")
        self.numpy = _stream(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from a seed, and return the generator itself."""
        self.numpy = _stream(count(seed, "seed"))
        return self

    @contextmanager
    def as_default(self) -> Iterator[Generator]:
        """Draw from this generator by default inside a ``with`` block, in this thread of Python.

        The generator outside is not touched. In the block `manual_seed` and `default_generator` mean this one.

        Examples
        --------
        >>> from rondeau import tensor as rt
        >>> with rt.Generator(0).as_default():
        ...     a = rt.rand(3)
        >>> rt.equal(a, rt.rand(3, generator=rt.Generator(0)))
        True
        """
        before, _chosen.generator = _chosen.generator, self
        try:
            yield self
        finally:
            _chosen.generator = before

    def get_state(self) -> dict[str, Any]:
        """Return the position in the stream: a dict of strings and integers."""
        state: dict[str, Any] = dict(self.numpy.bit_generator.state)
        return {**state, "state": dict(state["state"])}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to the position where `get_state` was called.

        Parameters
        ----------
        state : dict

        Raises
        ------
        ValueError
            If it is not the state of such a generator.
        """
        expected = self.numpy.bit_generator.state
        if not isinstance(state, dict) or state.get("bit_generator") != expected["bit_generator"]:
            raise ArgumentValueError(
                f"expected the state of a {expected['bit_generator']} generator, as get_state() returns it, "
                f"got {state!r}"
            )
        self.numpy.bit_generator.state = state


def _stream(seed: int | None) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed if seed is None else count(seed, "seed")))


class _Chosen(threading.local):
    """The generator that a thread of Python draws from by default, if it has chosen one."""

    generator: Generator | None = None


_default, _chosen = Generator(), _Chosen()


def default_generator() -> Generator:
    """Return the generator that is used by default: the library's own, or inside `Generator.as_default` that one.

    Returns
    -------
    Generator

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.default_generator() is rt.default_generator()
    True
    """
    return _chosen.generator or _default


def manual_seed(seed: int) -> Generator:
    """Seed the default generator.

    Parameters
    ----------
    seed : int
        A non-negative number.

    Returns
    -------
    Generator
        The default generator.

    Raises
    ------
    ValueError
        If the seed is negative.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> _ = rt.manual_seed(0); a = rt.rand(2)
    >>> _ = rt.manual_seed(0); rt.equal(a, rt.rand(2))
    True
    """
    return default_generator().manual_seed(seed)


def _source(generator: Generator | None) -> np.random.Generator:
    if generator is None:
        return default_generator().numpy
    if not isinstance(generator, Generator):
        raise ArgumentTypeError(f"generator must be a Generator or None, got {described(generator)}")
    return generator.numpy


def _key(source: np.random.Generator) -> int:
    """Return the key of a draw on a GPU that is not of uniform numbers."""
    return int(source.integers(0, 2**64, dtype=np.uint64))


def _finished(array: Any, dtype: DTypeLike | None, requires_grad: bool) -> Tensor:
    return Tensor(array, requires_grad, get_default_dtype() if dtype is None else dtype)


def _drawn_type(dtype: DTypeLike | None) -> Any:
    """Return the type to draw in: float32 directly, other floats via float64.

    Raises
    ------
    TypeError
        For integers and booleans, which would all be 0.
    """
    found = get_default_dtype() if dtype is None else as_dtype(dtype)
    if found.kind != "f":
        raise ArgumentTypeError(
            f"rand, randn and normal draw floats, got dtype {found}: use randint, or convert what is drawn"
        )
    return np.float32 if found == float32 else np.float64


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers drawn uniformly from [0, 1).

    Parameters
    ----------
    *size : int, or one sequence of int
        The shape.
    generator : Generator, optional
        By default the one that `manual_seed` seeds.
    dtype : dtype_like, optional
        `get_default_dtype` by default, initially float32.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.rand(2, 3).shape
    (2, 3)
    """
    shape, kind = shape_of(size), _drawn_type(dtype)
    library, source = namespace(device), _source(generator)
    if library is np:
        return _finished(source.random(shape, dtype=kind), dtype, requires_grad)
    return _finished(pcg64.uniform(library, source, shape, kind), dtype, requires_grad)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return numbers drawn from the standard normal distribution.

    Parameters
    ----------
    *size : int, or one sequence of int
        The shape.
    generator : Generator, optional
        By default the one that `manual_seed` seeds.
    dtype : dtype_like, optional
        `get_default_dtype` by default, initially float32.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.randn((4,)).shape
    (4,)
    """
    shape, kind = shape_of(size), _drawn_type(dtype)
    library, source = namespace(device), _source(generator)
    if library is np:
        return _finished(source.standard_normal(shape, dtype=kind), dtype, requires_grad)
    return _finished(draws.normal(library, _key(source), shape, kind), dtype, requires_grad)


def randint(
    low: int,
    high: int | Sequence[int] | None = None,
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """Return integers drawn uniformly from low to high - 1.

    Parameters
    ----------
    low, high : int
        ``randint(high, size)`` starts from 0.
    size : sequence of int
        The shape.
    generator : Generator, optional
        By default the one that `manual_seed` seeds.
    dtype : dtype_like, optional
        int64 by default.
    device : {"cpu", "cuda"}, optional

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        If there is no integer in the range, the type cannot hold them, or the shape is missing; on a GPU, if the range
        is larger than 2**32.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.randint(0, 1, (2,)).tolist()
    [0, 0]
    """
    if size is None:
        low, high, size = 0, low, high  # type: ignore[assignment]
    if size is None or high is None:
        raise ArgumentValueError("randint is called as randint(high, size) or randint(low, high, size)")
    low, high = integer(low, "low"), integer(high, "high")
    found = int64 if dtype is None else as_dtype(dtype)
    if high <= low:
        raise ArgumentValueError(f"randint: no integer from {shown(low)} to {shown(high)} - 1")
    for value in (low, high - 1):
        check_holds(int64, value, "randint: ")
        check_holds(found, value, "randint: ")
        if found.kind == "b" and value not in (0, 1):
            raise does_not_fit(found, value, "randint: ")
    shape = shape_of((size,), "size")
    library, source = namespace(device), _source(generator)
    if library is np:
        return _finished(source.integers(low, high, shape), found, False)
    if high - low > draws.MOST_INTEGERS:
        raise ArgumentValueError(
            f"randint: on a GPU the range is at most 2**32 integers, got {shown(low)} to {shown(high)}: draw on the "
            "CPU and move the result, .to('cuda')"
        )
    return _finished(draws.integers(library, _key(source), low, high, shape), found, False)


def randperm(n: int, *, generator: Generator | None = None, device: str | None = None) -> Tensor:
    """Return 0..n-1 in random order.

    Parameters
    ----------
    n : int
    generator : Generator, optional
        By default the one that `manual_seed` seeds.
    device : {"cpu", "cuda"}, optional

    Returns
    -------
    Tensor
        int64 (n,).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> sorted(rt.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    n = count(n, "n")
    library, source = namespace(device), _source(generator)
    drawn = source.permutation(n) if library is np else draws.permutation(library, _key(source), n)
    return _finished(drawn, np.int64, False)


def normal(
    mean: float,
    std: float,
    size: Sequence[int],
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """Return numbers drawn from a normal distribution.

    Parameters
    ----------
    mean, std : float
    size : sequence of int
        The shape.
    generator : Generator, optional
        By default the one that `manual_seed` seeds.
    dtype : dtype_like, optional
        `get_default_dtype` by default, initially float32.
    device : {"cpu", "cuda"}, optional

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        If `std` is negative.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.normal(5.0, 0.0, (2,)).tolist()
    [5.0, 5.0]
    """
    mean, std = number(mean, "mean"), number(std, "std")
    if std < 0:
        raise ArgumentValueError(f"normal: std must not be negative, got {std}")
    found = get_default_dtype() if dtype is None else as_dtype(dtype)
    check_holds(found, mean, "normal: ")
    check_holds(found, std, "normal: ")
    return randn(*shape_of((size,), "size"), generator=generator, dtype=dtype, device=device) * std + mean


def rand_like(
    other: Tensor,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return `rand` with the shape, type and device of another tensor.

    Parameters
    ----------
    other : Tensor
    generator : Generator, optional
    dtype : dtype_like, optional
    device : {"cpu", "cuda"}, optional
        Default: those of `other`.
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.rand_like(rt.zeros(2, 3)).shape
    (2, 3)
    """
    return rand(
        *array_of(other, "other").shape, generator=generator, **like(other, dtype, device, requires_grad)
    )


def randn_like(
    other: Tensor,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return `randn` with the shape, type and device of another tensor.

    Parameters
    ----------
    other : Tensor
    generator : Generator, optional
    dtype : dtype_like, optional
    device : {"cpu", "cuda"}, optional
        Default: those of `other`.
    requires_grad : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.randn_like(rt.zeros(2, 3)).shape
    (2, 3)
    """
    return randn(
        *array_of(other, "other").shape, generator=generator, **like(other, dtype, device, requires_grad)
    )


def bernoulli(p: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Return 1 with the given probabilities and 0 otherwise.

    Parameters
    ----------
    p : Tensor
        Probabilities, of a floating-point type.
    generator : Generator, optional

    Returns
    -------
    Tensor
        With the shape and type of `p`.

    Raises
    ------
    ValueError
        If a probability is not in [0, 1].

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.bernoulli(rt.tensor([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    array = array_of(p)
    require(
        np.all((array >= 0) & (array <= 1)),
        lambda: ArgumentValueError("bernoulli needs probabilities from 0 to 1"),
    )
    library, source = library_of(array), _source(generator)
    if library is np:
        return _finished(source.random(array.shape) < array, array.dtype, False)
    return _finished(pcg64.uniform(library, source, array.shape, np.float64) < array, array.dtype, False)


def multinomial(
    p: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Return indices drawn with the given weights.

    Parameters
    ----------
    p : Tensor
        Weights, shape (n,) or (rows, n); non-negative, they need not sum to 1.
    num_samples : int
        The number of draws for each row.
    replacement : bool
        Whether an index may be drawn more than once.
    generator : Generator, optional

    Returns
    -------
    Tensor
        int64 (num_samples,) or (rows, num_samples).

    Raises
    ------
    ValueError
        If weights are negative, not finite or all zero, or too few are positive for the number of samples.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.multinomial(rt.tensor([0.0, 1.0, 0.0]), 2, replacement=True).tolist()
    [1, 1]
    """
    num_samples = count(num_samples, "num_samples")
    given = as_tensor(p)._array
    if given.ndim not in (1, 2):
        raise ArgumentValueError(
            f"multinomial needs weights of shape (n,) or (rows, n), got shape {given.shape}"
        )
    weights = (given if given.ndim == 2 else given.reshape(1, -1)).astype(np.float64)
    totals = weights.sum(axis=-1, keepdims=True)
    require(
        np.all(weights >= 0) & np.all(np.isfinite(totals)) & np.all(totals > 0),
        lambda: ArgumentValueError(
            "multinomial needs weights that are finite, not negative and not all zero"
        ),
    )
    if not replacement:
        require(
            np.all((weights > 0).sum(axis=-1) >= num_samples),
            lambda: ArgumentValueError(
                f"multinomial: fewer than {num_samples} indices have a weight; draw with replacement=True"
            ),
        )
    library, source = library_of(weights), _source(generator)
    if library is np:
        drawn = np.stack(
            [
                source.choice(weights.shape[-1], num_samples, replacement, row / total)
                for row, total in zip(weights, totals, strict=True)
            ]
        )
    else:
        draw = draws.choices if replacement else draws.distinct_choices
        drawn = draw(library, _key(source), weights, num_samples)
    return _finished(drawn if given.ndim == 2 else drawn[0], np.int64, False)
