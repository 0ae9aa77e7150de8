"""The tables of products between phases."""

import itertools

import numpy as np
import pytest

from rondeau.kernels.cpu.blocks import Block, backward_blocks, forward_blocks, unit_cuts
from rondeau.kernels.product import packed_size


def rows_of(blocks):
    return [dict(zip(Block._fields, row, strict=True)) for row in blocks.table.tolist()]


@pytest.mark.parametrize("hidden", [1, 15, 16, 17, 32, 65, 130])
@pytest.mark.parametrize("shares", [1, 2, 3, 8, 100])
def test_units_are_cut_between_vectors_as_evenly_as_they_allow(hidden, shares):
    cuts = unit_cuts(hidden, shares)
    assert cuts[0] == 0
    assert cuts[-1] == hidden
    assert all(cut % 16 == 0 for cut in cuts[:-1])
    sizes = np.diff([-(-cut // 16) for cut in cuts])
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1
    assert len(cuts) == 1 + min(shares, -(-hidden // 16))


def test_one_operand_of_joint_gates_is_one_product(cells):
    H = 20
    blocks = forward_blocks(cells["lstm"].schedule, H, H, 1, (0, H))
    assert rows_of(blocks) == [
        {
            "operand": -1, "operand_column": 0, "slots": 0, "slot_column": 0, "depth": H, "width": 4 * H,
            "accumulate": 1, "packed_at": 0, "weight_at": 0,
        }
    ]  # fmt: skip
    assert blocks.ends.tolist() == [[0, 1], [1, 1]]
    assert blocks.packed_size == packed_size(H, 4 * H)


def test_split_gates_have_their_own_buffer_after_the_joint_ones(cells):
    H = 20
    joint, split = rows_of(forward_blocks(cells["gru"].schedule, H, H, 1, (0, H)))
    assert (joint["slots"], joint["width"], joint["accumulate"], joint["weight_at"]) == (0, 2 * H, 1, 0)
    assert (split["slots"], split["width"], split["accumulate"], split["weight_at"]) == (1, H, 0, 2 * H * H)
    assert split["packed_at"] == packed_size(H, 2 * H)
    back = rows_of(backward_blocks(cells["gru"].schedule, H, H, 1, False, (0, H)))
    assert [(row["depth"], row["width"], row["accumulate"]) for row in back] == [(2 * H, H, 1), (H, H, 1)]


def test_products_run_when_their_operand_is_there(cells):
    plan, H = cells["chained"].schedule, 20
    blocks = forward_blocks(plan, H, H, 1, (0, H))
    groups = [{row["operand"] for row in rows_of(blocks)[first:last]} for first, last in blocks.ends.tolist()]
    assert groups == [{-1}, {0}, {1}, set()]
    back = backward_blocks(plan, H, H, 1, False, (0, H))
    groups = [{row["operand"] for row in rows_of(back)[first:last]} for first, last in back.ends.tolist()]
    assert groups == [{1}, {0}, {-1}]


def test_the_first_product_back_to_a_value_overwrites_and_the_others_add(cells):
    plan, H = cells["operands"].schedule, 16
    for heads in (1, 4):
        written = set()
        for row in rows_of(backward_blocks(plan, H, H, heads, False, (0, H))):
            columns = range(row["operand_column"], row["operand_column"] + row["width"])
            elements = {(row["operand"], column) for column in columns}
            if row["operand"] < 0:
                assert row["accumulate"]  # it is added to the pointwise part
            else:
                assert row["accumulate"] == (elements <= written)
                assert row["accumulate"] or not elements & written
            written |= elements


def test_projected_states_get_their_adjoint_from_products_alone(cells):
    (row,) = rows_of(backward_blocks(cells["lstm"].schedule, 20, 7, 1, True, (0, 7)))
    assert (row["depth"], row["width"], row["accumulate"]) == (80, 7, 0)


@pytest.mark.parametrize("heads", [1, 2, 5, 70])
@pytest.mark.parametrize("shares", [1, 2, 3])
@pytest.mark.parametrize("name", ["lstm", "gru", "chained", "operands", "alone"])
def test_the_blocks_of_all_shares_are_the_block_diagonal_matrix(cells, name, heads, shares):
    """Every weight is met exactly once, by the columns of its own head, whatever the cuts."""
    plan, H = cells[name].schedule, 70
    size, cuts = H // heads, unit_cuts(H, shares)
    R = len(plan.joint) + len(plan.split)
    for table, is_forward in (
        (forward_blocks(plan, H, H, heads, cuts), True),
        (backward_blocks(plan, H, H, heads, False, cuts), False),
    ):
        met = np.zeros(R * H * size, int)
        packed = np.zeros(table.packed_size, int)
        assert table.ends.shape[1] == len(cuts)
        assert table.ends[0, 0] == 0
        assert table.ends[-1, -1] == len(table.table)
        for row in rows_of(table):
            # forward: rows of the weight are outputs; backward: its columns are
            units, seen = (row["width"], row["depth"]) if is_forward else (row["depth"], row["width"])
            elements = row["weight_at"] + np.arange(units)[:, None] * size + np.arange(seen)
            met[elements.ravel()] += 1
            at = row["packed_at"]
            packed[at : at + packed_size(row["depth"], row["width"])] += 1
            # The slot of a weight's row, and the operand's column of its column.
            buffer_row = elements // size
            first = len(plan.joint) * H if row["slots"] else 0
            if heads == 1:
                assert (
                    elements % size == np.arange(row["operand_column"], row["operand_column"] + seen)
                ).all()
            else:
                head = buffer_row % H // size
                columns = head * size + elements % size
                assert (columns == np.arange(row["operand_column"], row["operand_column"] + seen)).all()
            assert (buffer_row[:, 0] - first == row["slot_column"] + np.arange(units)).all()
        assert (met == 1).all()
        assert (packed == 1).all()


@pytest.mark.parametrize("shares", [2, 3])
def test_a_share_writes_its_own_units_only(cells, shares):
    plan, H = cells["chained"].schedule, 70
    cuts = unit_cuts(H, shares)
    for heads in (1, 5):
        table = forward_blocks(plan, H, H, heads, cuts)
        for group in table.ends:
            for share, (first, last) in enumerate(itertools.pairwise(group)):
                for row in rows_of(table)[first:last]:
                    units = np.arange(row["slot_column"], row["slot_column"] + row["width"]) % H
                    assert cuts[share] <= units.min()
                    assert units.max() < cuts[share + 1]


def test_tables_are_made_once(cells):
    plan = cells["lstm"].schedule
    assert forward_blocks(plan, 20, 20, 1, (0, 20)) is forward_blocks(plan, 20, 20, 1, (0, 20))
