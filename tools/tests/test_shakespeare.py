import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]


def test_both_libraries_run_the_recipe_and_its_rows_are_kept(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("to be, or not to be, that is the question:\n" * 200, encoding="utf-8")
    rows_file = tmp_path / "rows.json"
    flags = ["--cells", "gru", "--seeds", "0", "--epochs", "2", "--threads", "1", "--json", str(rows_file)]
    command = [sys.executable, "-m", "tools.shakespeare", str(corpus), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    recorded = json.loads(rows_file.read_text())
    (row,) = recorded["rows"]
    assert str(tmp_path) not in recorded["command"]
    # Four steps from random weights: both are below uniform guessing over the 18 characters, log 18 = 2.89.
    assert all(0 < nats < 2.89 for nats in row["nats"])
    assert abs(row["nats"][0] - row["nats"][1]) < 0.5
    assert [len(curve) for curve in row["curves"]] == [2, 2]
    for curve, nats in zip(row["curves"], row["nats"], strict=True):
        assert [seconds for seconds, _ in curve] == sorted(seconds for seconds, _ in curve)
        assert (
            abs(curve[-1][1] - nats) < 0.05
        )  # rondeau's own evaluation after an epoch reads 16 rows at once
    assert "gru: mean" in done.stdout
