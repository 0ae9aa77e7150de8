"""The recurrent layers against PyTorch's: outputs, final states and every gradient, over drawn configurations.

Each seed draws a whole configuration: cell, layers, directions, form of the input, biases, projection, lengths,
dtype and sizes, which part of the result has a cotangent, and the numbers. PyTorch computes in float64, so that
what is compared is our rounding alone.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from comparing import assert_close
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils import rnn as rnn_utils

from .oracles.comparison import as_tuple

torch = pytest.importorskip("torch")

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # of the largest magnitude
FORMS = ("dense", "unbatched", "sorted", "unsorted")
SIZES = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 48, 65)  # on both sides of a vector and of a tile
SEEDS = range(320)


@dataclass(frozen=True)
class Drawn:
    cell: str
    form: str
    dtype: str
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    options: dict
    one_hot: bool
    given_states: bool
    cotangents: str

    @property
    def batched(self):
        return self.form != "unbatched"


def draw(rng):
    def maybe(probability=0.5):
        return bool(rng.random() < probability)

    cell = str(rng.choice(["RNN", "GRU", "LSTM"]))
    H = int(rng.choice(SIZES))
    options = {
        "num_layers": int(rng.choice([1, 1, 2, 3])),
        "bias": maybe(0.75),
        "bidirectional": maybe(),
        "batch_first": maybe(),
    }
    if cell == "RNN":
        options["nonlinearity"] = str(rng.choice(["tanh", "relu"]))
    if cell == "LSTM" and H > 1 and maybe():
        options["proj_size"] = int(rng.integers(1, H))
    form = str(rng.choice(FORMS))
    return Drawn(
        cell=cell,
        form=form,
        dtype=str(rng.choice(["float32", "float64"])),
        T=int(rng.integers(1, 13)),
        B=int(rng.choice([1, 2, 3, 4, 7, 8, 9, 17])),
        I=int(rng.choice(SIZES)),
        H=H,
        options=options,
        one_hot=maybe(0.2),
        given_states=maybe(),
        cotangents=str(rng.choice(["both", "both", "output", "states"])),
    )


class Run:
    """One library's result: named outputs, and the named gradients of everything that goes in."""

    def __init__(self, library, layer, packing, drawn, arrays):
        self.tensor = library.tensor
        self.drawn = drawn
        x = self.tensor(arrays["x"])
        if x.dtype == library.int64:
            x = torch.nn.functional.one_hot(x, drawn.I).double() if library is torch else x
        else:
            x.requires_grad_()
        states = tuple(self.tensor(s).requires_grad_() for s in arrays["states"])
        data = x
        if drawn.form in ("sorted", "unsorted"):
            data = packing.pack_padded_sequence(
                x,
                arrays["lengths"].tolist(),
                drawn.options["batch_first"],
                enforce_sorted=drawn.form == "sorted",
            )
        hx = None
        if drawn.given_states:
            hx = states if len(states) > 1 else states[0]
        output, final = layer(data, hx)
        if drawn.form in ("sorted", "unsorted"):
            output, _ = packing.pad_packed_sequence(output, drawn.options["batch_first"])
        self.values = {"output": output}
        self.values.update({f"state {i}": s for i, s in enumerate(as_tuple(final))})
        outputs = [
            v for name, v in self.values.items() if drawn.cotangents in ("both", name.split()[0] + "s", name)
        ]
        loss = sum((v * self.tensor(self.cotangent(v, i))).sum() for i, v in enumerate(outputs))
        loss.backward()
        self.gradients = {"x": x.grad} if x.requires_grad and x.is_leaf else {}
        if drawn.given_states:
            self.gradients.update({f"initial {i}": s.grad for i, s in enumerate(states)})
        self.gradients.update({name: p.grad for name, p in layer.named_parameters()})

    def cotangent(self, value, i):
        rng = np.random.default_rng([i, *value.shape])
        return rng.standard_normal(tuple(value.shape)).astype(str(value.dtype).removeprefix("torch."))


def draw_arrays(rng, drawn):
    D = 2 if drawn.options["bidirectional"] else 1
    lead = (drawn.T, drawn.B) if drawn.batched else (drawn.T,)
    if drawn.options["batch_first"] and drawn.batched:
        lead = lead[::-1]
    batch = (drawn.B,) if drawn.batched else ()
    rows = drawn.options["num_layers"] * D
    widths = [drawn.options.get("proj_size", drawn.H), drawn.H][: 2 if drawn.cell == "LSTM" else 1]
    lengths = rng.integers(1, drawn.T + 1, drawn.B)
    if drawn.form == "sorted":
        lengths = np.sort(lengths)[::-1]
    return {
        "x": rng.integers(0, drawn.I, lead) if drawn.one_hot else rng.standard_normal((*lead, drawn.I)),
        "states": [rng.standard_normal((rows, *batch, width)) for width in widths],
        "lengths": lengths,
    }


def cast(arrays, dtype):
    """Round the floating-point arrays to a dtype."""
    floating = arrays["x"].dtype.kind == "f"
    return {
        **arrays,
        "x": arrays["x"].astype(dtype) if floating else arrays["x"],
        "states": [state.astype(dtype) for state in arrays["states"]],
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drawn_configuration_equals_pytorch(seed):
    rng = np.random.default_rng(seed)
    drawn = draw(rng)
    arrays = cast(draw_arrays(rng, drawn), drawn.dtype)
    theirs_layer = getattr(torch.nn, drawn.cell)(drawn.I, drawn.H, dtype=torch.float64, **drawn.options)
    weights = {
        name: rng.uniform(-1, 1, tuple(w.shape)) / np.sqrt(drawn.H)
        for name, w in theirs_layer.state_dict().items()
    }
    weights = {name: w.astype(drawn.dtype) for name, w in weights.items()}
    theirs_layer.load_state_dict({name: torch.tensor(w).double() for name, w in weights.items()})
    ours_layer = getattr(nn, drawn.cell)(drawn.I, drawn.H, dtype=drawn.dtype, **drawn.options)
    ours_layer.load_state_dict(weights)

    ours = Run(rt, ours_layer, rnn_utils, drawn, arrays)
    theirs = Run(torch, theirs_layer, torch.nn.utils.rnn, drawn, cast(arrays, "float64"))

    tolerance = TOLERANCE[drawn.dtype]
    for name, value in theirs.values.items():
        assert_close(ours.values[name], value, of_largest=tolerance, what=f"{name} of {drawn}")
    assert ours.gradients.keys() == theirs.gradients.keys()
    for name, gradient in theirs.gradients.items():
        what = f"gradient of {name} of {drawn}"
        assert_close(ours.gradients[name], gradient, of_largest=tolerance, what=what)


def test_the_draw_covers_what_it_should():
    drawn = [draw(np.random.default_rng(seed)) for seed in SEEDS]
    assert {(d.cell, d.form, d.dtype) for d in drawn} == {
        (cell, form, dtype) for cell in ("RNN", "GRU", "LSTM") for form in FORMS for dtype in TOLERANCE
    }
    for option in ("bias", "bidirectional", "batch_first"):
        assert {(d.cell, d.options[option]) for d in drawn} == {
            (cell, value) for cell in ("RNN", "GRU", "LSTM") for value in (True, False)
        }
    assert {d.options["num_layers"] for d in drawn} == {1, 2, 3}
    assert any(d.options.get("proj_size") == 1 for d in drawn)
    assert any(d.options.get("proj_size", 0) > 8 and d.form == "unsorted" for d in drawn)
    assert {1, 65} <= {d.H for d in drawn}
