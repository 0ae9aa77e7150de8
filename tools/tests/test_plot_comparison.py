import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
TOOL = Path(__file__).resolve().parents[1] / "plot_comparison.py"
PARTS = [
    "input projection",
    "recurrence forward",
    "recurrence backward",
    "input gradient",
    "weight gradients",
]


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def keep(folder: Path, table: str, rows: list[dict[str, Any]]) -> None:
    (folder / f"{table}.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")


def figures(cell: str, size: str, threads: int) -> dict[str, Any]:
    return {"cell": cell, "size": size, "threads": threads}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    places = [
        (cell, size, n) for n in (1, 2) for cell in ("RNN", "LSTM") for size in ("B1 T2 I3 H4", "B5 T6 I7 H8")
    ]
    keep(tmp_path, "layers", [figures(*p) | {"ratio": 1.5, "ratio_range": [1.2, 1.75]} for p in places])
    loops = [figures(*p) | {"eager": 5.0, "eager_range": [4.0, 6.0]} for p in places]
    loops[0] |= {"compiled": 3.0, "compiled_range": [2.5, 3.5]}
    keep(tmp_path, "loops", loops)
    part = {"share": 0.2, "gflops": 50.0, "intensity": 10.0}
    whole = {"gflops": 60.0, "intensity": 12.0, "peak_gflops": 100.0}
    bandwidths = {"memory_bandwidth": 2e10, "cache_bandwidth": 2e11}
    parts = [figures(*p) | whole | bandwidths | {"parts": dict.fromkeys(PARTS, part)} for p in places]
    no_products = dict.fromkeys(PARTS[1:3], part | {"gflops": 0.0, "intensity": 0.0})
    parts[-1]["parts"] = (
        parts[-1]["parts"] | no_products | {"input gradient": part | {"gflops": None, "share": -0.01}}
    )
    keep(tmp_path, "parts", parts)
    curves = [[[1.0, 2.5], [2.0, 2.0]], [[2.0, 2.4], [4.0, 2.1]]]
    keep(tmp_path, "shakespeare", [{"cell": "gru", "seed": seed, "curves": curves} for seed in (0, 1)])
    return tmp_path


def test_plots_show_the_rows_and_are_the_same_each_time(data: Path, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        done = run(data, tmp_path / folder)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    drawn = {path.name: path.read_text(encoding="utf-8") for path in sorted((tmp_path / "first").iterdir())}
    assert list(drawn) == ["parts.svg", "ratios.svg", "roofline.svg", "training.svg"]
    for name, svg in drawn.items():
        assert svg == (tmp_path / "second" / name).read_text(encoding="utf-8")
    for words in ("LSTM", "B5 T6 I7 H8", "torch.compile of the loop, threads: 1", "eager loop, threads: 2"):
        assert words in drawn["ratios.svg"]
    for words in (*PARTS, "flops per byte", "threads: 2"):
        assert words in drawn["roofline.svg"]
    assert "RNN B1 T2 I3 H4" in drawn["parts.svg"]
    assert drawn["training.svg"].count("GRU, PyTorch") == 1


def test_only_what_is_there_is_drawn(data: Path, tmp_path: Path) -> None:
    for table in ("loops", "parts", "shakespeare"):
        (data / f"{table}.json").unlink()
    assert run(data, tmp_path / "plots").returncode == 0
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["ratios.svg"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "plots")
    assert done.returncode == 1
    assert "holds none of layers.json, loops.json, parts.json, shakespeare.json" in done.stderr
