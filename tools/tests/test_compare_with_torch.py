import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
TOOL = Path(__file__).resolve().parents[1] / "compare_with_torch.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments], capture_output=True, text=True, timeout=600
    )


def test_a_small_comparison_prints_and_writes_its_rows(tmp_path: Path) -> None:
    rows_file = tmp_path / "rows.json"
    done = run(
        *("--cells", "RNN", "--size", "4", "3", "5", "8", "--threads", "1", "--pairs", "1"),
        *("--json", str(rows_file)),
    )
    assert done.returncode == 0, done.stderr
    assert "| RNN | B4 T3 I5 H8 | 1 |" in done.stdout
    assert "RNN, threads 1: geometric mean" in done.stdout
    (row,) = json.loads(rows_file.read_text())
    assert row["cell"] == "RNN"
    assert 0 < row["lowest"] <= row["ratio"] <= row["highest"]
    assert 0 < row["peak_share"] < 1


def test_a_peer_that_fails_ends_the_comparison() -> None:
    done = run("--cells", "RNN", "--size", "4", "3", "5", "0", "--threads", "1", "--pairs", "1")
    assert done.returncode != 0
    assert "a peer ended with status" in done.stderr
