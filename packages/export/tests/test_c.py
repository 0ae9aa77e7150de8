"""Models as C: what they compute, and what is refused.

Steps of every cell are compared in `tests/test_exported_cells.py`.
"""

import ctypes
import re
import subprocess

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from compiled_c import Library, compile_library, compile_program
from rondeau import export, nn
from rondeau import tensor as rt
from rondeau.export._description import describe
from rondeau.export._evaluation import evaluate, make_example
from rondeau.kernels.numerics.rounding import quantise_rows


def layer_of(name: str, inputs: int = 5, hidden: int = 12, num_layers: int = 2) -> nn.Recurrent:
    cell = getattr(nn.cells, name)
    layer = nn.Recurrent(cell, inputs, hidden, num_layers, proj_size=4 if cell.project else 0)
    for parameter in layer.parameters():
        parameter.data += 0.1 * rt.randn(*parameter.shape)
    return layer


def exported(model, folder, name="model", **options):
    result = export.to_c(model, folder, name, **options)
    described = describe(model, options.get("takes_ids"))
    widths = [vector.size for layer in described.layers for vector in layer.initial]
    return Library(compile_library(folder, [name]), name, widths, result.state_bytes), described


def test_an_input_may_be_one_number_for_all_units(tmp_path):
    rt.manual_seed(3)
    library, described = exported(layer_of("cfc"), tmp_path, numbers=["dt"])
    example = make_example(described, frozenset(["dt"]), seed=5)
    assert example.inputs["dt"].shape == (6, 1)
    for t, x in enumerate(example.x):
        y = library.step(x, described.outputs, example.inputs["dt"][t])
        assert_close(y, example.expected.outputs[t], rtol=4e-6, atol=4e-6)


@pytest.mark.parametrize("name", ["gru", "lstm", "lstm_layer_norm", "mlstm", "lstm_projected"])
def test_the_reference_of_exports_is_what_layers_compute(name):
    rt.manual_seed(4)
    layer = layer_of(name).eval()
    x = rt.randn(7, 1, 5)
    output, state = layer(x)
    found = evaluate(describe(layer), x[:, 0].numpy())
    assert_close(found.outputs, output[:, 0], rtol=2e-6, atol=2e-6)
    states = state if isinstance(state, tuple) else (state,)
    for k, final in enumerate(states):
        for number, of_layer in enumerate(found.states):
            expected = final[number, 0].detach().numpy()
            assert_close(of_layer[k][-1], expected, rtol=2e-6, atol=2e-6)


def test_a_language_model_gives_its_logits(tmp_path):
    rt.manual_seed(0)
    model = nn.LanguageModel(11, "gru", 70, 2, embedding_size=6, dropout=0.5, zoneout=0.1).eval()
    library, described = exported(model, tmp_path, "writer")
    ids = [3, 10, 0, 7]
    logits, _ = model(rt.tensor([ids]))
    for t, token in enumerate(ids):
        y = library.step(token, described.outputs)
        assert_close(y, logits[t], rtol=4e-6, atol=4e-6)
    before = library.memory.copy()
    for wrong in (-1, 11):
        given = ctypes.c_int32(wrong), np.zeros(11, np.float32)
        assert library.call("step", library.memory, *given) == -1
    assert_same_bits(library.memory, before)


def test_a_normalisation_may_come_first(tmp_path):
    rt.manual_seed(2)
    model = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2))
    library, _ = exported(model, tmp_path)
    x = rt.randn(3)
    assert_close(library.step(x.numpy(), 2), model(x), rtol=2e-6, atol=2e-6)


def test_squares_in_a_normalisation_may_be_beyond_float(tmp_path):
    """There are no weights here either, and compilers warn of what nothing reads."""
    library, _ = exported(nn.LayerNorm(4, elementwise_affine=False), tmp_path)
    for x in (rt.tensor([1e20, -3e20, 2e19, 0.0]), rt.tensor([1e20, 1e20, 1e20, 1e20])):
        assert_close(library.step(x.numpy(), 4), nn.functional.layer_norm(x, (4,)), rtol=1e-6, atol=1e-6)


@nn.recurrent_cell(gates=("a",), states=("h",), params={"decay": nn.init.ones_})
def _constant_sigmoid(x, r, s, p):
    return s.h * nn.cell_math.sigmoid(p.decay) + x.a


def test_functions_of_constants_alone_are_left_out(tmp_path):
    source = export.to_c(nn.Recurrent(_constant_sigmoid, 2, 3), tmp_path).files[1].read_text()
    assert "model_sigmoid" not in source
    assert "model_exp" not in source


@nn.recurrent_cell(gates=("a",), states=("h",), params={"gain": nn.init.ones_})
def _bounded_gain(x, r, s, p):
    math = nn.cell_math
    return math.tanh(x.a + r.a) * math.clamp(math.relu(p.gain), 0.2, 0.8)


def test_functions_of_learned_vectors_are_there(tmp_path):
    """Which are the same in each step, but computed in it."""
    layer = nn.Recurrent(_bounded_gain, 2, 3)
    library, described = exported(layer, tmp_path)
    x = np.array([[0.5, -1.0]], np.float32)
    assert_close(library.step(x[0], 3), evaluate(described, x).outputs[0], rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_step_that_only_adds_columns(weights, tmp_path):
    layer = nn.Recurrent(nn.cells.min_gru, 3, 2)
    library, _ = exported(layer, tmp_path, takes_ids=True, weights=weights)
    assert library.call("selftest") == 0


def test_chains_of_blocks(tmp_path):
    rt.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(3, 5), nn.LayerNorm(5), nn.GELU(), nn.Softplus(2.0), nn.LeakyReLU(0.2), nn.GELU("tanh"),
        nn.Dropout(0.3), nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Sigmoid(), nn.ReLU(), nn.Softmax(-1),
    ).eval()  # fmt: skip
    library, described = exported(model, tmp_path)
    x = rt.randn(3)
    assert_close(library.step(x.numpy(), 4), model(x), rtol=2e-6, atol=2e-7)
    assert described.outputs == 4


@pytest.mark.parametrize("heads", [1, 3])
def test_options_of_layers(heads, tmp_path):
    rt.manual_seed(2)
    layer = nn.GRU(4, 9, num_heads=heads, learn_initial_state=True).eval()
    with rt.no_grad():
        layer.initial_h_l0.copy_(rt.randn(9))
    nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    library, _ = exported(layer, tmp_path)
    x = rt.randn(5, 1, 4)
    expected = layer(x)[0][:, 0].detach().numpy()
    for t in range(5):
        assert_close(library.step(x[t, 0].numpy(), 9), expected[t], rtol=4e-6, atol=4e-6)


@pytest.mark.parametrize("learned", [False, True])
def test_run_has_lengths_and_resets(learned, tmp_path):
    rt.manual_seed(6)
    layer = nn.LSTM(3, 4, learn_initial_state=learned).eval()
    for name, parameter in layer.named_parameters():
        if name.startswith("initial"):
            parameter.data += rt.randn(*parameter.shape)
    library, _ = exported(layer, tmp_path)
    T, B = 6, 3
    x = rt.randn(T, B, 3)
    lengths, reset = np.array([6, 0, 4], np.uintp), np.zeros((T, B), np.uint8)
    reset[2, 0] = reset[3, 2] = 1
    states, y = np.zeros((B, len(library.memory)), np.float32), np.full((T, B, 4), np.nan, np.float32)
    for state in states:
        library.call("init", state)
    library.call(
        "run",
        states,
        ctypes.c_size_t(B),
        ctypes.c_size_t(T),
        np.ascontiguousarray(x.numpy()),
        lengths,
        reset,
        y,
    )
    expected, _ = layer(x, lengths=[6, 0, 4], reset=reset.astype(bool))
    assert_close(y, expected, rtol=4e-6, atol=4e-6)


def test_int8_is_the_rounding_of_steppers(tmp_path):
    rt.manual_seed(9)
    layer, head = nn.LSTM(20, 96), nn.Linear(96, 7)
    library, _ = exported(nn.Sequential(layer, head), tmp_path, weights="int8")
    stepper, state = layer.stepper(head, weights="int8"), None
    for _ in range(4):
        x = rt.randn(20)
        expected, state = stepper(x, state)
        assert_close(library.step(x.numpy(), 7), expected.numpy(), rtol=2e-4, atol=2e-4)
    matrix = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    matrix[2] = 0
    numbers, scales = quantise_rows(matrix)
    assert (np.abs(numbers * scales[:, None] - matrix) <= scales[:, None] * (0.5 + 2**-17)).all()
    assert np.abs(numbers).max(1).tolist() == [127, 127, 0, 127, 127]


@pytest.mark.parametrize("flags", [(), ("-DMODEL_LIBM",)])
def test_the_program_checks_itself(flags, tmp_path):
    rt.manual_seed(10)
    export.to_c(nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2)), tmp_path)
    done = subprocess.run([compile_program(tmp_path, "model", *flags)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "6 steps agree with the library\n")
    source = tmp_path / "model.c"
    text = source.read_text()
    weights = re.search(r"static const float model_weights\[\d+\] = \{\n    (\S+)f,", text)
    source.write_text(text.replace(weights[1], str(float(weights[1]) + 0.5), 1))
    done = subprocess.run([compile_program(tmp_path, "model", *flags)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "step 1 differs from the library\n")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: nn.GRU(3, 4, bidirectional=True), {}, "GRU.0 runs in both directions"),
        (
            lambda: nn.Sequential(nn.Linear(2, 3), nn.Conv1d(3, 3, 1)),
            {},
            r"1 \(Conv1d\) has no exported form",
        ),
        (
            lambda: nn.Sequential(nn.Linear(2, 3), nn.GRU(2, 3)),
            {},
            "1.0 reads 2 numbers, but 0 before it has 3",
        ),
        (lambda: nn.Sequential(nn.ReLU()), {}, "comes first, where the number of its inputs is unknown"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softmax(0)), {}, "works along dimension 0"),
        (lambda: nn.Dropout(0.5), {}, "has no layer that could be exported"),
        (lambda: nn.GRU(3, 4), {"name": "a b"}, "name must be a letter"),
        (lambda: nn.GRU(3, 4), {"weights": "int4"}, 'weights must be "float32" or "int8"'),
        (lambda: nn.GRU(3, 4), {"tokens": ["a"]}, "this model reads numbers: leave them out"),
        (lambda: nn.GRU(3, 4), {"numbers": ["dt"]}, "no cell has an input 'dt'"),
        (lambda: nn.Linear(3, 4), {"takes_ids": True}, "reads numbers, not ids"),
        (lambda: nn.LanguageModel(3, "gru", 4), {"takes_ids": False}, "reads ids: leave takes_ids out"),
        (lambda: 3, {}, "model must be a module of rondeau.nn, got int"),
    ],
)
def test_refused(model, options, message, tmp_path):
    with pytest.raises(export.ExportError, match=message):
        export.to_c(model(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
