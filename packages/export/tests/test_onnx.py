"""Models as ONNX: every cell in the step form, sequences against the layers, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from comparing import assert_close
from onnx_graphs import Graph, distance
from rondeau import export, nn
from rondeau import tensor as rt
from rondeau.export._description import describe
from rondeau.export._evaluation import evaluate, make_example
from rondeau.export.check import check, main
from rondeau.nn import cell_math as m

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NUMBERS = {"cfc": ["dt"]}
STEPS = 200


def layer_of(name, inputs=5, hidden=12, num_layers=2, **options):
    cell = getattr(nn.cells, name)
    options |= {"proj_size": 4} if cell.project else {}
    layer = nn.Recurrent(cell, inputs, hidden, num_layers, **options)
    for parameter in layer.parameters():
        parameter.data += 0.1 * rt.randn(*parameter.shape)
    return layer


def exported(model, folder, name="model", form="step", **options):
    result = export.to_onnx(model, folder, name, form, **options)
    return Graph(result.files[0])


def steps_of(described, numbers, T, seed=0):
    """Inputs of T steps, and what the library makes of them in float32 and in float64."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, described.inputs, T) if described.takes_ids else None
    if x is None:
        x = rng.standard_normal((T, described.inputs)).astype(np.float32)
    inputs = {}
    for layer in described.layers:
        for name, kind in layer.cell.inputs.items():
            drawn = rng.uniform(0.25, 1, (T, 1 if name in numbers else layer.hidden)).astype(np.float32)
            inputs.setdefault(name, drawn if kind == "step" else np.repeat(drawn[:1], T, 0))
    return x, inputs, *(evaluate(described, x, inputs, numbers, dtype) for dtype in (np.float32, np.float64))


@pytest.mark.parametrize("name", nn.cells.__all__)
def test_every_cell_step_by_step(name, tmp_path):
    rt.manual_seed(3)
    numbers = frozenset(NUMBERS.get(name, []))
    layer = layer_of(name)
    graph, described = exported(layer, tmp_path, numbers=numbers), describe(layer)
    graph.check()
    assert check(graph.path) == 6
    x, inputs, single, double = steps_of(described, numbers, STEPS)
    before, after = [], []
    for block, states in zip(described.layers, single.states, strict=True):
        before += [np.concatenate([i[None], s[:-1]]) for i, s in zip(block.initial, states, strict=True)]
        after += states
    noise = [draw for draws in single.noise for draw in draws]
    # Every step from the library's own state: the steps are the rows of a batch.
    found = graph(x, *before, *inputs.values(), *noise)
    for value, expected in zip(found, (single.outputs, *after), strict=True):
        assert_close(value, expected, rtol=2e-6, atol=2e-6)
    # Running free.
    states, outputs = [vector[None] for block in described.layers for vector in block.initial], []
    for t in range(STEPS):
        others = [array[t : t + 1] for array in (*inputs.values(), *noise)]
        y, *states = graph(x[t : t + 1], *states, *others)
        outputs.append(y[0])
    assert distance(outputs, double.outputs) <= max(2e-6, 8 * distance(single.outputs, double.outputs))


@pytest.mark.parametrize("name", ["lstm", "gru_layer_norm", "mlstm", "rg_lru", "slstm", "cfc"])
def test_the_reference_evaluator_of_onnx_agrees(name, tmp_path):
    rt.manual_seed(4)
    graph = exported(layer_of(name, hidden=3, num_layers=1), tmp_path, numbers=NUMBERS.get(name, []))
    inputs, outputs = graph.example()
    for case in range(2):
        found = graph.reference({key: value[case] for key, value in inputs.items()})
        for value, (key, expected) in zip(found, outputs.items(), strict=True):
            assert_close(value, expected[case], rtol=2e-6, atol=2e-6, what=key)


@pytest.mark.parametrize("name", ["lstm", "lstm_coupled", "gru", "gru_original", "rnn_tanh", "lstm_peephole"])
def test_the_reference_evaluator_of_onnx_agrees_on_sequences(name, tmp_path):
    """It has one direction, and ignores lengths."""
    rt.manual_seed(4)
    graph = exported(nn.Sequential(layer_of(name), nn.Linear(12, 2)), tmp_path, form="sequence")
    inputs, outputs = graph.example()
    found = graph.reference({key: value[0] for key, value in inputs.items()})
    for value, (key, expected) in zip(found, outputs.items(), strict=True):
        assert_close(value, expected[0], rtol=2e-6, atol=2e-6, what=key)


def test_normalisation_is_one_node_for_each(tmp_path):
    graph = exported(layer_of("lstm_layer_norm", num_layers=1), tmp_path)
    assert graph.count("LayerNormalization") == 3
    assert graph.count("ReduceSum") == graph.count("Sqrt") == 0
    assert exported(layer_of("lstm", num_layers=1), tmp_path, "lstm").operators == {
        "Gemm": 2, "Split": 1, "Sigmoid": 3, "Tanh": 2, "Mul": 3, "Add": 1, "Identity": 1
    }  # fmt: skip


@nn.recurrent_cell(gates=("a", "b"), states=("h", "u"), params={"p": nn.init.ones_})
def _parts(x, r, s, p):
    first, second = m.layer_norm((x.a, x.b), (p.p, p.p))
    mean = m.layer_norm(x.a + r.a, eps=0.25)
    return m.tanh(first + second + mean + s.u), p.p * 2 + m.layer_norm(p.p)


def test_normalisation_of_parts_and_states_of_learned_vectors_alone(tmp_path):
    rt.manual_seed(5)
    layer = nn.Recurrent(_parts, 3, 4)
    with rt.no_grad():
        layer.p_l0.copy_(rt.randn(4))
    graph = exported(layer, tmp_path)
    assert check(graph.path) == 6
    assert graph.count("LayerNormalization") == 3


def graph_of(function, folder):
    """A step that applies a function of the cell language to its input."""
    cell = nn.recurrent_cell(gates=("a",), states=("h",))(lambda x, r, s: function(x.a) + 0 * s.h)
    layer = nn.Recurrent(cell, 1, 1, bias=False)
    with rt.no_grad():
        layer.weight_ih_l0.fill_(1)
    return exported(layer, folder)


EDGES = np.array(
    [0, -0.0, 1e-6, -1e-6, 0.1, 0.49, 0.51, -0.51, 3, -30, 80, 1e4, np.inf, -np.inf, np.nan], np.float32
)


@pytest.mark.parametrize(
    ("function", "closed_form"),
    [
        (m.expm1, np.expm1),
        (lambda x: m.log1p(m.abs(x)), lambda x: np.log1p(np.abs(x))),
        (lambda x: m.log1p(-m.abs(x)), lambda x: np.log1p(-np.abs(x))),
        (m.softplus, lambda x: np.logaddexp(x, np.float32(0))),
        (lambda x: m.log(m.sigmoid(x)), lambda x: np.log(np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))))),
        (m.sign, np.sign),
        (m.relu, lambda x: np.maximum(x, 0)),
        (lambda x: m.clamp(x, -1, 1), lambda x: np.minimum(np.maximum(x, -1), 1)),
        (lambda x: m.minimum(0.1, m.maximum(x, -0.5)), lambda x: np.minimum(np.float32(0.1), np.maximum(x, -0.5))),
        (lambda x: m.where(~(x != 3) | (x <= 0) & (x == x), x, 1), lambda x: np.where((x == 3) | (x <= 0), x, 1)),
    ],
)  # fmt: skip
def test_what_onnx_lacks_or_leaves_open_is_written_out(function, closed_form, tmp_path):
    graph = graph_of(function, tmp_path)
    with np.errstate(all="ignore"):
        expected = closed_form(EDGES)
    found = graph(EDGES[:, None], np.zeros((len(EDGES), 1), np.float32))[0][:, 0]
    assert_close(found, expected, rtol=4e-7)


def test_sigmoid_is_one_node_where_its_error_stays_small(tmp_path):
    assert exported(nn.GRU(2, 3), tmp_path).count("Sigmoid") == 2
    assert exported(nn.Recurrent(nn.cells.rg_lru, 2, 3), tmp_path / "other").count("Sigmoid") == 0


@pytest.mark.parametrize(("op", "low"), [("expm1", -3.0), ("log1p", -0.9), ("softplus", -90.0)])
def test_relative_precision_of_what_is_written_out(op, low, tmp_path):
    graph = graph_of(getattr(m, op), tmp_path)
    x = np.concatenate([np.linspace(low, 80, 4001), np.logspace(-30, 0, 400), -np.logspace(-30, -1.1, 400)])
    x = x.astype(np.float32)[:, None]
    found = graph(x, np.zeros_like(x))[0].astype(np.float64)
    exact = x.astype(np.float64)
    exact = {"expm1": np.expm1, "log1p": np.log1p, "softplus": lambda v: np.logaddexp(v, 0)}[op](exact)
    assert (np.abs(found - exact) <= 1e-6 * np.abs(exact) + 1e-37).all()


def test_a_language_model_with_its_tokens(tmp_path):
    rt.manual_seed(0)
    model = nn.LanguageModel(11, "gru", 70, 2, embedding_size=6, dropout=0.5, zoneout=0.1).eval()
    tokens = ['"; import os', "\\\n", *(chr(200 + k) for k in range(9))]
    graph = exported(model, tmp_path, "writer", tokens=tokens)
    assert graph.metadata["tokens"] == tokens
    states = [np.zeros((1, 70), np.float32)] * 2
    ids = [3, 10, 0, 7]
    logits, _ = model(rt.tensor([ids]))
    for t, token in enumerate(ids):
        y, *states = graph(np.array([token]), *states)
        assert_close(y[0], logits[t].detach().numpy(), rtol=4e-6, atol=4e-6)


def test_ids_stand_for_one_hot_rows(tmp_path):
    rt.manual_seed(1)
    layer, head = nn.LSTM(7, 5, bidirectional=True), nn.Linear(10, 3)
    ids = np.array([[0, 6], [3, 2], [5, 1]])
    expected = head(layer(rt.tensor(ids))[0]).detach().numpy()
    graph = exported(nn.Sequential(layer, head), tmp_path, form="sequence", takes_ids=True)
    zeros = np.zeros((2, 2, 5), np.float32)
    assert_close(graph(ids, zeros, zeros)[0], expected, rtol=2e-6, atol=2e-6)
    with pytest.raises(Exception, match="out of data bounds"):
        graph(ids + 1, zeros, zeros)


def test_chains_of_blocks(tmp_path):
    rt.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(3, 5), nn.LayerNorm(5), nn.GELU(), nn.Softplus(2.0), nn.LeakyReLU(0.2), nn.GELU("tanh"),
        nn.Dropout(0.3), nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Sigmoid(), nn.ReLU(), nn.LogSoftmax(-1),
        nn.Softmax(-1),
    ).eval()  # fmt: skip
    graph = exported(model, tmp_path)
    graph.check()
    x = rt.randn(6, 3)
    assert_close(graph(x.numpy())[0], model(x).detach().numpy(), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("form", ["step", "sequence"])
def test_options_of_layers(form, heads, tmp_path):
    rt.manual_seed(2)
    layer = nn.GRU(4, 9, num_heads=heads, learn_initial_state=True).eval()
    with rt.no_grad():
        layer.initial_h_l0.copy_(rt.randn(9))
    nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    graph = exported(layer, tmp_path, form=form)
    (state,) = graph.metadata["states"]
    assert (state["input"], state["output"], state["layer"]) == ("h_0", "next_h_0", "GRU.0")
    h = np.array(state["initial"], np.float32)
    x = rt.randn(5, 1, 4)
    expected = layer(x)[0].detach().numpy()
    if form == "sequence":
        found = graph(x.numpy(), h[:, None])[0]
    else:
        found = np.zeros_like(expected)
        for t in range(5):
            found[t], h = graph(x[t].numpy(), h)
    assert_close(found, expected, rtol=4e-6, atol=4e-6)


def through(model, x, lengths):
    """The outputs of a chain, and the states of its layers."""
    states = []
    for module in model:
        if isinstance(module, nn.Recurrent):
            x, state = module(x, lengths=lengths)
            of_layers = [part.detach().numpy() for part in (state if isinstance(state, tuple) else (state,))]
            rows = 2 if module.bidirectional else 1
            for first in range(0, len(of_layers[0]), rows):
                states += [part[first : first + rows] for part in of_layers]
        else:
            x = module(x)
    return x.detach().numpy(), states


CELLS_WITH_OPERATORS = (
    "rnn_tanh", "rnn_relu", "linear_rnn", "gru", "gru_original", "lstm", "lstm_coupled", "lstm_peephole",
)  # fmt: skip


def drawn_stack(rng):
    """A chain with recurrent layers of a drawn cell, and an input for it."""
    name = str(rng.choice(CELLS_WITH_OPERATORS))
    I, H = int(rng.choice([1, 2, 5])), int(rng.choice([1, 3, 8]))  # noqa: E741
    layers, directions = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    bias, from_ids = bool(rng.integers(2)), bool(rng.integers(2))
    layer = layer_of(name, I, H, layers, bidirectional=directions == 2, bias=bias)
    if name == "linear_rnn":  # which may grow without bounds
        for parameter in layer.parameters():
            parameter.data *= 0.3
    blocks = [nn.Embedding(6, I)] if from_ids else [nn.Linear(4, I), nn.Tanh()]
    blocks += [layer, nn.LayerNorm(H * directions), nn.Linear(H * directions, 2)]
    T, B = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    x = rt.tensor(rng.integers(0, 6, (T, B))) if from_ids else rt.randn(T, B, 4)
    return nn.Sequential(*blocks).eval(), x, rng.integers(0, T + 1, B)


@pytest.mark.parametrize("seed", range(10))
def test_drawn_stacks_over_sequences(seed, tmp_path):
    rt.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, x, lengths = drawn_stack(rng)
    graph = exported(model, tmp_path, form="sequence", lengths=True)
    graph.check()
    assert check(graph.path) == 1
    expected, states = through(model, x, lengths.tolist())
    x = x.numpy()
    begin = [np.zeros_like(state) for state in states]
    found = graph(x, *begin, lengths.astype(np.int32))
    for value, wanted in zip(found, (expected, *states), strict=True):
        assert_close(value, wanted, rtol=4e-6, atol=4e-6)
    swapped = exported(model, tmp_path, "batch_first", form="sequence", batch_first=True)
    whole, _ = through(model, rt.tensor(x), None)
    assert_close(swapped(np.swapaxes(x, 0, 1), *begin)[0], np.swapaxes(whole, 0, 1), rtol=4e-6, atol=4e-6)


def test_a_graph_of_sequences_goes_on_where_it_ended(tmp_path):
    rt.manual_seed(6)
    model = nn.LSTM(3, 4, 2)
    graph = exported(model, tmp_path, form="sequence")
    x = rt.randn(7, 2, 3).numpy()
    zeros = [np.zeros((1, 2, 4), np.float32)] * 4
    whole = graph(x, *zeros)
    first, *states = graph(x[:3], *zeros)
    second, *states = graph(x[3:], *states)
    assert_close(np.concatenate([first, second]), whole[0], rtol=1e-6, atol=1e-6)
    assert_close(states[3], whole[4], rtol=1e-6, atol=1e-6)


def test_a_cell_of_ones_own_with_the_same_graph_has_the_operator(tmp_path):
    own = nn.recurrent_cell(gates=("h",), states=("h",))(lambda x, r, s: m.tanh(x.h + r.h))
    assert exported(nn.Recurrent(own, 2, 3), tmp_path, form="sequence").count("RNN") == 1


def test_hostile_names_stay_text(tmp_path):
    model = nn.Sequential({'a*/ #error "\n': nn.Embedding(3, 2), "??/'; DROP": nn.GRU(2, 3)})
    graph = exported(model, tmp_path)
    graph.check()
    assert graph.metadata["states"][0]["layer"] == "??/'; DROP.0"
    assert all(name.isidentifier() and name.isascii() for name in graph.names)


@nn.recurrent_cell(
    gates=("int", "ψ"), states=("ids", "β"), params={"y": nn.init.zeros_}, inputs={"x": "step", "é": "step"}
)
def _clashing(x, r, s, p, u):
    next_ids_0 = x.int + r.int * u.x
    return next_ids_0 + p.y, s.ids + x.ψ + r.ψ + s.β * u.é


def test_names_of_a_cell_may_clash_with_those_of_the_graph(tmp_path):
    graph = exported(nn.Recurrent(_clashing, 2, 3), tmp_path)
    graph.check()
    assert check(graph.path) == 6


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: nn.GRU(3, 4, bidirectional=True), {}, "GRU.0 runs in both directions"),
        (lambda: layer_of("slstm"), {"form": "sequence"}, "since its cell is slstm"),
        (lambda: nn.LSTM(3, 4, proj_size=2), {"form": "sequence"}, "LSTM.0 has no operator .* is projected"),
        (
            lambda: nn.GRU(3, 4, zoneout=0.1),
            {"form": "sequence"},
            'its cell is gru with a step that is changed, as by zoneout: export it with form="step"',
        ),
        (lambda: nn.Linear(3, 4), {"form": "sequence"}, "without a recurrent layer has no sequences"),
        (lambda: nn.GRU(3, 4), {"lengths": True}, "lengths is for graphs of whole sequences"),
        (lambda: nn.GRU(3, 4), {"form": "loop"}, 'form must be "step" or "sequence"'),
        (lambda: nn.GRU(3, 4), {"name": "a/b"}, "name must be at most 100 letters"),
        (lambda: nn.GRU(3, 4), {"numbers": ["dt"]}, "no cell has an input 'dt'"),
        (lambda: nn.Conv1d(3, 3, 1), {}, "has no exported form"),
    ],
)
def test_refused(model, options, message, tmp_path):
    with pytest.raises(export.ExportError, match=message):
        export.to_onnx(model(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_check_is_a_command(tmp_path, capsys):
    rt.manual_seed(7)
    graph = exported(nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2)), tmp_path)
    command = [sys.executable, "-m", "rondeau.export.check", graph.path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "6 cases agree with the library\n")
    model = onnx.load(graph.path)
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [2])
    bias.raw_data = np.frombuffer(bias.raw_data, np.float32).__add__(np.float32(0.01)).tobytes()
    onnx.save(model, graph.path)
    assert main([str(graph.path)]) == 1
    assert "output y of case 1 differs from the library's by" in capsys.readouterr().out
    assert main([]) == main([str(tmp_path / "none.onnx")]) == 2


def failure(path, capsys):
    """The line that the check prints where there is nothing to compare."""
    assert main([str(path)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    return said.err


def test_the_check_of_damaged_files_says_so_in_a_line(tmp_path, capsys):
    graph = exported(nn.LSTM(2, 3), tmp_path)
    example, data = graph.path.with_name("model.onnx.npz"), graph.path.read_bytes()
    for damaged in (data[:100], b"", b"text"):
        graph.path.write_bytes(damaged)
        assert "ONNX Runtime does not run" in failure(graph.path, capsys)
    graph.path.write_bytes(data)
    whole = example.read_bytes()
    with np.load(example) as stored:
        arrays = dict(stored)
    flipped = bytearray(whole)
    flipped[whole.index(b"output.y") + 150] ^= 1
    for damaged in (whole[:100], b"", bytes(flipped)):
        example.write_bytes(damaged)
        assert "model.onnx.npz is damaged, export the model again: " in failure(graph.path, capsys)
    without = {name: array[:0] if array.ndim else array for name, array in arrays.items()}
    for wrong in ({"a": np.zeros(3)}, without, arrays | {"tolerance": np.array(np.nan)}):
        np.savez(example, **wrong)
        assert "has no example of an exported graph" in failure(graph.path, capsys)
    np.savez(example, **arrays | {"input.x": arrays["input.x"][..., :1]})
    assert "ONNX Runtime does not run" in failure(graph.path, capsys)
    np.savez(example, **arrays | {"output.y": arrays["output.y"][..., :1]})
    with pytest.raises(ValueError, match=r"case 1 has the shape \(2, 3\), and the library's \(2, 1\)"):
        check(graph.path)
    arrays["output.y"][2, 0, 0] = np.nan
    np.savez(example, **arrays)
    with pytest.raises(ValueError, match="of case 3 differs from the library's where that is not finite"):
        check(graph.path)


def test_nan_in_the_place_of_nan_agrees(tmp_path):
    cell = nn.recurrent_cell(gates=("a",), states=("h",))(lambda x, r, s: m.sqrt(x.a) + 0 * s.h)
    layer = nn.Recurrent(cell, 1, 2)
    with rt.no_grad():
        layer.weight_ih_l0.copy_(rt.tensor([[1.0], [-1.0]]))
        layer.bias_ih_l0.fill_(0.0)
    graph = exported(layer, tmp_path)
    assert np.isnan(graph.example()[1]["y"]).any()
    assert check(graph.path) == 6


def test_what_a_file_says_of_its_states_is_json(tmp_path):
    graph = exported(nn.LSTM(2, 3, 2), tmp_path)
    assert json.loads(graph.properties["rondeau"])["form"] == "step"
    assert [state["input"] for state in graph.metadata["states"]] == ["h_0", "c_0", "h_1", "c_1"]
    assert graph.metadata["states"][0]["initial"] is None


def test_the_same_model_gives_the_same_bytes(tmp_path):
    rt.manual_seed(8)
    layer = layer_of("gru")
    first = [path.read_bytes() for path in export.to_onnx(layer, tmp_path, "a").files]
    second = [path.read_bytes() for path in export.to_onnx(layer, tmp_path, "b").files]
    assert first == second


def test_the_example_of_a_model_without_states_is_of_its_outputs(tmp_path):
    graph = exported(nn.Linear(2, 3), tmp_path)
    assert check(graph.path) == make_example(describe(nn.Linear(2, 3))).x.shape[0]
