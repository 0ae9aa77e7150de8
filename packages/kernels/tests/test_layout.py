"""Where the rows of ragged batches lie."""

import itertools
import re

import numpy as np
import pytest

from rondeau.kernels.sequence import Layout


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([3, 4], "must never increase, but step 1 has 4 rows after 3; sort the sequences by length"),
        ([3, 0], "at least 1 at every step, got 0"),
        ([[3]], "must be a 1-D array of integers"),
        ([1.5], "must be a 1-D array of integers, got float64"),
    ],
)
def test_batch_sizes_are_checked(sizes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Layout.packed(sizes)


def test_a_dense_layout_has_no_negative_size():
    with pytest.raises(ValueError, match="num_steps must be at least 0, got -1"):
        Layout.dense(-1, 2)


def test_lengths_and_cuts_of_a_ragged_layout():
    layout = Layout.packed([4, 2, 2, 1, 1, 1, 1])
    assert layout.lengths.tolist() == [7, 3, 1, 1]
    assert layout.cuts(2).tolist() == [0, 1, 4]
    assert Layout.dense(5, 6).cuts(3).tolist() == [0, 2, 4, 6]
    assert Layout.dense(5, 2).cuts(8).tolist() == [0, 1, 2]
    assert Layout.dense(0, 2).cuts(2)[-1] == 2


def test_layouts_cannot_be_changed_and_take_integers():
    layout = Layout.dense(2, 3)
    with pytest.raises(ValueError, match="read-only"):
        layout.batch_sizes[0] = 100
    assert Layout.packed([2, 1]).batch_sizes.flags.writeable is False
    with pytest.raises(TypeError, match=r"batch_size must be an integer, got 3\.0"):
        Layout.dense(2, 3.0)
    with pytest.raises(TypeError, match="num_steps must be an integer, got True"):
        Layout.dense(True, 3)


RAGGED = Layout.packed([4, 2, 2, 1], origins=[7, 0, 3, 5], first_steps=[10, 0, 4, 2])


def test_rows_have_a_batch_row_and_a_place():
    assert RAGGED.batch_rows.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 0]
    assert RAGGED.positions.tolist() == [
        [10, 7],
        [0, 0],
        [4, 3],
        [2, 5],
        [11, 7],
        [1, 0],
        [12, 7],
        [2, 0],
        [13, 7],
    ]
    assert Layout.dense(2, 2).positions.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert Layout.dense(0, 2).positions.shape == Layout.dense(2, 0).positions.shape == (0, 2)


def test_the_row_that_runs_before_and_the_row_that_runs_last():
    assert RAGGED.previous(False).tolist() == [-1, -1, -1, -1, 0, 1, 4, 5, 6]
    assert RAGGED.previous(True).tolist() == [4, 5, -1, -1, 6, 7, 8, -1, -1]
    assert RAGGED.last(False).tolist() == [8, 7, 2, 3]
    assert RAGGED.last(True).tolist() == [0, 1, 2, 3]
    for layout in (Layout.dense(0, 3), Layout.dense(3, 0)):
        for reverse in (False, True):
            assert layout.previous(reverse).shape == layout.last(reverse).shape == (0,)


@pytest.mark.parametrize("layout", [RAGGED, Layout.dense(3, 2), Layout.packed([5, 5, 3, 3, 3, 1])])
def test_previous_walks_through_every_sequence(layout):
    for reverse in (False, True):
        previous, lengths = layout.previous(reverse), []
        for row in layout.last(reverse).tolist():
            walked = [row]
            while previous[walked[-1]] >= 0:
                walked.append(int(previous[walked[-1]]))
            assert len(set(layout.batch_rows[walked])) == 1
            assert (np.diff(walked) > 0).all() if reverse else (np.diff(walked) < 0).all()
            lengths.append(len(walked))
        assert lengths == layout.lengths.tolist()


def test_some_rows_as_a_batch_of_one_step():
    step = RAGGED.of_rows(np.array([6, 1, 3]))
    assert (step.num_steps, step.batch_size, step.num_rows) == (1, 3, 3)
    assert step.positions.tolist() == RAGGED.positions[[6, 1, 3]].tolist()
    assert RAGGED.of_rows(np.array([], int)).num_rows == 0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9])
def test_pieces_hold_every_row_once_with_its_place(steps, reverse):
    pieces = list(RAGGED.pieces(steps, reverse))
    positions = [piece.positions.tolist() for piece, _ in pieces]
    rows = [list(range(*rows.indices(RAGGED.num_rows))) for _, rows in pieces]
    assert positions == [RAGGED.positions[r].tolist() for r in rows]
    assert sorted(itertools.chain(*rows)) == list(range(RAGGED.num_rows))
    assert rows == sorted(rows, reverse=reverse)
    sizes = [piece.num_steps for piece, _ in pieces]
    assert all(size == steps for size in (sizes[1:] if reverse else sizes[:-1]))
    assert sum(piece.num_steps for piece, _ in pieces) == RAGGED.num_steps


def test_pieces_of_no_steps_are_none():
    assert list(Layout.dense(0, 3).pieces(2, False)) == []


def test_origins_and_first_steps_are_one_for_each_sequence():
    with pytest.raises(ValueError, match=r"one integer for each of 2 sequences, got int64 of shape \(3,\)"):
        Layout.packed([2, 1], origins=[0, 1, 2])
    with pytest.raises(
        ValueError, match=r"first_steps must be one integer for each of 2 .*, got int64 of shape \(1,\)"
    ):
        Layout.packed([2, 1], first_steps=[0])


@pytest.mark.parametrize("size", [[2], "two", None, 2.5])
def test_a_dense_layout_has_whole_sizes(size):
    with pytest.raises(TypeError, match="num_steps must be an integer"):
        Layout.dense(size, 1)


def test_equal_dense_layouts_are_one():
    assert Layout.dense(2, 3) is Layout.dense(np.int64(2), 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[2], [1, 1]],), "batch_sizes must be a 1-D array of integers, got a ragged list"),
        (
            ([2, 1], ["a", "b"]),
            r"origins must be one integer for each of 2 sequences, got <U1 of shape \(2,\)",
        ),
        (([2, 1], None, [0.5, 1.5]), "first_steps must be one integer for each of 2 sequences, got float64"),
    ],
)
def test_a_packed_layout_has_whole_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        Layout.packed(*arguments)
