"""The check of a GPU, run on an emulated one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tools import cuda_code
from tools.cuda_check import (
    bars,
    cases,
    clock,
    driver,
    exchange,
    gradient_error,
    layers,
    of_rondeau,
    operators,
    speed,
    worker,
)
from tools.cuda_check.__main__ import main
from tools.cuda_check.report import Report, Row
from tools.cuda_check.workloads import Workload, workloads_of

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.kernels.cuda import tiers
from rondeau.tensor import _tensor

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
SECTIONS = {
    "random numbers": {"right"},
    "cells": {"right"},
    "persistent": {"right"},
    "gradient error": {"right"},
    "exchange": {"measured"},
    "operators": {"right"},
    "layers": {"right"},
}


def names_in(module: ModuleType) -> set[str]:
    """Return the words in the names of a module's cases."""
    words = {word for case in module.CASES for word in case.name.replace(",", " ").split()}
    return {word.rpartition(".")[2] for word in words}


def test_every_operator_and_layer_has_a_case() -> None:
    assert set(rt.__all__) - names_in(operators) == operators.WITHOUT_A_CASE
    assert set(nn.__all__) - names_in(layers) == layers.WITHOUT_A_CASE
    assert set(nn.functional.__all__) <= names_in(layers)
    assert set(train.optim.__all__) - {"Optimizer", "swa_utils"} <= names_in(layers)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_emulated_gpu_computes_what_the_cpu_does(section: str, capsys: Captured, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    assert main(["--stand-in", "--only", section, "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert {row["section"] for row in rows} == {section}
    (outcome,) = SECTIONS[section]
    assert {row["outcome"] for row in rows} == {outcome}
    assert f"{section:18} {len(rows)} {outcome}" in printed


@pytest.mark.long
def test_everything_on_an_emulated_gpu(capsys: Captured) -> None:
    assert main(["--stand-in", "--all", "--minutes", "60"]) == 0
    assert "skipped" not in capsys.readouterr().out


def test_a_wrong_number_is_found(capsys: Captured, monkeypatch: Patch) -> None:
    """A result that is off by 1e-3 on the device alone."""
    right = rt.Tensor.__mul__

    def wrong(self: rt.Tensor, other: Any) -> rt.Tensor:
        product = right(self, other)
        return product + 1e-3 if self.is_cuda and not isinstance(other, rt.Tensor) else product

    monkeypatch.setattr(_tensor.Tensor, "__mul__", wrong)
    assert main(["--stand-in", "--only", "operators"]) == 1
    assert "WRONG operators: clone: output: an error of 1.00e-03" in capsys.readouterr().out


@pytest.mark.usefixtures("device_stand_in")
def test_a_missing_gradient_is_found() -> None:
    def run(device: str) -> Any:
        x = cases.send(np.ones(3, np.float32), device)
        return cases.gradients(2 * x if device == "cpu" else 2 * x.detach(), [("x", x)])

    with pytest.raises(cases.Difference, match=r"gives \['output'\], expected \['output', 'gradient\.x'\]"):
        cases.compare(cases.Case("detached", run))


def test_what_does_not_fit_into_the_time_is_skipped(capsys: Captured) -> None:
    assert main(["--stand-in", "--only", "cells", "--minutes", "0"]) == 0
    assert capsys.readouterr().out.count("skipped cells: lstm: the minutes were over") == 1


def test_without_a_gpu_it_says_so(capsys: Captured) -> None:
    if rt.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main([]) == 2
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1
    assert printed[0].startswith("nothing was checked: device 'cuda'")


class Driver:
    """NVIDIA's driver of a machine with some GPUs, which gives some statuses."""

    def __init__(self, gpus: int, *statuses: int) -> None:
        self.gpus, self.statuses = gpus, [*statuses, 0, 0]

    def cuInit(self, flags: int) -> int:
        return self.statuses[0]

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.gpus
        return self.statuses[1]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Driver(2), None),
        (Driver(0), "NVIDIA's driver finds none"),
        (Driver(0, 100), "NVIDIA's driver finds none (cuInit gives 100)"),
        (Driver(1, 0, 3), "NVIDIA's driver does not count them (cuDeviceGetCount gives 3)"),
    ],
)
def test_the_driver_is_asked_for_gpus(found: Driver, why: str | None, capsys: Captured) -> None:
    assert driver.missing(lambda name: found) == why
    assert driver.main(lambda name: found) == (0 if why is None else 2)
    assert capsys.readouterr().out == (
        "" if why is None else f"nothing was measured, since there is no GPU: {why}\n"
    )


def test_without_a_gpu_make_installs_and_changes_nothing(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    if driver.missing() is None:
        pytest.skip("there is a GPU")
    needed = {"tools", "pyproject.toml", "Makefile"}
    for name in needed:
        (tmp_path / name).symlink_to(ROOT / name)
    command = [make, "bench-cuda", f"PYTHON={sys.executable}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"nothing was measured, since there is no GPU: .*\n", done.stdout)
    assert {path.name for path in tmp_path.iterdir()} == needed


# -- errors of gradients, and what a step needs -----------------------------------------------------


def test_an_error_above_its_bound_is_wrong(capsys: Captured, monkeypatch: Patch) -> None:
    monkeypatch.setitem(gradient_error.BOUNDS, "highest", 1e-9)
    monkeypatch.setattr(gradient_error, "_LAYERS", ("LSTM",))
    assert main(["--stand-in", "--only", "gradient error"]) == 1
    wrong = r"WRONG gradient error: LSTM, H 8, B 2, T 3, float32: \S+ of \w+, at most 1e-09"
    assert re.search(wrong, capsys.readouterr().out)


def test_numbers_that_do_not_arrive_are_found(capsys: Captured, monkeypatch: Patch) -> None:
    kernel = exchange.KERNELS["exchange"]
    changed = kernel.source.replace("total += (a + b)", "total += (a + a)").replace(
        "float32(step % U(7))", "float32(k)"
    )
    assert changed != kernel.source
    monkeypatch.setitem(exchange.KERNELS, "exchange", kernel._replace(source=changed))
    assert main(["--stand-in", "--only", "exchange"]) == 1
    assert "a block has not read what others wrote" in capsys.readouterr().out


# -- times ------------------------------------------------------------------------------------------


def test_a_clock_counts_no_warm_up() -> None:
    durations = iter([50.0, 40.0, 1.0, 5.0, 3.0])
    events: list[Any] = []

    class Event:
        record = synchronize = lambda self: None

    measured = clock.Clock(Event, lambda begin, end: next(durations), warm_up=2, repeats=3)
    found = measured.measure(lambda: events.append(None))
    assert (found.median, found.least) == (3.0, 1.0)
    assert len(events) == 5
    host = clock.of_host()._replace(repeats=1).measure(lambda: None)
    assert 0 <= host.least <= host.median


@pytest.mark.usefixtures("device_stand_in")
def test_layers_are_measured(monkeypatch: Patch) -> None:
    """The tiny LSTM on the emulator, with its two kernels; then a workload that fails, and none after the end."""
    monkeypatch.setattr(tiers, "ALLOWED", "persistent")
    lstm, unknown = workloads_of("rondeau", "highest", tiny=True)[0], Workload("QRNN", 8, 2, 3, "highest")
    monkeypatch.setattr(worker, "workloads_of", lambda *_: [lstm, unknown])
    once = clock.of_cupy()._replace(warm_up=0, repeats=1)
    right, failed = worker.lines("rondeau", "highest", once, float("inf"))
    assert right["figures"].keys() == {"forward", "both", "issued", "forward kernel", "backward kernel"}
    assert all(figure > 0 for figure in right["figures"].values())
    assert failed["error"].startswith("KeyError: 'QRNN' (at of_rondeau.py:")
    rows = [speed._row("rondeau", record, 0.0) for record in (right, failed)]
    assert [row.outcome for row in rows] == ["measured", "WRONG"]
    assert rows[0].figures is not None
    assert rows[0].figures["hidden"] == 8
    assert [line["skipped"] for line in worker.lines("rondeau", "highest", once, 0.0)] == [
        "the minutes were over"
    ] * 2


def test_the_training_step_of_the_recipe_is_measured() -> None:
    found = of_rondeau.measure(Workload("recipe", 8, 2, 3, "highest"), clock.of_host(), "cpu")
    assert found["characters a second"] > 0


@pytest.mark.usefixtures("device_stand_in")
def test_pytorch_runs_the_same_cell() -> None:
    """A loop of operators with the weights of our layer gives its states, and the gradient of its input."""
    torch = pytest.importorskip("torch")
    from tools.cuda_check import of_torch

    layer, loop = nn.Recurrent(of_rondeau.four_gates, 3, 5), of_torch.FourGates(3, 5)
    with torch.no_grad():
        for ours, theirs in (("ih", loop.of_input), ("hh", loop.of_state)):
            theirs.weight.copy_(torch.from_numpy(getattr(layer, f"weight_{ours}_l0").detach().numpy()))
            theirs.bias.copy_(torch.from_numpy(getattr(layer, f"bias_{ours}_l0").detach().numpy()))
    numbers = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    x, same = cases.send(numbers, "cuda"), torch.tensor(numbers, requires_grad=True)
    output, expected = layer.to("cuda")(x)[0], loop(same)[0]
    output.square().sum().backward()
    expected.square().sum().backward()
    assert x.grad is not None
    assert output.detach().cpu().numpy() == pytest.approx(expected.detach().numpy(), rel=1e-5, abs=1e-6)
    assert x.grad.cpu().numpy() == pytest.approx(same.grad.numpy(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        "LSTM",
        "four gates",
        *(pytest.param(kind, marks=pytest.mark.long) for kind in ("recipe", "compiled four gates")),
    ],
)
def test_pytorch_is_measured(kind: str) -> None:
    pytest.importorskip("torch")
    from tools.cuda_check import of_torch

    once = clock.of_host()._replace(warm_up=0, repeats=1)
    found = of_torch.measure(Workload(kind, 8, 2, 3, "highest"), once, "cpu")
    assert found
    assert all(figure > 0 for figure in found.values())
    assert of_torch.machine().keys() == {"PyTorch", "cuDNN"}


def test_both_libraries_do_the_same_works() -> None:
    ours, theirs = (workloads_of(library, "highest") for library in ("rondeau", "torch"))
    assert len({*ours}) == len(ours)
    both = [workload for workload in ours if workload.kind != "layer-normalised LSTM"]
    assert [workload for workload in theirs if not workload.kind.startswith("compiled")] == both
    halves = [workload for workload in workloads_of("torch", "medium") if workload.precision == "half"]
    assert halves == [
        Workload("LSTM", 768, 16, 1024, "half")
    ]  # cuDNN has a kernel of all steps for it in float16 alone
    assert workloads_of("rondeau", "half") == []


def test_without_pytorch_its_times_are_skipped(monkeypatch: Patch) -> None:
    monkeypatch.setattr("tools.cuda_check.speed.find_spec", lambda name: None)
    monkeypatch.setattr(speed, "_tiny", lambda *_: iter(()))
    rows = list(speed.measured(True, float("inf")))
    assert [row.outcome for row in rows] == ["skipped"] * 3
    assert rows[0].detail == "PyTorch is not installed"


@pytest.mark.long
def test_a_process_without_a_gpu_says_so() -> None:
    if rt.cuda.is_available():
        pytest.skip("there is a GPU")
    (record,) = speed._of_process("rondeau", "highest", 60.0)
    assert record["error"].startswith(
        "the process ended with status 1: rondeau.kernels.runtime.devices.DeviceUnavail"
    )


# -- what is kept -----------------------------------------------------------------------------------


def test_results_are_kept_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    report = Report({"GPU": "none"}, path)
    for number in range(2):
        report.add(Row("speed", str(number), "measured", "", 0.5, {"both": 2.5} if number else None))
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        assert [row["name"] for row in rows] == [str(n) for n in range(number + 1)]
    assert "figures" not in rows[0]
    assert bars.Measurements(path).rows == rows
    assert [*tmp_path.iterdir()] == [path]


def _worked(library: str, kind: str, hidden: int, both: float, **others: Any) -> dict[str, Any]:
    workload = {"kind": kind, "hidden": hidden, "batch": 32, "steps": 256, "precision": "highest"}
    return {
        "section": "speed",
        "outcome": "measured",
        "figures": {"library": library, "both": both, **workload, **others},
    }


def test_bars_compare_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    nothing = bars.bars(bars.Measurements(path))
    assert {found for _, _, found in nothing} == {""}
    rows = [
        {"section": "cells", "outcome": "right"},
        {"section": "options", "outcome": "WRONG"},
        {"section": "exchange", "outcome": "measured", "figures": {"blocks": 16, "barrier": 0.75}},
        {"section": "exchange", "outcome": "measured", "figures": {"blocks": 16, "bytes": 8192, "exchange": 0.5}},
        _worked("rondeau", "LSTM", 256, 4.0),
        _worked("torch", "LSTM", 256, 10.0),
        _worked("rondeau", "GRU", 512, 4.0),
        _worked("torch", "GRU", 512, 6.0),
        _worked("rondeau", "four gates", 256, 5.0),
        _worked("torch", "four gates", 256, 100.0),
        _worked("rondeau", "LSTM", 768, 5.0, precision="medium", batch=16, steps=1024),
        _worked("torch", "LSTM", 768, 4.0, precision="half", batch=16, steps=1024),
        {"section": "gradient error", "outcome": "right", "figures": {"precision": "high", "error": 2e-4}},
        {"section": "gradient error", "outcome": "right", "figures": {"precision": "high", "error": 4e-4}},
    ]  # fmt: skip
    path.write_text(json.dumps({"machine": {}, "rows": rows}), encoding="utf-8")
    found = [found for _, _, found in bars.bars(bars.Measurements(path)) if found]
    assert found == ["3 of 4", "0.75 (16)", "16.38 (16)", "1.50 to 2.50", "1.25", "1.25", "20.00", "4.0e-04"]


# -- kernels that are compiled beforehand -----------------------------------------------------------


@pytest.mark.skipif(
    cuda_code.missing() is not None, reason=f"no machine code for GPUs: {cuda_code.missing()}"
)
def test_kernels_are_compiled_beforehand(capsys: Captured, monkeypatch: Patch, tmp_path: Path) -> None:
    """They are in the disk cache then, and keep within their registers."""
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path))
    assert main(["--prepare", "--only", "exchange"]) == 0
    assert re.match(r"exchange +2 kernels, \d+ s\n", capsys.readouterr().out)
    kept = {path.name.partition("-")[0].rpartition(".")[2] for path in tmp_path.rglob("*.bin")}
    assert kept >= {*exchange.KERNELS}
    for kernel in exchange.KERNELS.values():
        (code,) = cuda_code.machine_code(kernel, "float32", ["sm_90"])
        assert code.spills == code.stack == code.shared == 0
        assert not any(".f64" in name for name in cuda_code.instructions(kernel, "float32", "sm_90"))
