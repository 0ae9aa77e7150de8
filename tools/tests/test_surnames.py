import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]


def test_both_libraries_learn_the_same_split_and_the_rows_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    endings = {"Czech": "ova", "Italian": "ini", "Japanese": "moto"}
    for language, ending in endings.items():
        names = [f"{start}{middle}{ending}" for start in "BKMNRST" for middle in ("a", "e", "i", "o", "u")]
        (folder / f"{language}.txt").write_text("\n".join(names), encoding="utf-8")
    rows_file = tmp_path / "rows.json"
    flags = ["--seeds", "0", "--epochs", "20", "--threads", "1", "--json", str(rows_file)]
    command = [sys.executable, "-m", "tools.surnames", str(folder), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    recorded = json.loads(rows_file.read_text())
    (row,) = recorded["rows"]
    assert [len(curve) for curve in row["accuracies"]] == [20, 20]
    assert [curve[-1] for curve in row["accuracies"]] == [1.0, 1.0]
    assert str(tmp_path) not in recorded["command"]
    assert "difference +0.00 points" in done.stdout
