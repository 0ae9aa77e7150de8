"""Every built-in cell, and every option of the recurrent layers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

from .cases import Case, gradients, send

__all__ = ["CELLS", "CELLS_IN_FLOAT64", "OPTIONS", "PERSISTENT"]

_STEPS, _BATCH, _INPUTS, _HIDDEN = 7, 5, 4, 12
_LENGTHS = [3, 7, 1, 0, 5]


def _case(
    name: str,
    cell: str,
    features: frozenset[str] = frozenset(),
    hidden: int = _HIDDEN,
    looser: float = 1.0,
    dtype: str = "float32",
    **options: Any,
) -> Case:
    """Return the check of a layer: all states, and the gradients of input, initial states, inputs and parameters."""

    def run(device: str) -> Any:
        rng = np.random.default_rng(4)
        rt.manual_seed(8)
        kind = getattr(nn.cells, cell)
        layer = nn.Recurrent(kind, _INPUTS, hidden, dtype=dtype, **options)
        for _, parameter in layer.named_parameters():
            parameter.data[...] += 0.2 * rng.standard_normal(parameter.shape).astype(dtype)
        layer = copy.deepcopy(layer).to(device)

        def drawn(*shape: int) -> rt.Tensor:
            return send(rng.standard_normal(shape).astype(dtype), device)

        ids = rng.integers(0, _INPUTS, (_STEPS, _BATCH))
        x = send(ids, device) if "ids" in features else drawn(_STEPS, _BATCH, _INPUTS)
        leaves = [*layer.named_parameters(), ("x", x)]
        directions = layer.num_layers * layer.num_directions
        given: dict[str, Any] = {}
        if "initial" in features:
            widths = [layer.proj_size or hidden] + [hidden] * (len(kind.states) - 1)
            states = [drawn(directions, _BATCH, width).abs().detach().requires_grad_() for width in widths]
            leaves += [(f"initial {state}", value) for state, value in zip(kind.states, states, strict=True)]
            given["hx"] = states[0] if len(states) == 1 else tuple(states)
        if kind.inputs:
            shapes = {"step": (_STEPS, _BATCH), "sequence": (_BATCH, hidden)}
            given["inputs"] = {input_: drawn(*shapes[when]) for input_, when in kind.inputs.items()}
            leaves += given["inputs"].items()
        if "lengths" in features:
            given["lengths"] = _LENGTHS
        if "reset" in features:
            given["reset"] = rng.random((_STEPS, _BATCH)) < 0.3
        found = layer.all_states(x, **given) if "all states" in features else layer(x, **given)
        return gradients(found, leaves)

    return Case(name, run, looser)


def _normalised(cell: str) -> float:
    """Return how loosely a cell is compared: near zero variance a normalisation multiplies rounding."""
    return 100.0 if cell in ("gru_layer_norm", "li_gru", "lstm_layer_norm") else 1.0


def _options_of(cell: str) -> dict[str, Any]:
    return {"proj_size": 5} if cell == "lstm_projected" else {}


def _cells(dtype: str) -> list[Case]:
    features = frozenset({"lengths", "initial", "all states"})
    return [
        _case(
            cell,
            cell,
            features,
            dtype=dtype,
            looser=_normalised(cell),
            bidirectional=True,
            **_options_of(cell),
        )
        for cell in nn.cells.__all__
    ]


CELLS = _cells("float32")
"""Every cell in both directions, with sequences that end, initial states, and gradients of all states."""
CELLS_IN_FLOAT64 = _cells("float64")
PERSISTENT = [
    *CELLS,
    *(
        _case(f"{cell}, {hidden} units", cell, frozenset({"lengths", "initial"}), hidden, looser=5)
        for cell in ("lstm", "gru", "gru_original")
        for hidden in (64, 100, 128, 256, 512)
    ),
]
"""The same with all steps in one kernel, where the cell allows it, and sizes that are cut in other ways."""

_DRAWN: dict[str, Any] = {"recurrent_dropout": 0.3, "zoneout": 0.2}

OPTIONS = [
    _case("ids for input", "lstm", frozenset({"ids"})),
    _case("resets", "gru", frozenset({"reset", "initial"})),
    _case("resets and lengths, two layers", "lstm", frozenset({"reset", "lengths"}), num_layers=2),
    _case("learned initial states", "lstm", frozenset({"reset"}), learn_initial_state=True),
    _case("without bias", "gru", bias=False),
    _case("heads", "lstm", num_heads=3),
    _case("heads of a second product", "gru_original", num_heads=4),
    _case("a projection", "lstm", frozenset({"initial"}), proj_size=5),
    _case("recurrent dropout and zoneout", "lstm", frozenset({"lengths"}), **_DRAWN),
    _case("recurrent dropout of a projection", "lstm", proj_size=5, recurrent_dropout=0.3),
    _case("dropped weights", "gru", weight_dropout=0.3),
    _case("noise", "ctrnn", frozenset({"reset"})),
    _case("noise, recomputed", "ctrnn", recompute_every=3),
    _case("recomputation", "lstm", frozenset({"lengths"}), recompute_every=2, **_DRAWN),
    _case("truncation", "gru", frozenset({"lengths"}), bptt_truncate=2),
    _case("several blocks a row", "lstm", hidden=300, looser=5),
    _case("sums over several passes of a block", "gru_layer_norm", hidden=300, looser=200),
]
"""The options of recurrent layers, each with one cell."""


def _packed(device: str) -> Any:
    """Run a packed batch through PyTorch's names, and its states by the single step of a cell."""
    rt.manual_seed(2)
    layer = nn.GRU(4, 6, num_layers=2).to(device)
    rng = np.random.default_rng(5)
    x = send(rng.standard_normal((7, 5, 4)).astype(np.float32), device)
    packed = nn.utils.rnn.pack_padded_sequence(x, [3, 7, 1, 2, 5], enforce_sorted=False)
    output, final = layer(packed)
    padded, _ = nn.utils.rnn.pad_packed_sequence(output)
    return gradients((padded, final), [*layer.named_parameters(), ("x", x)])


def _steps(device: str) -> Any:
    """Take single steps, by a cell and by a stepper, without and with gradients."""
    rt.manual_seed(6)
    cell = nn.LSTMCell(4, 6).to(device)
    layer = nn.LSTM(4, 6, num_layers=2).to(device)
    rng = np.random.default_rng(7)
    x = send(rng.standard_normal((3, 5, 4)).astype(np.float32), device)
    state = cell(x[1], cell(x[0]))
    found = gradients(state, [*cell.named_parameters(), ("x", x)])
    stepper, carried = nn.Stepper(layer), None
    with rt.no_grad():
        for t in range(3):
            output, carried = stepper(x[t].detach(), carried)
    return found | {"stepper": output, "carried": carried}


OPTIONS += [Case("a packed batch", _packed), Case("single steps", _steps)]
