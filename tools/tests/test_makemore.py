import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[1] / "makemore.py"


@pytest.mark.parametrize("model", ["mlp", "rnn", "gru", "lstm"])
def test_every_model_learns_names_and_its_rows_are_kept(model: str, tmp_path: Path) -> None:
    names, rows = tmp_path / "names.txt", tmp_path / "rows.json"
    names.write_text("\n".join(start + end for start in "bdfgklmnrst" for end in ("ada", "ina", "olo")))
    flags = ["--model", model, "--steps", "60", "--every", "30", "--json", str(rows)]
    done = subprocess.run(
        [sys.executable, str(TOOL), str(names), *flags], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    recorded = json.loads(rows.read_text())
    assert str(tmp_path) not in recorded["command"]
    assert [row[0] for row in recorded["curve"]] == [30, 60]
    assert recorded["curve"][1][1] < recorded["curve"][0][1] < np.log(17)


def test_the_held_out_names_are_those_of_makemores_seed() -> None:
    torch = pytest.importorskip("torch")
    permutation = runpy.run_path(str(TOOL))["permutation"]

    torch.manual_seed(3407)
    assert permutation(3001, 3407).tolist() == torch.randperm(3001).tolist()
