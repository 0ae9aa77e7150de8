"""The table of machine code is that of the kernels as they are now."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import cuda_code, cuda_table

from rondeau.kernels.cuda.persistent.tile import Tile

MISSING = cuda_code.missing()
VERSIONS, ROWS = cuda_table.read()
CASES = list(dict.fromkeys(row.case for row in ROWS))
AGAIN = "write the table again: python -m tools.cuda_table"


def test_it_has_all_cases() -> None:
    assert list(cuda_table.cases()) == CASES, AGAIN


def test_kernels_are_cut_as_it_says() -> None:
    """Where no kernel can be compiled, a change of the choice of tiles shows all the same."""
    assert [row for row in ROWS if not cuda_table.is_cut_so(row)] == [], f"{AGAIN} --missing"


def test_nothing_is_spilled() -> None:
    spilling = {row.case for row in ROWS if row.spills not in ("", "0") or row.stack not in ("", "0")}
    assert spilling == set()


@pytest.mark.skipif(MISSING is not None, reason=f"no machine code for GPUs: {MISSING}")
@pytest.mark.sampled(1)
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(part) for part in case if part))
def test_kernels_are_what_it_says(case: cuda_table.Case) -> None:
    if cuda_table.versions() != VERSIONS:
        pytest.skip(f"the table was written with {VERSIONS}, and this is {cuda_table.versions()}")
    assert cuda_table.compiled(case) == [row for row in ROWS if row.case == case], AGAIN


def test_a_tile_in_words() -> None:
    assert cuda_table.described(Tile(8, 64, 16), 64) == ("block-persistent", "8x64 16 warps")
    tile = Tile(16, 8, 4, split=4, direct=True, operands="tf32")
    assert cuda_table.described(tile, 512) == ("grid-persistent", "16x8 4 warps split 4 direct operands tf32")


def test_a_table_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_table, "versions", lambda: {"numba": "1.2", "numba-cuda": "3.4"})
    path = tmp_path / "table.csv"
    cuda_table.write(ROWS[:5], path)
    assert cuda_table.read(path) == ({"numba": "1.2", "numba-cuda": "3.4"}, ROWS[:5])
