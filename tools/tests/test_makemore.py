import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, *flags: str) -> dict[str, Any]:
    """Train on thirty-three names and return what is recorded."""
    names, rows = tmp_path / "names.txt", tmp_path / "rows.json"
    names.write_text("\n".join(start + end for start in "bdfgklmnrst" for end in ("ada", "ina", "olo")))
    command = [sys.executable, "-m", "tools.makemore", str(names), *flags, "--json", str(rows)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    recorded: dict[str, Any] = json.loads(rows.read_text())
    return recorded


@pytest.mark.parametrize("model", ["mlp", "rnn", "gru", "lstm"])
def test_every_model_learns_names_and_its_rows_are_kept(model: str, tmp_path: Path) -> None:
    recorded = run(tmp_path, "--model", model, "--steps", "60", "--every", "30")
    assert str(tmp_path) not in recorded["command"]
    assert [row[0] for row in recorded["curve"]] == [30, 60]
    assert recorded["curve"][1][1] < recorded["curve"][0][1] < np.log(17)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("model", ["mlp", "rnn", "gru"])
def test_the_twin_learns_the_same(model: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    recorded = run(tmp_path, "--model", model, "--steps", "400", "--every", "400", "--twin")
    assert recorded["twin"]["held_out_loss"] == pytest.approx(recorded["curve"][-1][2], abs=0.3)


def test_the_held_out_names_are_those_of_makemores_seed() -> None:
    torch = pytest.importorskip("torch")
    permutation = runpy.run_path(str(ROOT / "tools/makemore/recipe.py"))["permutation"]

    torch.manual_seed(3407)
    assert permutation(3001, 3407).tolist() == torch.randperm(3001).tolist()
