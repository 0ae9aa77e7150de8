"""One recurrent layer in one direction over a ragged batch of sequences: forward, and backward through time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from rondeau.kernels.cell import Regularisers
from rondeau.kernels.checks import checked_array, checked_inputs, complete_settings, is_count, state_widths
from rondeau.kernels.compiled_cell import Cell
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.layout import Layout
from rondeau.kernels.targets import cpu_run, large_products, recompute, truncation

__all__ = [
    "Cell",
    "Gradients",
    "Layout",
    "Needs",
    "Regularisers",
    "Result",
    "Settings",
    "Weights",
    "backward",
    "complete_settings",
    "forward",
]

Array = NDArray[Any]


class Weights(NamedTuple):
    """The weights of a layer in one direction, or their gradients.

    Attributes
    ----------
    weight_ih : ndarray, shape (G * H, I)
    weight_hh : ndarray, shape (R * H, P), or (R * H, H / heads)
        Of the R gates that have a recurrent matrix, in their order; None if R = 0. P = H without projection. With
        heads a gate's matrix is block-diagonal, and its rows hold the columns of their own block.
    bias_ih, bias_hh : ndarray, shapes (G * H,) and (R * H,), optional
    weight_hr : ndarray, shape (P, H), optional
        Projects the first state after the step.
    params : tuple of ndarray, shape (H,) each
        The learned vectors of the step.

    Examples
    --------
    >>> import numpy as np
    >>> Weights(np.ones((3, 2)), np.eye(3), bias_ih=np.zeros(3)).weight_ih.shape  # one gate, H = 3, I = 2
    (3, 2)
    """

    weight_ih: Any
    weight_hh: Any
    bias_ih: Any = None
    bias_hh: Any = None
    weight_hr: Any = None
    params: tuple[Any, ...] = ()


class Settings(NamedTuple):
    """What a run depends on beside arrays.

    Attributes
    ----------
    scalars : dict
        The values of the scalars of the run, ``("k", name)``, and of zoneout rates, ``("rate", state)``.
    dropout : float
        The rate of recurrent dropout, where the cell has it.
    key, stream : int
        Random numbers are a function of the key, the stream (see `rondeau.kernels.streams`), and their place.
    num_heads : int
        Blocks of the recurrent matrices.
    feature_dropout : float
        The rate of recurrent dropout over the features of a projected first state, which is no part of the cell.

    Examples
    --------
    >>> Settings(scalars={("k", "rate"): 0.1, ("rate", "h"): 0.05}, key=7).dropout
    0.0
    """

    scalars: Mapping[tuple[str, str], float] = MappingProxyType({})
    dropout: float = 0.0
    key: int = 0
    stream: int = 0
    num_heads: int = 1
    feature_dropout: float = 0.0


class Needs(NamedTuple):
    """Which gradients `backward` computes.

    Examples
    --------
    >>> Needs(x=False)
    Needs(x=False, initial=True, weights=True)
    """

    x: bool = True
    initial: bool = True
    weights: bool = True


class Gradients(NamedTuple):
    """The gradients that `backward` returns; parts that were not needed are None.

    Attributes
    ----------
    x : ndarray, shape (N, I), or None
        Also None for one-hot input.
    initial : tuple of ndarray, or None
        Of the states before the first step.
    weights : Weights
        Each part of the shape of the weight.

    Examples
    --------
    See `backward`.

    >>> Gradients(None, None, Weights(None, None)).weights.params
    ()
    """

    x: Array | None
    initial: tuple[Array, ...] | None
    weights: Weights


class Result(NamedTuple):
    """What `forward` returns.

    Attributes
    ----------
    every : tuple of ndarray, shape (N, P) for the first state and (N, H) for others
        States after every step: all of them if they were asked for, else the first, which is the output. `backward`
        reads them: they must not be changed before.
    final : tuple of ndarray, shape (B, P) and (B, H)
        Each state after each row's own last step (in reverse: its step 0).
    saved : object or None
        For `backward`.

    Examples
    --------
    See `forward`.

    >>> Result(every=(), final=(), saved=None)
    Result(every=(), final=(), saved=None)
    """

    every: tuple[Array, ...]
    final: tuple[Array, ...]
    saved: Any


def forward(
    cell: Cell,
    layout: Layout,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...],
    *,
    reverse: bool = False,
    save: bool = True,
    every_state: bool = False,
    settings: Settings = Settings(),  # noqa: B008 - an immutable default
    checkpoint_every: int | None = None,
) -> Result:
    """Run a cell over a batch of sequences.

    Parameters
    ----------
    cell : Cell
    layout : Layout
    x : ndarray of float32 or float64, shape (N, I), or of int64, shape (N,)
        The input of every row. Integers stand for one-hot rows of width I = ``weight_ih.shape[1]``: the input
        projection is then a gather, with the same values as the product up to rounding.
    weights : Weights
        All of x's dtype (of one dtype for one-hot input).
    initial : tuple of ndarray
        The states before the first step: (B, P) the first, (B, H) the others.
    reverse : bool, default False
        Run each sequence from its own last step to its first.
    save : bool, default True
        Keep what `backward` needs.
    every_state : bool, default False
        Return every state after every step, not the first alone.
    settings : Settings, optional
        Scalars of the run that are not given have their defaults.
    checkpoint_every : int, optional
        Keep the states of every so many steps only, and let `backward` compute the others again: the same bits in
        less memory and more time.

    Returns
    -------
    Result

    Raises
    ------
    TypeError
        If an argument is no array, or dtypes differ.
    ValueError
        If shapes do not fit, or a scalar is unknown or missing.
    IndexError
        If an id is out of range.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum")
    >>> import numpy as np
    >>> one = np.ones((1, 1), np.float32)
    >>> result = forward(cell, Layout.dense(3, 1), np.ones((3, 1), np.float32), Weights(one, one), (0 * one,))
    >>> result.every[0].ravel()
    array([1., 2., 3.], dtype=float32)
    """
    settings = complete_settings(cell, settings)
    x, weights, initial = checked_inputs(cell, layout, x, weights, initial, settings.num_heads)
    if checkpoint_every is not None and not is_count(checkpoint_every, at_least=1):
        raise ArgumentValueError(
            f"checkpoint_every expected a number of steps, at least 1, got {checkpoint_every!r}"
        )
    rows = cell.rows("forward", weights.weight_ih.dtype)
    num_kept = len(cell.states) if every_state else 1
    kept: cpu_run.Saved | recompute.Record
    if checkpoint_every is not None and checkpoint_every < layout.num_steps:
        every, final, kept = recompute.forward(
            cell.plan, rows, layout, x, weights, initial, reverse, settings, checkpoint_every, num_kept
        )
    else:
        kept = cpu_run.forward(cell.plan, rows, layout, x, weights, initial, reverse, settings, save=save)
        every, final = tuple(kept.every(k) for k in range(num_kept)), kept.final()
    return Result(every, final, _Run(cell, kept) if save else None)


def backward(
    cell: Cell,
    saved: Any,
    d_every: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    needs: Needs = Needs(),  # noqa: B008 - an immutable default
    *,
    consume: bool = False,
    truncate: int | None = None,
) -> Gradients:
    """Differentiate a run of `forward`: backpropagation through time.

    Parameters
    ----------
    cell : Cell
        The cell that ran.
    saved : object
        What `forward` returned with ``save=True``.
    d_every : tuple of ndarray or None
        The gradients of the loss with respect to the states after every step; None, and what is left out at the end,
        for zero. The first is that of the output.
    d_final : tuple of ndarray or None
        The gradients with respect to the final states.
    needs : Needs
        What to compute; everything by default.
    consume : bool, default False
        Use the memory of `saved` for the gradients: faster, and `saved` is spent. By default `saved` stays
        as it is, and a second call gives the same result.
    truncate : int, optional
        Let what the loss says of step t reach back this many steps before t only; see
        `rondeau.kernels.targets.truncation`.

    Returns
    -------
    Gradients
        Of x (None for one-hot input), of the initial states, and of the weights.

    Raises
    ------
    TypeError, ValueError
        If a gradient has another dtype or shape than what it is the gradient of; if `saved` is spent; if `truncate`
        is negative, or meets a run with checkpoints.

    Examples
    --------
    Of h_t = x_t + h_(t-1), the gradient of the last state with respect to every input is 1:

    >>> import numpy as np
    >>> cell = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum")
    >>> one = np.ones((1, 1), np.float32)
    >>> result = forward(cell, Layout.dense(3, 1), np.ones((3, 1), np.float32), Weights(one, one), (0 * one,))
    >>> gradients = backward(cell, result.saved, (None,), (one,))
    >>> gradients.x.ravel(), gradients.weights.weight_hh
    (array([1., 1., 1.], dtype=float32), array([[3.]], dtype=float32))
    """
    if not isinstance(saved, _Run) or saved.cell is not cell:
        got = f"that of cell {saved.cell.name}" if isinstance(saved, _Run) else type(saved).__name__
        raise ArgumentTypeError(
            f"backward expected what forward returned for cell {cell.name} with save=True, got {got}"
        )
    if saved.kept is None:
        raise ArgumentValueError(
            "backward was called with consume=True before, which spends what forward saved; call it without"
        )
    kept = saved.kept
    if truncate is not None and (not is_count(truncate, at_least=0) or isinstance(kept, recompute.Record)):
        raise ArgumentValueError(
            f"truncate expected a number of earlier steps, at least 0, and a run without checkpoints, got {truncate!r}"
        )
    dtype, layout, weights = kept.weights.weight_ih.dtype, kept.layout, kept.weights
    widths = state_widths(cell, weights)
    if len(d_every) > len(cell.states):
        raise ArgumentValueError(f"d_every expected at most one gradient per state, got {len(d_every)}")
    d_every = (*d_every, *[None] * (len(cell.states) - len(d_every)))
    if len(d_final) != len(cell.states):
        raise ArgumentValueError(
            f"d_final expected one gradient or None per state ({len(cell.states)}), got {len(d_final)}"
        )
    d_steps, d_ends = (
        tuple(
            None if d is None else checked_array(f"{name} of {state}", d, (length, width), dtype)
            for state, d, width in zip(cell.states, given, widths, strict=True)
        )
        for name, given, length in (
            ("d_every", d_every, layout.num_rows),
            ("d_final", d_final, layout.batch_size),
        )
    )
    if consume:
        saved.kept = None
    rows = cell.rows("backward", dtype)
    one_hot = kept.x.ndim == 1
    gradients = large_products.WeightGradients(
        cell.plan, weights, kept.x if one_hot else None, len(cell.params), layout.batch_size
    )
    needs_x = needs.x and not one_hot
    if isinstance(kept, recompute.Record):
        d_x, d_initial = recompute.backward(rows, kept, d_steps, d_ends, gradients, needs_x, needs.initial)
    else:
        if truncate is None:
            adjoints = cpu_run.backward_through_time(
                rows, kept, d_steps, d_ends, gradients.d_params, needs.initial, consume
            )
        else:
            adjoints = truncation.backward_through_windows(
                rows, kept, d_steps, d_ends, gradients.d_params, truncate
            )
        d_initial = adjoints.initial
        d_x = large_products.input_gradient(kept, adjoints) if needs_x else None
        if needs.weights:
            gradients.add(kept, adjoints)
    d_weights = gradients.finish() if needs.weights else {**dict.fromkeys(weights._fields), "params": ()}
    return Gradients(d_x, d_initial if needs.initial else None, Weights(**d_weights))


class _Run:
    """What `forward` hands to `backward`."""

    __slots__ = ("cell", "kept")

    def __init__(self, cell: Cell, kept: cpu_run.Saved | recompute.Record) -> None:
        self.cell = cell
        self.kept: cpu_run.Saved | recompute.Record | None = kept
