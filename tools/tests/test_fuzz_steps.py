"""The fuzzer's oracle of recurrent steps: named inputs, noise and computed weights; faults of them are found."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tools.fuzz import int8, named_inputs, noise, parametrised
from tools.fuzz.cells import driven
from tools.fuzz.drawing import Chosen, Draw
from tools.fuzz.targets.recurrent import recurrent
from tools.fuzz.targets.sequence import sequence
from tools.fuzz.targets.single_step import single_step
from tools.fuzz.targets.stepping import stepping
from tools.fuzz.worker import run_call

from rondeau import nn

TARGETS = (recurrent, sequence, single_step, stepping)


class OfFed(Draw):
    """Draws of a call of one cell, which reads an input and draws noise, in one dtype: few kernels to compile."""

    def choose(self, options: Sequence[Chosen]) -> Chosen:
        """Return that cell's name from among others."""
        named = [option for option in options if isinstance(option, str) and option == "fed"]
        return named[0] if named else super().choose(options)

    def dtype(self) -> np.dtype[Any]:
        """Return float64."""
        return np.dtype(np.float64)


class InInt8(Draw):
    """Draws of steppers of an RNN in float32 with weights in int8."""

    def choose(self, options: Sequence[Chosen]) -> Chosen:
        """Return that cell's name from among others."""
        named = [option for option in options if isinstance(option, str) and option == "rnn_tanh"]
        return named[0] if named else super().choose(options)

    def dtype(self) -> np.dtype[Any]:
        """Return float32."""
        return np.dtype(np.float32)

    def note(self, name: str, value: Chosen) -> Chosen:
        """Record a value, and return it; int8 as the format of weights."""
        return super().note(name, "int8" if name == "weights" else value)  # type: ignore[return-value]


def outcomes(*targets: Callable[[Draw], None], calls: int = 15, draw: type[Draw] = OfFed) -> Counter[str]:
    """Return how often calls end in each way."""
    found: Counter[str] = Counter()
    for target in targets:
        for index in range(calls):
            outcome, report = run_call(target, draw(1, index, target.__name__))
            assert report is None or report["kind"] != "the fuzzer failed", report
            found[outcome] += 1
    return found


def test_a_cell_with_inputs_and_noise_in_every_target() -> None:
    found = outcomes(*TARGETS)
    assert found["finding"] == 0
    assert min(found["result"], found["refused"]) > 10


@pytest.mark.parametrize("target", TARGETS)
def test_noise_of_another_substream_is_found(
    target: Callable[[Draw], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "FIRST", noise.FIRST + 1)
    assert outcomes(target, calls=25)["finding"] > 0


def test_inputs_of_another_layer_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def exchanged(cell: Any, named: Any, layers: int) -> Any:
        return of_layers(cell, named, layers)[::-1]

    of_layers = named_inputs.of_layers
    monkeypatch.setattr(named_inputs, "of_layers", exchanged)
    assert outcomes(stepping, calls=60)["finding"] > 0


def test_steps_with_weights_in_int8_are_those_of_the_weights_that_they_stand_for() -> None:
    found = outcomes(stepping, calls=25, draw=InInt8)
    assert found["finding"] == 0
    assert found["result"] > 10


def test_weights_in_int8_that_are_off_by_half_a_scale_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lowered(matrix: NDArray[Any]) -> NDArray[Any]:
        half = np.abs(matrix).max(axis=1, keepdims=True, initial=0) / (2 * 127)
        found: NDArray[Any] = int8.dequantised(matrix) - half
        return found

    monkeypatch.setitem(stepping.__globals__, "dequantised", lowered)
    assert outcomes(stepping, calls=10, draw=InInt8)["finding"] > 3


def test_every_kind_of_computed_weight_is_that_of_its_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = set()
    for index in range(24):
        draw = Draw(0, index, "computed")
        layer = nn.LSTM(3, 5, proj_size=2, dtype="float64")
        ((name, (original, function)),) = parametrised.parametrise(draw, layer, 1.0).items()
        value = dict(layer.named_parameters())[original].detach().numpy()
        assert np.abs(function(value) - getattr(layer, name).detach().numpy()).max() <= 1e-13
        kinds.add(dict(draw.notes)[f"{name} is computed by"])
    assert kinds == {"mask", "signs", "cayley", "based"}


def test_inputs_are_passed_and_taken_by_layer() -> None:
    sizes, forms = {"step": (4, 2), "sequence": (2,)}, set()
    for index in range(12):
        draw = Draw(0, index, "inputs")
        arrays = named_inputs.draw_inputs(draw, driven, sizes, 5, np.float64, layers=3)
        passed = named_inputs.as_passed(driven, arrays, 3)
        forms.add(type(passed))
        taken = named_inputs.of_layers(driven, arrays, 3)
        for given, of_layer in zip(passed if isinstance(passed, list) else [passed] * 3, taken, strict=True):
            assert list(given) == list(of_layer) == ["dt", "gate"]
            for name, kind in driven.inputs.items():
                value: NDArray[Any] = given[name]
                assert value.shape in (sizes[kind], (*sizes[kind], 5))
                assert of_layer[name].shape == (*sizes[kind], value.size // np.prod(sizes[kind]))
                assert (of_layer[name].ravel() == value.ravel()).all()
    assert forms == {dict, list}
