import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tools.comparison.peers import operation, operation_on_arrays

from comparing import assert_same_bits  # type: ignore[import-not-found]
from rondeau import tensor as rt
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS

pytest.importorskip("torch")
LOOPS = ("highway", "peephole", "slstm", "ctrnn", "ea_lstm", "gru_d", "cfc", "rg_lru", "min_gru", "hgrn")
TOOL = Path(__file__).resolve().parents[1] / "compare_with_torch.py"
SMALL = ("--size", "4", "3", "5", "8", "--threads", "1")
ONE_PAIR = ("--pairs", "1")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments], capture_output=True, text=True, timeout=600
    )


def rows_of(tmp_path: Path, *arguments: str) -> tuple[str, list[dict[str, Any]]]:
    """Run the tool; what it printed, and the rows that it kept."""
    rows_file = tmp_path / "rows.json"
    done = run(*arguments, "--json", str(rows_file))
    assert done.returncode == 0, done.stderr
    document = json.loads(rows_file.read_text(encoding="utf-8"))
    (command,) = document["commands"]
    assert command.startswith(f"python tools/compare_with_torch.py {arguments[0]} ")
    assert {"processor", "cores", "numpy", "torch"} <= document["machine"].keys()
    rows: list[dict[str, Any]] = document["rows"]
    return done.stdout, rows


def test_layers_is_what_runs_without_a_name(tmp_path: Path) -> None:
    rows_file = tmp_path / "rows.json"
    done = run("--cells", "RNN", *SMALL, *ONE_PAIR, "--json", str(rows_file))
    assert done.returncode == 0, done.stderr
    assert "| RNN | B4 T3 I5 H8 | 1 |" in done.stdout
    assert "RNN, threads 1: PyTorch / rondeau: geometric mean" in done.stdout
    document = json.loads(rows_file.read_text(encoding="utf-8"))
    (command,) = document["commands"]
    assert command.startswith("python tools/compare_with_torch.py layers --cells RNN --size 4 3 5 8")
    (row,) = document["rows"]
    assert row["cell"] == "RNN"
    lowest, highest = row["ratio_range"]
    assert 0 < lowest <= row["ratio"] <= highest
    assert 0 < row["peak_share"] < 1


@pytest.mark.skipif(not MULTIPLIES_PAIRS, reason="the processor does not multiply bfloat16")
def test_precision_compares_with_bfloat16(tmp_path: Path) -> None:
    printed, (row,) = rows_of(tmp_path, "precision", "--cells", "GRU", *SMALL, *ONE_PAIR)
    assert "GRU, threads 1: highest / medium: geometric mean" in printed
    assert row["of_torch"] in ("weights", "autocast")
    assert 0 < row["medium_share"] < 1


@pytest.mark.long
def test_rows_are_added_to_those_of_the_same_machine(tmp_path: Path) -> None:
    rows_file = tmp_path / "rows.json"
    arguments = ("layers", "--cells", "RNN", *SMALL, *ONE_PAIR, "--json", str(rows_file), "--add")
    for count in (1, 2):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        document = json.loads(rows_file.read_text(encoding="utf-8"))
        assert len(document["rows"]) == len(document["commands"]) == count
    document["machine"]["processor"] = "another"
    rows_file.write_text(json.dumps(document), encoding="utf-8")
    done = run(*arguments)
    assert done.returncode == 1
    assert "holds figures of {'processor': 'another'" in done.stderr
    assert len(json.loads(rows_file.read_text(encoding="utf-8"))["rows"]) == 2


def test_a_peer_that_fails_ends_the_comparison() -> None:
    done = run("--cells", "RNN", "--size", "4", "3", "5", "0", "--threads", "1", *ONE_PAIR)
    assert done.returncode != 0
    assert "a peer ended with status" in done.stderr


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = run("--cells", "RNN", "--size", "4", "3", "5", "2", "--threads", "1", *ONE_PAIR)
    assert done.returncode != 0
    line = done.stderr.splitlines()[-1]
    assert line.startswith("torch is not installed: ")
    assert line.endswith('-m pip install -e ".[bench,parity,plot]"')


def test_both_sides_compute_the_same_cells() -> None:
    done = run("loops", "--check", "--size", "3", "7", "5", "17", "--size", "1", "1", "2", "3")
    assert done.returncode == 0, done.stderr
    for cell in LOOPS:
        assert f"| {cell} | B3 T7 I5 H17 |" in done.stdout
        assert f"| {cell} | B1 T1 I2 H3 |" in done.stdout


@pytest.mark.long
def test_cells_against_loops(tmp_path: Path) -> None:
    printed, (row,) = rows_of(
        tmp_path, "loops", "--cells", "highway", *SMALL, *ONE_PAIR, "--compile-limit", "0"
    )
    assert "highway, threads 1: eager / rondeau: geometric mean" in printed
    assert row["eager"] > 0
    assert row["compile_seconds"] is None
    assert "compiled" not in row


def test_a_compilation_past_its_limit_is_reported(tmp_path: Path) -> None:
    limit = ("--compile-limit", "0.001")
    printed, (row,) = rows_of(tmp_path, "loops", "--cells", "highway", *SMALL, *ONE_PAIR, *limit)
    assert "| not within 0.001 s |" in printed
    assert row["compile_seconds"] is None


@pytest.mark.long
def test_a_loop_compiles(tmp_path: Path) -> None:
    size = ("--size", "2", "1", "3", "4", "--threads", "1")
    printed, (row,) = rows_of(tmp_path, "loops", "--cells", "highway", *size, *ONE_PAIR)
    assert "highway, threads 1: compiled / rondeau: geometric mean" in printed
    assert row["compiled"] > 0
    assert row["compile_seconds"] > 0


def test_cells_against_ours_of_as_many_gates() -> None:
    done = run("cells", "--cells", "peephole", "min_gru", *SMALL, *ONE_PAIR)
    assert done.returncode == 0, done.stderr
    for cell, baseline in (("peephole", "LSTM"), ("min_gru", "MGU")):
        assert f"| {cell} | B4 T3 I5 H8 | 1 | {baseline} |" in done.stdout


@pytest.mark.long
def test_memory(tmp_path: Path) -> None:
    size = ("--size", "16", "100", "64", "128")
    printed, (row,) = rows_of(tmp_path, "memory", "--cells", "RNN", *size)
    assert "RNN, threads 2: rondeau / PyTorch: geometric mean" in printed
    output_and_gradient = 4 * 16 * 100 * (128 + 64)
    for peer in ("rondeau", "torch"):  # at least the results; not fifty times as much
        assert output_and_gradient < row[f"{peer}_bytes"] < 50 * output_and_gradient


@pytest.mark.long
def test_scaling(tmp_path: Path) -> None:
    sizes = ("--steps", "20", "200", "--batch", "16", "--inputs", "8", "--hidden", "64", "--threads", "1")
    every = ("--recompute-every", "14")
    printed, rows = rows_of(tmp_path, "scaling", "--cells", "GRU", *sizes, *every, *ONE_PAIR)
    assert "| GRU | 200 / 20 | 1 | - |" in printed
    assert "| GRU | 200 / 20 | 1 | 14 |" in printed
    assert len(rows) == 2
    assert rows[1]["beyond_bytes"] < rows[0]["beyond_bytes"]
    assert all(row["time"] > 0 and row["beyond_bytes"] < row["bytes"] for row in rows)


def test_pauses(tmp_path: Path) -> None:
    size = ("--size", "4", "3", "5", "8", "--threads", "1")
    _, rows = rows_of(tmp_path, "pauses", "--cells", "RNN", *size, "--pauses", "2", "--pause", "0")
    assert [row["library"] for row in rows] == ["rondeau", "torch"]
    assert all(row["first"] > 0 and row["first_five"] > 0 for row in rows)


@pytest.mark.long
def test_cold(tmp_path: Path) -> None:
    _, rows = rows_of(tmp_path, "cold", "--pairs", "1")
    assert [(row["library"], row["compiled"]) for row in rows] == [
        ("rondeau", "nothing"), ("rondeau", "all"), ("torch", "nothing"), ("torch", "all"),
    ]  # fmt: skip
    assert rows[0]["seconds"] > rows[1]["seconds"] > 0
    assert rows[0]["files"] == rows[1]["files"] > 0


@pytest.mark.long
def test_information_has_sizes_of_its_own(tmp_path: Path) -> None:
    _, (row,) = rows_of(tmp_path, "information", "--cells", "LSTM", *SMALL, *ONE_PAIR)
    assert row["size"] == "B4 T3 I5 H8"
    assert "B1 T35 I28 H256" in " ".join(run("information", "--help").stdout.split())


@pytest.mark.long
def test_streaming(tmp_path: Path) -> None:
    small = ("--inputs", "5", "--hidden", "8", "--threads", "1")
    printed, rows = rows_of(tmp_path, "streaming", *small, *ONE_PAIR)
    by_way = {row["way"]: row for row in rows}
    assert {"torch.nn.LSTM stepping", "torch.nn.LSTMCell stepping", "reading"} <= by_way.keys()
    assert by_way["reading"]["bytes"] == 4 * (4 * 8 * (5 + 8 + 1) + 5 * (8 + 1))
    assert (
        "rondeau stepping" in by_way
        or "left out: rondeau's recurrent layers have no stepper() yet" in printed
    )


@pytest.mark.long
def test_int8(tmp_path: Path) -> None:
    small = ("--inputs", "5", "--hidden", "8", "--threads", "1")
    _, rows = rows_of(tmp_path, "int8", *small, *ONE_PAIR)
    assert {"rondeau, int8", "rondeau, float32", "torch.ao, int8"} <= {row["way"] for row in rows}
    assert all(row["seconds"] > 0 for row in rows)
    assert {(row["way"], row["steps"]) for row in rows} >= {
        ("rondeau, int8", 50),
        ("rondeau, int8", 1),
        ("reading the recurrent weights", 1),
    }


@pytest.mark.long
def test_exported(tmp_path: Path) -> None:
    _, rows = rows_of(tmp_path, "exported", "--inputs", "5", "--hidden", "8", *ONE_PAIR)
    found = {(row["way"], row["weights"], row["steps"]) for row in rows}
    assert {
        ("rondeau's stepper", weights, steps) for weights in ("float32", "int8") for steps in (50, 1)
    } <= found
    assert all(row["seconds"] > 0 for row in rows)


@pytest.mark.long
def test_parts(tmp_path: Path) -> None:
    size = ("--size", "16", "20", "32", "64", "--threads", "1")
    _, (row,) = rows_of(tmp_path, "parts", "--cells", "GRU", *size, *ONE_PAIR)
    assert list(row["parts"]) == [
        "input projection",
        "recurrence forward",
        "recurrence backward",
        "input gradient",
        "weight gradients",
    ]
    assert sum(part["share"] for part in row["parts"].values()) == pytest.approx(1)
    assert row["flops"] == sum(part["flops"] for part in row["parts"].values())
    assert row["memory_bandwidth"] > 0


@pytest.mark.long
def test_the_share_of_the_bandwidth_is_that_of_cells_without_a_matrix(tmp_path: Path) -> None:
    size = ("--size", "16", "20", "32", "64", "--threads", "1")
    printed, (_, row) = rows_of(tmp_path, "parts", "--cells", "RNN", "min_gru", *size, *ONE_PAIR)
    shares = [line.rstrip(" |").rpartition("| ")[2] for line in printed.splitlines() if " B16 " in line]
    assert shares[0] == "-"
    assert int(shares[1].removesuffix("%")) > 0
    assert row["triad_bandwidth"] > 0


@pytest.mark.long
def test_stepped(tmp_path: Path) -> None:
    printed, rows = rows_of(tmp_path, "stepped", "--threads", "1", *ONE_PAIR)
    assert [row["program"] for row in rows] == ["GRU cell", "attention decoder"]
    assert all(row["ratio"] > 0 for row in rows)
    assert "| attention decoder | 1 |" in printed


@pytest.mark.long
def test_operations(tmp_path: Path) -> None:
    printed, rows = rows_of(tmp_path, "operations", "--operations", "x[3]", "cat((x, y), 1)", *ONE_PAIR)
    assert [(row["rows"], row["operation"]) for row in rows[1:3]] == [(10, "cat((x, y), 1)"), (64, "x[3]")]
    assert all(row["ratio"] > 0 and row["ratio_with_backward"] > 0 for row in rows)
    assert all(row["seconds_on_arrays"] > 0 for row in rows)
    assert "| x[3] | 10 | 10 |" in printed


def test_every_operation_is_known_on_arrays() -> None:
    assert operation_on_arrays.ON_ARRAYS.keys() == operation.OPERATIONS.keys()
    rng = np.random.default_rng(0)
    x, y = (rng.random((4, 5)).astype(np.float32) for _ in range(2))
    classes = rng.integers(0, 5, 4)
    for name, compute in operation.OPERATIONS.items():
        expected = compute(operation.Rondeau(), rt.tensor(x), rt.tensor(y), rt.tensor(classes))
        found = operation_on_arrays.ON_ARRAYS[name](x, y, classes)
        assert_same_bits(found, expected, name)


@pytest.mark.long
def test_lenet(tmp_path: Path) -> None:
    printed, rows = rows_of(tmp_path, "lenet", "--batch", "2", "3", "--threads", "1", *ONE_PAIR)
    assert "| 3 | 1 |" in printed
    assert [row["batch"] for row in rows] == [2, 3]
    assert all(row["ratio"] > 0 for row in rows)


@pytest.mark.long
def test_words(tmp_path: Path) -> None:
    size = "--words", "50", "--hidden", "4", "--batch", "2", "3", "--steps", "3"
    printed, rows = rows_of(tmp_path, "words", *size, "--threads", "1", *ONE_PAIR)
    assert "| 50 | 4 | 3 | 3 | 1 |" in printed
    assert [row["batch"] for row in rows] == [2, 3]
    assert all(row["ratio"] > 0 and row["whole"] > 0 for row in rows)
