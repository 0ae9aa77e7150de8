"""The check of a GPU, run on an emulated one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tools.cuda_check import cases, layers, operators, times
from tools.cuda_check.__main__ import _times, main

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.tensor import _tensor

Captured = pytest.CaptureFixture[str]
SECTIONS = ("random numbers", "cells", "persistent", "operators", "layers")


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
def test_an_emulated_gpu_computes_what_the_cpu_does(
    section: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OUT", str(tmp_path))
    assert main(["--stand-in", "--only", section]) == 0
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "cuda_check.json").read_text(encoding="utf-8"))["rows"]
    assert {row["section"] for row in rows} == {section}
    assert {row["outcome"] for row in rows} == {"right"}
    assert f"{section:18} {len(rows)} right" in printed


@pytest.mark.long
def test_everything_on_an_emulated_gpu(capsys: Captured) -> None:
    assert main(["--stand-in", "--all", "--minutes", "60"]) == 0
    assert "skipped" not in capsys.readouterr().out


def test_a_wrong_number_is_found(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_step_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = times.of_rondeau("GRU", "cpu", {"steps": 2, "batch": 2, "inputs": 3, "hidden": 4})
    assert 0 < ours.issued <= ours.milliseconds
    monkeypatch.setattr(times, "of_rondeau", lambda layer: times.Time(3.0, 2.5))
    monkeypatch.setattr(times, "of_torch", lambda: {"version": "2.13", "LSTM": 1.25, "GRU": 1.5})
    rows = list(_times(float("inf")))
    assert [row.outcome for row in rows] == ["measured"] * 4
    assert [row.detail for row in rows[1:3]] == [
        "3.00 ms, issued in 2.50 ms",
        "1.25 ms, cuDNN in full float32, 2.13",
    ]
    monkeypatch.setattr(times, "of_torch", lambda: {"missing": "PyTorch is not installed"})
    assert list(_times(float("inf")))[-1].outcome == "skipped"
    assert [row.outcome for row in _times(0.0)] == ["skipped"]


@pytest.mark.long
def test_pytorch_without_a_gpu_says_so() -> None:
    if rt.cuda.is_available():
        pytest.skip("there is a GPU")
    assert re.match(r"PyTorch (\S+ sees no GPU|is not installed)", times.of_torch()["missing"])
