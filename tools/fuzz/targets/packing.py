"""Packing and padding: round trips of ragged batches, and lengths that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt
from rondeau.nn.utils import rnn

from ..drawing import NONSENSE, Draw
from ..verdict import attempt, check_equal

Array = NDArray[Any]


def _ragged(draw: Draw) -> tuple[list[Array], Any]:
    """Return sequences of different lengths, at least one step each."""
    dtype = draw.choose((np.float32, np.float64, np.int64, np.bool_, np.float16))
    rest = tuple(draw.size(5, empty=0.05) for _ in range(draw.choose((0, 1, 1, 2))))
    lengths = draw.numbers.integers(1, draw.size(12) + 1, draw.size(9))
    sequences = [draw.laid_out((draw.normal((n, *rest), np.float64) * 4).astype(dtype)) for n in lengths]
    return draw.note("sequences", sequences), dtype


def _padded(sequences: list[Array], value: Any, steps: int | None = None, left: bool = False) -> Array:
    """Return (T, B, ...) by plain assignment."""
    T = max(map(len, sequences)) if steps is None else steps
    array = np.full((T, len(sequences), *sequences[0].shape[1:]), value).astype(sequences[0].dtype)
    for b, sequence in enumerate(sequences):
        array[T - len(sequence) if left else 0 : T if left else len(sequence), b] = sequence
    return array


def padding(draw: Draw) -> None:
    """Pad sequences, and cut them again."""
    sequences, _ = _ragged(draw)
    batch_first, side = draw.chance(0.5), draw.choose(("right", "right", "left"))
    value: Any = draw.choose((0, 1, 0.0, 5.0))
    items: Any = [rt.Tensor(sequence) for sequence in sequences]
    given_side: Any = side
    if draw.spoil("wrong sequences or side", 0.2):
        bad: list[Any] = [[], [*items, draw.choose(NONSENSE)], [*items, rt.Tensor(np.float32(1.0))], 3, None]
        bad += [[*items, rt.Tensor(np.zeros((2, 9, 9, 9), np.float32))], [sequences[0].tolist()]]
        if draw.chance(0.2):
            given_side = draw.choose(("up", None, 1))
        else:
            items = draw.choose(bad)
    draw.note("batch_first, value, side", (batch_first, value, given_side))
    found = attempt(draw, lambda: rnn.pad_sequence(items, batch_first, value, given_side), items)
    wanted = _padded(sequences, value, left=side == "left")
    check_equal("pad_sequence", found, np.swapaxes(wanted, 0, 1) if batch_first else wanted)
    if side == "right":
        lengths = [len(sequence) for sequence in sequences]
        again = attempt(draw, lambda: rnn.unpad_sequence(found, lengths, batch_first), found)
        for k, (got, sequence) in enumerate(zip(again, sequences, strict=True)):
            check_equal(f"unpad_sequence {k}", got, np.asarray(sequence))


def _bad_lengths(draw: Draw, lengths: Array, T: int) -> Any:
    """Return lengths that are none of a batch of T steps."""
    wrong = lengths.copy()
    wrong[draw.random.randrange(len(wrong))] = draw.choose((0, -1, T + 1, 2**40, -(2**63)))
    bad: list[Any] = [
        wrong,
        wrong.tolist(),
        rt.Tensor(wrong),
        lengths + 0.5,
        [*lengths.tolist(), 1],
        lengths[:-1],
    ]
    bad += [lengths[:, None], "long", None, [None] * len(lengths), ["1"] * len(lengths), lengths.astype(bool)]
    bad += [np.full(len(lengths), np.nan), [[1], [2, 3]]]
    return draw.choose(bad)


def packing(draw: Draw) -> None:
    """Pack a padded batch, and pad it again."""
    sequences, _ = _ragged(draw)
    batch_first, enforce_sorted = draw.chance(0.5), draw.chance(0.4)
    if enforce_sorted and draw.chance(0.8):
        sequences = sorted(sequences, key=len, reverse=True)
    lengths = np.array([len(sequence) for sequence in sequences])
    if enforce_sorted and (np.diff(lengths) > 0).any():
        draw.wrong = "lengths that do not descend"
    padded = _padded(sequences, 9)
    given: Any = draw.laid_out(np.swapaxes(padded, 0, 1) if batch_first else padded)
    right = np.swapaxes(given, 0, 1) if batch_first else given
    sequences = [right[: len(sequence), b] for b, sequence in enumerate(sequences)]
    x: Any = rt.Tensor(given)
    form: Any = draw.choose((np.asarray, list, rt.Tensor))
    given_lengths = form(lengths)
    if draw.spoil("wrong lengths", 0.25):
        given_lengths = _bad_lengths(draw, lengths, len(padded))
    elif draw.spoil("a wrong input", 0.05):
        x = draw.choose(
            (*NONSENSE, given, rt.Tensor(given.reshape(-1)), rt.Tensor(given[:0]), rt.Tensor(given[:, :0]))
        )
    draw.note("input, lengths, batch_first, enforce_sorted", (x, given_lengths, batch_first, enforce_sorted))
    packed = attempt(
        draw,
        lambda: rnn.pack_padded_sequence(x, given_lengths, batch_first, enforce_sorted),
        x,
        given_lengths,
    )
    order = np.argsort(-lengths, kind="stable")
    rows = [sequences[b][t] for t in range(lengths.max()) for b in order if lengths[b] > t]
    check_equal("packed data", packed.data, np.stack(rows))
    check_equal(
        "batch_sizes", packed.batch_sizes, np.array([(lengths > t).sum() for t in range(lengths.max())])
    )
    total: Any = draw.choose((None, None, int(lengths.max()), int(lengths.max()) + 3))
    value: Any = draw.choose((0, 2, 0.0))
    if draw.spoil("a wrong total_length", 0.1):
        total = draw.choose((int(lengths.max()) - 1, -1, 0, "long", 2.5))
    draw.note("total_length", total)
    again, ends = attempt(draw, lambda: rnn.pad_packed_sequence(packed, batch_first, value, total), packed)
    wanted = _padded(sequences, value, total)
    check_equal("pad_packed_sequence", again, np.swapaxes(wanted, 0, 1) if batch_first else wanted)
    check_equal("lengths", ends, lengths)


def packed_by_hand(draw: Draw) -> None:
    """Make a `PackedSequence` of fields that fit, or do not, and use it."""
    sizes = np.sort(draw.numbers.integers(1, 6, draw.size(7)))[::-1].copy()
    rows = draw.normal((int(sizes.sum()), 2), np.float32)
    order = draw.numbers.permutation(int(sizes[0]))
    fields: list[Any] = [rt.Tensor(rows), rt.Tensor(sizes), rt.Tensor(order) if draw.chance(0.5) else None]
    if draw.spoil("fields that do not fit", 0.6):
        bad: list[tuple[int, Any]] = [
            (0, rt.Tensor(rows[:-1])),
            (0, rt.Tensor(np.float32(1))),
            (0, "rows"),
            (0, None),
        ]
        for values in (
            sizes[::-1] + np.arange(len(sizes)) * 9,
            -sizes,
            sizes * 0,
            sizes.astype(float),
            sizes[:0],
        ):
            bad.append((1, rt.Tensor(np.ascontiguousarray(values))))
        bad += [
            (1, None),
            (1, sizes.tolist()),
            (1, rt.Tensor(sizes[None])),
            (1, rt.Tensor(sizes.astype(np.int32))),
        ]
        for values in (order + 1, order - 1, order * 0 - 2**40, order[:-1], order.astype(float), order[None]):
            bad.append((2, rt.Tensor(values)))
        bad += [(2, "order"), (2, order.tolist())]
        k, value = draw.choose(bad)
        fields[k] = value
        if (
            k == 1
            and isinstance(value, rt.Tensor)
            and np.array_equal(value.detach().numpy(), sizes)
            and value.dtype == np.int64
        ):
            draw.wrong = None
    draw.note("fields", fields)

    def use() -> Any:
        return rnn.pad_packed_sequence(rnn.PackedSequence(*fields))

    padded, ends = attempt(draw, use, fields)
    lengths = np.array([(sizes > b).sum() for b in range(int(sizes[0]))])
    starts = np.cumsum(sizes) - sizes
    wanted = np.zeros((len(sizes), int(sizes[0]), 2), np.float32)
    places = order if fields[2] is not None else np.arange(int(sizes[0]))
    for t, start in enumerate(starts):
        for k in range(int(sizes[t])):
            wanted[t, places[k]] = rows[start + k]
    check_equal("padded", padded, wanted)
    of_place = np.empty_like(lengths)
    of_place[places] = lengths
    check_equal("lengths", ends, of_place)
