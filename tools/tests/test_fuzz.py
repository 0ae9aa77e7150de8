"""The fuzzer: a short run of it, and that it notices what is planted for it to find."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # so that the planted targets below import as the worker does
    sys.path.insert(0, str(ROOT))

from tools.fuzz.directional import check_gradients  # noqa: E402
from tools.fuzz.drawing import LAYOUTS, Draw  # noqa: E402
from tools.fuzz.verdict import Finding, Refused, attempt, check_clear, check_close, check_equal  # noqa: E402
from tools.fuzz.worker import run_call  # noqa: E402

from rondeau import nn  # noqa: E402
from rondeau import tensor as rt  # noqa: E402
from rondeau.kernels.product import matmul  # noqa: E402

# ------------------------------------------------------------------------------------- planted, for the worker


def right_result(draw: Draw) -> None:
    a = draw.floats((3, 4), np.float64)
    check_equal("copy", attempt(draw, lambda: a.copy(), a), np.asarray(a))


def clear_exception(draw: Draw) -> None:
    draw.wrong = "shapes that do not fit"
    attempt(draw, lambda: matmul(np.ones((2, 3)), np.ones((2, 3))))


def wrong_result(draw: Draw) -> None:
    a = draw.normal((3, 4), np.float64)
    check_close("planted product", attempt(draw, lambda: a * 1.001, a), a, np.float64, tolerance=1e-9)


def bad_exception(draw: Draw) -> None:
    draw.wrong = "a key that is not there"
    attempt(draw, lambda: os.environ["PLANTED"])


def crash(draw: Draw) -> None:
    if draw.chance(0.5):
        attempt(draw, os.abort)


def changed_input(draw: Draw) -> None:
    a = draw.normal((3,), np.float64)
    attempt(draw, lambda: a.fill(0.0), a)


TARGETS = {
    target.__name__: (target, 1.0)
    for target in (right_result, clear_exception, wrong_result, bad_exception, crash, changed_input)
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.fuzz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)


def run_planted(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("--targets", "tools.tests.test_fuzz", *arguments)


# ------------------------------------------------------------------------------------------------- the library


def test_calls_end_in_a_right_result_or_a_clear_exception() -> None:
    done = run("--calls", "150", "--seed", "1")
    assert "150 calls, seed 1: " in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout


WINDOWS_AND_LOSSES = (
    "convolution",
    "max_pooling",
    "average_pooling",
    "adaptive_pooling",
    "batch_norm",
    "loss",
)


@pytest.mark.parametrize("target", WINDOWS_AND_LOSSES)
def test_windows_normalisation_and_losses_by_themselves(target: str) -> None:
    done = run("--only", target, "--calls", "25", "--seed", "2")
    assert f"| {target} | " in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout


def test_programs_of_views_and_changes_in_place() -> None:
    done = run("--only", "stale_views", "--calls", "150", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr


# --------------------------------------------------------------------------------------------- what it notices


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("wrong_result", "wrong result: planted product[0, 0] should be"),
        ("bad_exception", "bad exception: KeyError: 'PLANTED'"),
        ("changed_input", "changed its input: input 0 has other values after the call"),
    ],
)
def test_a_planted_fault_is_found_with_its_command(target: str, says: str) -> None:
    done = run_planted("--only", target, "--calls", "3")
    assert done.returncode == 1, done.stdout + done.stderr
    assert says in done.stdout
    assert f"--targets tools.tests.test_fuzz --only {target} --replay 0 0" in done.stdout
    assert "3 calls, seed 0: 3 findings of 1 causes" in done.stdout


def test_an_interrupted_run_sums_up_what_it_found() -> None:
    command = [sys.executable, "-m", "tools.fuzz", "--targets", "tools.tests.test_fuzz"]
    command += ["--only", "wrong_result", "--calls", "1000000000"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    ) as process:
        assert process.stdout is not None
        line = ""
        while "wrong result: planted product" not in line:
            line = process.stdout.readline()
            assert line, "it ended before its first finding"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors == ""
    assert "of 1000000000 calls, seed 0: " in out.splitlines()[-1]
    assert "interrupted; " in out
    assert "x wrong_result: wrong result" in out


def test_a_crash_is_found_and_the_calls_behind_it_run() -> None:
    crashes = [Draw(4, index, "crash").chance(0.5) for index in range(4)]
    assert sum(crashes) == 2, "the seed should crash two calls of four"
    done = run_planted("--only", "crash", "--calls", "4", "--seed", "4")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "crash: the process ended by SIGABRT" in done.stdout
    assert f"--only crash --replay 4 {crashes.index(True)}" in done.stdout
    assert "4 calls, seed 4: 2 findings of 1 causes" in done.stdout
    assert "in crash" in done.stdout, "faulthandler's stack should be shown"


def test_what_is_right_is_counted_and_no_finding() -> None:
    for target, outcome in (("right_result", "20 | 0 | 0"), ("clear_exception", "0 | 20 | 0")):
        done = run_planted("--only", target, "--calls", "20")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"| {target} | {outcome} |" in done.stdout


def test_replay_runs_one_call_and_prints_what_it_drew() -> None:
    done = run_planted("--only", "right_result", "--replay", "0", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "call 5 of seed 0: right_result" in done.stdout
    assert "right: a result" in done.stdout


# ------------------------------------------------------------------------------------------------- its verdict


def caught(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("expected an exception")


def test_an_exception_from_below_the_door_is_a_finding() -> None:
    check_clear(caught(lambda: matmul(np.ones((2, 3)), np.ones((2, 3)))))
    with pytest.raises(Finding, match="from below the door"):
        check_clear(caught(lambda: np.ones(3).reshape(2, 2)))
    with pytest.raises(Finding, match="bad exception"):
        check_clear(caught(lambda: 1 // 0))
    with pytest.raises(Finding, match="says too little"):
        check_clear(ValueError("no"))
    check_clear(caught(lambda: rt.ones(2) + rt.ones(3)))  # NumPy's words on broadcasting are clear


def test_a_wrong_call_must_be_refused_and_a_good_one_must_not() -> None:
    draw = Draw(0, 0, "any")
    draw.wrong = "planted"
    with pytest.raises(Finding, match="took a wrong call: planted"):
        attempt(draw, lambda: 1)
    with pytest.raises(Refused):
        attempt(draw, lambda: matmul(np.ones(2), np.ones(2)))
    with pytest.raises(Finding, match="refused a good call"):
        attempt(Draw(0, 0, "any"), lambda: matmul(np.ones(2), np.ones(2)))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_layout_keeps_shape_and_dtype_and_all_but_one_keep_the_values(layout: str) -> None:
    draw = Draw(0, 0, layout)
    for shape in ((3,), (2, 3, 4), (1, 1), (0, 2)):
        values = draw.normal(shape, np.float32)
        given = LAYOUTS[layout](draw, values)
        assert given.shape == shape
        assert given.dtype == np.float32
        assert layout == "repeated" or (given == values).all()


def test_nan_and_infinity_must_stand_where_they_should() -> None:
    wanted = np.array([1.0, np.nan, np.inf])
    check_close("r", wanted.copy(), wanted, np.float64, tolerance=1e-9)
    for other in ([np.nan, np.nan, np.inf], [1.0, 2.0, np.inf], [1.0, np.nan, -np.inf], [1.0, np.nan, 1e300]):
        with pytest.raises(Finding, match="of 3 elements differ"):
            check_close("r", np.array(other), wanted, np.float64, tolerance=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_that_is_wrong_in_one_element_is_found(dtype: type[np.floating[Any]]) -> None:
    at = {"x": np.linspace(-2.0, 2.0, 9)}
    right = (1 - np.tanh(at["x"]) ** 2).astype(dtype)

    def function(values: dict[str, NDArray[Any]]) -> float:
        return float(np.tanh(values["x"]).sum())

    check_gradients(Draw(0, 0, "any"), function, at, {"x": right}, dtype)
    wrong = right.copy()
    wrong[3] *= 1.01
    with pytest.raises(Finding, match="along a drawn direction the gradient gives"):
        check_gradients(Draw(0, 0, "any"), function, at, {"x": wrong}, dtype)


def weights_of_a_layer(draw: Draw) -> None:
    draw.note("weights", nn.Linear(2, 1).weight.detach().numpy().tolist())


def test_a_call_draws_the_same_weights_whatever_ran_before() -> None:
    notes = []
    for before in (0, 3):
        rt.rand(before)
        draw = Draw(0, 0, "weights")
        assert run_call(weights_of_a_layer, draw) == ("result", None)
        notes.append(draw.notes)
    assert notes[0] == notes[1]
