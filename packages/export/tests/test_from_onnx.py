"""Graphs of ONNX as modules: those of PyTorch, of Keras' layout, and our own."""

import warnings

import numpy as np
import pytest

from comparing import assert_close
from onnx_graphs import Graph
from onnx_of_others import (
    DENSE,
    Theirs,
    export_by_tracing,
    keras_sequences,
    node,
    onnx,
    saved,
    torch,
    weights_of,
)
from rondeau import export, nn
from rondeau import tensor as rt
from rondeau.export._onnx.constants import array_of
from rondeau.export._onnx.file import read_graph

pytest.importorskip("onnxruntime")


def export_by_dynamo(model, x, path):
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        auto = torch.export.Dim.AUTO
        program = torch.onnx.export(
            model, (x,), dynamo=True, verbose=False, dynamic_shapes=({0: auto, 1: auto},)
        )
        onnx.save(program.model_proto, path)


def agrees_with_torch(model, x, path, write):
    model.eval()
    write(model, x, path)
    chain = export.from_onnx(path)
    with torch.no_grad():
        expected = model(x).numpy()
    assert_close(chain(rt.tensor(x.numpy())).detach().numpy(), expected, rtol=2e-6, atol=2e-6)
    return chain


def drawn_theirs(rng):
    kind = str(rng.choice(["RNN", "GRU", "LSTM"]))
    options = {
        "num_layers": int(rng.integers(1, 4)),
        "bias": bool(rng.integers(4)),
        "batch_first": bool(rng.integers(2)),
    }
    options |= {"nonlinearity": str(rng.choice(["tanh", "relu"]))} if kind == "RNN" else {}
    reads = str(rng.choice(["y", "y", "h", "last"]))
    options |= {"bidirectional": reads == "y" and bool(rng.integers(2))}
    ids = bool(rng.integers(2))
    model = Theirs(kind, ids, bool(rng.integers(2)), reads, bool(rng.integers(3)), **options)
    return model, torch.randint(0, 11, (3, 6)) if ids else torch.randn(3, 6, 5)


@pytest.mark.parametrize("seed", range(12))
def test_drawn_models_of_torch_traced(seed, tmp_path):
    torch.manual_seed(seed)
    model, x = drawn_theirs(np.random.default_rng(seed))
    agrees_with_torch(model, x, tmp_path / "model.onnx", export_by_tracing)


@pytest.mark.long  # the exporter takes seconds for each
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2},
        {"ids": True, "norm": True},
        {"ids": True, "norm": True, "bidirectional": True, "batch_first": True},
        {"reads": "last", "batch_first": True},
        {"reads": "h", "num_layers": 2},
        {"bidirectional": True, "num_layers": 2, "bias": False},
    ],
)
def test_models_of_torch_by_dynamo(kind, options, tmp_path):
    torch.manual_seed(1)
    model = Theirs(kind, **options)
    x = torch.randint(0, 11, (3, 6)) if options.get("ids") else torch.randn(3, 6, 5)
    agrees_with_torch(model, x, tmp_path / "model.onnx", export_by_dynamo)


def test_a_chain_that_reads_the_last_step_alone(tmp_path):
    torch.manual_seed(2)
    model = Theirs("GRU", reads="h", num_layers=2)
    chain = agrees_with_torch(model, torch.randn(4, 2, 5), tmp_path / "model.onnx", export_by_tracing)
    assert chain.last_step
    x = rt.randn(6, 3, 5)
    short = [chain(x[:length, row : row + 1]).detach().numpy()[0] for row, length in enumerate([6, 2, 4])]
    assert_close(chain(x, lengths=[6, 2, 4]).detach().numpy(), np.array(short), rtol=1e-6, atol=1e-6)


def test_files_that_torch_writes_beside_a_model(tmp_path):
    torch.manual_seed(3)
    model, path = Theirs("LSTM"), tmp_path / "model.onnx"
    export_by_tracing(model, torch.randn(4, 2, 5), path)
    proto = onnx.load(path)
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(
        export.ExportError, match=r"is in another file, 'weights.bin': pass external_data=True"
    ):
        export.from_onnx(path)
    x = torch.randn(6, 3, 5)
    found = export.from_onnx(path, external_data=True)(rt.tensor(x.numpy()))
    assert_close(found.detach().numpy(), model(x).detach().numpy(), rtol=2e-6, atol=2e-6)


def test_what_we_write_is_read(tmp_path):
    for name in (
        "rnn_tanh",
        "rnn_relu",
        "linear_rnn",
        "gru",
        "gru_original",
        "lstm",
        "lstm_coupled",
        "lstm_peephole",
    ):
        rt.manual_seed(4)
        layer = nn.Recurrent(getattr(nn.cells, name), 3, 4, 2, bidirectional=True)
        for parameter in layer.parameters():
            parameter.data += 0.1 * rt.randn(*parameter.shape)
        model = export.Chain(
            nn.Embedding(6, 3), layer, nn.LayerNorm(8), nn.Linear(8, 2), nn.Softplus(), nn.GELU("tanh")
        )
        written = export.to_onnx(model, tmp_path, name, "sequence", lengths=True)
        if name == "linear_rnn":  # the written out softplus is not read back
            with pytest.raises(export.ExportError, match="depends on what is not read: operator 'Where'"):
                export.from_onnx(written.files[0])
        model = model[:4]
        written = export.to_onnx(model, tmp_path, name, "sequence", lengths=True, overwrite=True)
        again = export.from_onnx(written.files[0])
        ids, lengths = rt.tensor([[1, 5], [0, 2], [3, 3]]), [3, 2]
        assert_close(
            again(ids, lengths).detach().numpy(), model(ids, lengths).detach().numpy(), rtol=1e-6, atol=1e-6
        )
        layers = [type(module).__name__ for module in again]
        assert len(layers) == 5
        assert layers[1] in ("RNN", "GRU", "LSTM", "Recurrent")


def test_one_hot_ids_are_read(tmp_path):
    rt.manual_seed(5)
    model = nn.LanguageModel(7, "gru", 5)
    written = export.to_onnx(model, tmp_path, form="sequence", batch_first=True)
    chain = export.from_onnx(written.files[0])
    ids = rt.tensor([[1, 5, 6], [0, 2, 2]])
    logits, _ = model(ids)
    found = chain(ids).transpose(0, 1).reshape(-1, 7)
    assert_close(found.detach().numpy(), logits.detach().numpy(), rtol=1e-6, atol=1e-6)
    assert [path.suffix for path in export.to_c(chain, tmp_path, takes_ids=True).files] == [".h", ".c"]


def test_learned_states_are_not_lost_in_silence(tmp_path):
    layer = nn.GRU(2, 3, learn_initial_state=True)
    written = export.to_onnx(layer, tmp_path, form="sequence")
    assert isinstance(export.from_onnx(written.files[0])[0], nn.GRU)  # they are zero so far
    with rt.no_grad():
        layer.initial_h_l0.fill_(0.5)
    written = export.to_onnx(layer, tmp_path, form="sequence", overwrite=True)
    with pytest.raises(export.ExportError, match="begins with learned states"):
        export.from_onnx(written.files[0])


# ---------------------------------------------------------------- the layout of Keras


@pytest.mark.parametrize("opset", [12, 15])
@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_sequences_as_keras_has_them(op, gates, opset, tmp_path):
    nodes, constants = keras_sequences(op, gates, np.random.default_rng(0), opset)
    path = saved(tmp_path / "k.onnx", nodes, constants, opset=opset)
    chain = export.from_onnx(path)
    assert [type(module) for module in chain] == [getattr(nn, op), nn.Linear, nn.Softmax]
    assert chain[0].batch_first
    x = rt.randn(2, 5, 3)
    assert_close(chain(x).detach().numpy(), Graph(path)(x.numpy())[0], rtol=2e-6, atol=2e-6)


def test_the_last_step_and_both_directions_as_keras_has_them(tmp_path):
    rng = np.random.default_rng(1)
    forward, backward = weights_of(4, 5, 4, rng), weights_of(4, 5, 4, rng)
    upper = weights_of(3, 8, 4, rng)
    constants = {f"{n}1": a for n, a in forward.items()} | {f"{n}2": a for n, a in backward.items()}
    constants |= {f"{n}3": a for n, a in upper.items()} | DENSE
    constants |= {
        "table": rng.standard_normal((9, 5)).astype(np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
    }
    nodes = [
        node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        node("Gather", ["table", "ids"], ["vectors"]),
        node("Transpose", ["vectors"], ["turned"], perm=[1, 0, 2]),
        node("LSTM", ["turned", "W1", "R1", "B1"], ["every1"], hidden_size=4),
        node("LSTM", ["turned", "W2", "R2", "B2"], ["every2"], hidden_size=4, direction="reverse"),
        node("Squeeze", ["every1", "one"], ["steps1"]),
        node("Squeeze", ["every2", "one"], ["steps2"]),
        node("Concat", ["steps1", "steps2"], ["both"], axis=2),
        node("GRU", ["both", "W3", "R3", "B3"], ["", "last"], hidden_size=4, linear_before_reset=1),
        node("Squeeze", ["last", "zero"], ["state"]),
        node("Gemm", ["state", "kernel", "bias"], ["y"]),
    ]
    path = saved(tmp_path / "k.onnx", nodes, constants, x=("b", "t"), x_type=onnx.TensorProto.INT32)
    chain = export.from_onnx(path)
    assert [type(module).__name__ for module in chain] == ["Embedding", "LSTM", "GRU", "Linear"]
    assert chain.last_step
    ids = rng.integers(0, 9, (2, 5))
    expected = Graph(path)(ids.astype(np.int32))[0]
    assert_close(chain(rt.tensor(ids)).detach().numpy(), expected, rtol=2e-6, atol=2e-6)


def test_a_coupled_forget_gate_is_read(tmp_path):
    rng = np.random.default_rng(3)
    nodes = [
        node("LSTM", ["x", "W", "R", "B"], ["every"], hidden_size=4, input_forget=1),
        node("Squeeze", ["every", "one"], ["y"]),
    ]
    path = saved(tmp_path / "k.onnx", nodes, weights_of(4, 3, 4, rng) | {"one": np.array([1])})
    chain = export.from_onnx(path)
    assert chain[0].cell is nn.cells.lstm_coupled
    x = rt.randn(5, 2, 3)
    assert_close(chain(x).detach().numpy(), Graph(path)(x.numpy())[0], rtol=2e-6, atol=2e-6)


def test_numbers_one_by_one_as_onnx_packs_them(tmp_path):
    numbers = [0, 1, -1, 127, 128, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1]
    constant = onnx.helper.make_tensor("w", onnx.TensorProto.INT64, [len(numbers)], numbers)
    record = read_graph(
        onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [constant])).SerializeToString()
    ).constants[0]
    assert array_of(record).tolist() == numbers


def test_both_directions_of_one_operator_cut_apart(tmp_path):
    rng = np.random.default_rng(2)
    nodes = [
        node("GRU", ["x", "W", "R", "B"], ["every"], hidden_size=4, direction="bidirectional"),
        node("Split", ["every"], ["first", "second"], axis=1),
        node("Squeeze", ["first", "one"], ["left"]),
        node("Squeeze", ["second", "one"], ["right"]),
        node("Concat", ["left", "right"], ["y"], axis=-1),
    ]
    constants = weights_of(3, 3, 4, rng, 2) | {"one": np.array([1])}
    path = saved(tmp_path / "k.onnx", nodes, constants)
    chain = export.from_onnx(path)
    assert chain[0].cell is nn.cells.gru_original  # the reset before the product
    x = rt.randn(5, 2, 3)
    assert_close(chain(x).detach().numpy(), Graph(path)(x.numpy())[0], rtol=2e-6, atol=2e-6)
