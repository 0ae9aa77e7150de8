"""Graphs of ONNX as modules: those of PyTorch, of Keras' layout, our own; and files that are not to be trusted."""

import tracemalloc
import warnings

import numpy as np
import pytest

from comparing import assert_close
from onnx_graphs import Graph
from rondeau import export, nn
from rondeau import tensor as rt

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
helper = onnx.helper


class Theirs(torch.nn.Module):
    """A model of PyTorch with drawn parts."""

    def __init__(self, kind="LSTM", ids=False, norm=False, reads="y", head=True, **options):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 5) if ids else None
        self.recurrent = getattr(torch.nn, kind)(5, 7, **options)
        width = 14 if options.get("bidirectional") else 7
        self.norm = torch.nn.LayerNorm(width) if norm else None
        self.head = torch.nn.Linear(width, 3) if head else None
        self.reads = reads

    def forward(self, x):
        x = x if self.embedding is None else self.embedding(x)
        y, state = self.recurrent(x)
        if self.reads == "h":
            y = (state[0] if isinstance(state, tuple) else state)[-1]
        elif self.reads == "last":
            y = y[:, -1] if self.recurrent.batch_first else y[-1]
        y = y if self.norm is None else self.norm(y)
        return y if self.head is None else torch.log_softmax(torch.relu(self.head(y)), -1)


def export_by_tracing(model, x, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"x": {0: "first", 1: "second"}}
        torch.onnx.export(model, (x,), path, dynamo=False, input_names=["x"], dynamic_axes=axes)


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


def tensor(name, array):
    array = np.asarray(array)
    return helper.make_tensor(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.tobytes(), raw=True
    )


def saved(path, nodes, constants, x=("batch", "time", 3), y=None, opset=15, x_type=onnx.TensorProto.FLOAT):
    """Write a graph from x to y."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", x_type, x)],
        [info("y", onnx.TensorProto.FLOAT, y)],
        [tensor(name, array) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def weights_of(gates, inputs, hidden, rng, directions=1):
    return {
        "W": rng.standard_normal((directions, gates * hidden, inputs)).astype(np.float32),
        "R": rng.standard_normal((directions, gates * hidden, hidden)).astype(np.float32),
        "B": rng.standard_normal((directions, 2 * gates * hidden)).astype(np.float32),
    }


node = helper.make_node
DENSE = {"kernel": np.ones((4, 2), np.float32), "bias": np.array([0.5, -1], np.float32)}


def keras_sequences(op, gates, rng, opset):
    """A stack with return_sequences: batch first, dense layer as a product of rows, in the newer or the older form."""
    squeeze = (
        [node("Squeeze", ["every", "one"], ["steps"])]
        if opset >= 13
        else [node("Squeeze", ["every"], ["steps"], axes=[1])]
    )
    nodes = [
        node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "one", "zero"], ["batch"]),
        node("Concat", ["one", "batch", "four"], ["state_shape"], axis=0),
        node("ConstantOfShape", ["state_shape"], ["state"], value=tensor("v", np.zeros(1, np.float32))),
        node("Slice", ["shape", "one", "two", "zero"], ["time"]),
        node("Tile", ["time", "batch"], ["long_lengths"]),
        node("Cast", ["long_lengths"], ["lengths"], to=onnx.TensorProto.INT32),
        node(op, ["turned", "W", "R", "B", "lengths", "state", *(["state"] if op == "LSTM" else [])], ["every"],
             hidden_size=4, **({"linear_before_reset": 1} if op == "GRU" else {})),
        *squeeze,
        node("Transpose", ["steps"], ["rows"], perm=[1, 0, 2]),
        node("Reshape", ["rows", "flat"], ["matrix"]),
        node("MatMul", ["matrix", "kernel"], ["product"]),
        node("Concat", ["batch", "time", "two"], ["back"], axis=0),
        node("Reshape", ["product", "back"], ["restored"]),
        node("Add", ["restored", "bias"], ["biased"]),
        node("Softmax", ["biased"], ["y"], axis=-1 if opset >= 13 else 2),
    ]  # fmt: skip
    constants = weights_of(gates, 3, 4, rng) | DENSE
    constants |= {n: np.array([v]) for n, v in zip(("zero", "one", "two", "four"), (0, 1, 2, 4), strict=True)}
    return nodes, constants | {"flat": np.array([-1, 4])}


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


# ---------------------------------------------------------------- what is not read


def one_layer(op="LSTM", gates=4, inputs=("x", "W", "R", "B"), outputs=("every",), extra=(), **attributes):
    rng = np.random.default_rng(3)
    last = [node("Squeeze", ["every", "one"], ["y"])]
    nodes = [node(op, list(inputs), list(outputs), hidden_size=4, **attributes), *(extra or last)]
    return nodes, weights_of(gates, 3, 4, rng) | DENSE | {
        "one": np.array([1]),
        "none": np.array([], np.int64),
    }


SQUEEZE = node("Squeeze", ["every", "one"], ["s"])
INVENTED = {
    "hard sigmoid": (
        one_layer(activations=["HardSigmoid", "Tanh", "Tanh"]),
        "activations 'hardsigmoid tanh tanh'",
    ),
    "clip": (one_layer(clip=3.0), "attribute 'clip' is not read"),
    "layout": (one_layer(layout=1), "layout=1 is not read"),
    "direction": (one_layer(direction="sideways"), "direction 'sideways'"),
    "backwards": (one_layer(direction="reverse"), "runs backwards alone"),
    "unknown": (one_layer(extra=[SQUEEZE, node("Mystery", ["s"], ["y"])]), "operator 'Mystery' is not read"),
    "two lines": (one_layer(extra=[SQUEEZE, node("A\nB", ["s"], ["y"])]), r"operator 'A\\nB' is not read"),
    "custom": (
        one_layer(extra=[SQUEEZE, node("Relu", ["s"], ["y"], domain="evil")]),
        "of 'evil' is not read",
    ),
    "loop": (one_layer(extra=[SQUEEZE, node("Loop", ["s"], ["y"])]), "operator 'Loop' is not read"),
    "constant output": (
        one_layer(extra=[node("Identity", ["kernel"], ["y"])]),
        "not computed from its input",
    ),
    "input as output": (one_layer(extra=[node("Identity", ["x"], ["y"])]), "not computed from its input"),
    "missing": (one_layer(extra=[node("Relu", ["nowhere"], ["y"])]), "'Relu' reads 'nowhere', which nothing"),
    "cycle": (one_layer(extra=[node("Relu", ["y"], ["y"])]), "'Relu' reads 'y', which nothing"),
    "twice": (one_layer(extra=[SQUEEZE, node("Relu", ["s"], ["s"])]), "two values have the name 's'"),
    "no inputs": (one_layer(extra=[node("Relu", [], ["y"])]), "Relu has 0 inputs"),
    "many inputs": (one_layer(extra=[SQUEEZE, node("Relu", ["s"] * 9, ["y"])]), "Relu has 9 inputs"),
    "no weights": (one_layer(inputs=("x", "W")), "LSTM has 2 inputs"),
    "left out": (one_layer(inputs=("x", "W", "")), "depends on what is not read"),
    "weights that vary": (one_layer(inputs=("x", "x", "R")), "has W that is not a constant"),
    "order": (
        one_layer(extra=[node("Transpose", ["every"], ["y"], perm=[0, 0, 1, 7])]),
        "an order that does not fit",
    ),
    "short order": (
        one_layer(extra=[node("Transpose", ["every"], ["y"], perm=[0])]),
        "an order that does not fit",
    ),
    "axes": (
        one_layer(extra=[node("Transpose", ["every"], ["y"], perm=[0, 1, 3, 2])]),
        "has not the dimensions",
    ),
    "turned": (
        one_layer(extra=[SQUEEZE, node("Transpose", ["s"], ["y"], perm=[1, 0, 2])]),
        "has not the dimensions of the input",
    ),
    "reversed": (
        one_layer(extra=[SQUEEZE, node("Transpose", ["s"], ["y"])]),
        "has not the dimensions of the input",
    ),
    "a product of products": (
        one_layer(extra=[SQUEEZE, node("MatMul", ["s", "s"], ["y"])]),
        "two values that depend",
    ),
    "a sum": (one_layer(extra=[SQUEEZE, node("Add", ["s", "s"], ["y"])]), "adds what is not a bias"),
    "a shift": (
        one_layer(extra=[SQUEEZE, node("Add", ["s", "bias"], ["y"])]),
        "is not the bias of a product",
    ),
    "a matrix": (one_layer(extra=[SQUEEZE, node("MatMul", ["s", "W"], ["y"])]), "a product has a matrix"),
    "softmax": (
        one_layer(extra=[SQUEEZE, node("Softmax", ["s"], ["y"], axis=0)]),
        "another dimension than the last",
    ),
    "far": (
        one_layer(extra=[SQUEEZE, node("Gather", ["s", "one"], ["y"], axis=77)]),
        "depends on what is not read",
    ),
    "first step": (
        one_layer(extra=[SQUEEZE, node("Gather", ["s", "one"], ["y"])]),
        "depends on what is not read",
    ),
    "state": (one_layer(inputs=("x", "W", "R", "B", "", "W")), "begins with a state that is neither zero"),
    "lengths": (one_layer(inputs=("x", "W", "R", "B", "one")), "has lengths that are neither"),
    "dropout": (
        one_layer(extra=[SQUEEZE, node("Dropout", ["s", "", "one"], ["y"])]),
        "operator 'Dropout' is that of training",
    ),
    "a step": (one_layer(extra=[SQUEEZE, node("Cast", ["s"], ["y"], to=7)]), "to another type"),
    "nothing squeezed": (
        one_layer(extra=[node("Squeeze", ["every", "none"], ["y"])]),
        "has not the dimensions",
    ),
    "time squeezed": (
        one_layer(extra=[node("Squeeze", ["every", "zero"], ["y"])]),
        "'Squeeze' reads 'zero', which nothing",
    ),
    "attribute and input": (
        one_layer(extra=[node("Squeeze", ["every"], ["y"], axes=[9])]),
        "dimension out of range",
    ),
}


@pytest.mark.parametrize("name", INVENTED)
def test_invented_graphs_are_refused(name, tmp_path):
    (nodes, constants), message = INVENTED[name]
    path = saved(tmp_path / "x.onnx", nodes, constants, x=("time", "batch", 3))
    with pytest.raises(export.ExportError, match=message) as caught:
        export.from_onnx(path)
    assert "\n" not in str(caught.value)


def plain(**changes):
    """A small model, with some fields of its first constant changed."""
    constant = onnx.TensorProto(name="w", data_type=1, dims=[2, 2], raw_data=bytes(16))
    for field, value in changes.items():
        if field in ("dims", "int64_data", "float_data", "int32_data"):
            del getattr(constant, field)[:]
            getattr(constant, field).extend(value)
        elif field == "external":
            constant.data_location = onnx.TensorProto.EXTERNAL
            for key, entry in value.items():
                constant.external_data.add(key=key, value=entry)
        elif value is None:
            constant.ClearField(field)
        else:
            setattr(constant, field, value)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["y"])],
        "g",
        [info("x", 1, ["b", 2])],
        [info("y", 1, ["b", 2])],
        [constant],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


FIELD = bytes([7 << 3 | 2])  # the graph of a model
BYTES = {
    "empty": (b"", "has no graph"),
    "text": (b"import os\n" * 9, "not a file of ONNX"),
    "zip": (b"PK\x03\x04" + bytes(200), "not a file of ONNX"),
    "zeros": (bytes(1000), "not a file of ONNX"),
    "ones": (b"\xff" * 1000, "a number has no end"),
    "a length without bytes": (FIELD + b"\xff\xff\xff\xff\x0f", "ends after the file"),
    "a length beyond 64 bits": (FIELD + b"\xff" * 9 + b"\x01", "ends after the file"),
    "graph in graph": (FIELD + b"\x7f" + b"\x0a\x7d" * 64, "ends after the file"),
    "huge dims": (plain(dims=[2**31, 2**31]), "its shape asks for 18,446,744,073,709,551,616"),
    "more dims": (plain(dims=[2**62, 2**62, 0]), "has 16 bytes, and its shape asks for 0"),
    "dims that NumPy cannot hold": (plain(dims=[2**62, 2**62, 0], raw_data=b""), "a shape that is too large"),
    "negative dims": (plain(dims=[-2, -2]), "a negative dimension"),
    "many dims": (plain(dims=[1] * 40), "more than 16 dimensions"),
    "short": (plain(raw_data=bytes(15)), "has 15 bytes, and its shape asks for 16"),
    "long": (plain(raw_data=bytes(17)), "has 17 bytes"),
    "no data": (plain(raw_data=None), "has 0 numbers, and its shape asks for 4"),
    "few numbers": (plain(raw_data=None, float_data=[1.0]), "has 1 numbers"),
    "other field": (plain(raw_data=None, int64_data=[1, 2, 3, 4]), "has 0 numbers"),
    "strings": (plain(data_type=8), "is of type 8, which is not read"),
    "complex": (plain(data_type=14), "is of type 14"),
    "no type": (plain(data_type=0), "is of type 0"),
    "integers": (plain(data_type=6), "a product has a matrix"),
    "truths": (plain(data_type=9, dims=[16], raw_data=bytes(range(16))), "truth values that are neither"),
    "nothing": (plain(dims=[2, 0], raw_data=b""), "a product has a matrix"),
    "another width": (plain(dims=[4, 1]), "a product has a matrix"),
    "vector": (plain(dims=[4]), "a product has a matrix"),
    "outside": (
        plain(raw_data=None, external={"location": "/etc/passwd"}),
        "is in another file, '/etc/passwd'",
    ),
    "two graphs": (plain() * 2, "has no graph|two"),
    "cut": (plain()[:-30], "ends after the file"),
}


@pytest.mark.parametrize("name", BYTES)
def test_damaged_bytes_are_refused(name, tmp_path):
    data, message = BYTES[name]
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(export.ExportError, match=message) as caught:
        export.from_onnx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "/etc/passwd"}, "is not a file in the folder of the model"),
        ({"location": "../secret"}, "is not a file in the folder of the model"),
        ({"location": "link"}, "is not a file in the folder of the model"),
        ({"location": "folder"}, "is not a file in the folder of the model"),
        ({"location": ""}, "is not a file in the folder of the model"),
        ({"location": "a\0b"}, "says wrongly where its data is|is not a file in the folder"),
        ({"location": "data", "offset": "4"}, "asks for 16 bytes from byte 4 of 'data', which has 16"),
        ({"location": "data", "offset": "-4"}, "from byte -4"),
        ({"location": "data", "offset": "x"}, "says wrongly where its data is"),
        ({"location": "data", "length": "9" * 30}, "which has 16"),
    ],
)
def test_data_outside_the_folder_is_refused(entries, message, tmp_path):
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "data").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "x.onnx").write_bytes(plain(raw_data=None, external=entries))
    with pytest.raises(export.ExportError, match=message):
        export.from_onnx(folder / "x.onnx", external_data=True)


def changed_at_random(data, rng):
    """Damage bytes, or parts of the message so that it stays one."""
    if rng.random() < 0.3:
        damaged, where = bytearray(data), int(rng.integers(len(data)))
        how = int(rng.integers(3))
        if how == 0:
            damaged[where] ^= 1 << int(rng.integers(8))
        elif how == 1:
            del damaged[where : where + int(rng.integers(1, 30))]
        else:
            damaged[where:where] = rng.bytes(int(rng.integers(1, 9)))
        return bytes(damaged)
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    numbers = [0, 1, -1, 2, 7, 2**31, 2**62, -(2**63)]

    def one_of(values):
        return values[int(rng.integers(len(values)))]

    for _ in range(int(rng.integers(1, 4))):
        chosen, how = one_of(graph.node), int(rng.integers(7))
        names = [*(o for n in graph.node for o in n.output), *(t.name for t in graph.initializer), "x", ""]
        if how == 0:
            chosen.op_type = one_of(
                ["Transpose", "Reshape", "Slice", "Gather", "Concat", "Gemm", "Shape", "Split", "GRU"]
            )
        elif how == 1 and chosen.input:
            chosen.input[int(rng.integers(len(chosen.input)))] = one_of(names)
        elif how == 2:
            chosen.input.append(one_of(names))
        elif how == 3 and chosen.attribute:
            attribute = one_of(chosen.attribute)
            attribute.i = one_of(numbers)
            attribute.ints.append(one_of(numbers))
        elif how == 4:
            dims = one_of(graph.initializer).dims
            if dims:
                dims[int(rng.integers(len(dims)))] = one_of(numbers)
        elif how == 5:
            name = one_of(
                ["axis", "axes", "perm", "transB", "alpha", "to", "start", "hidden_size", "direction"]
            )
            chosen.attribute.append(
                helper.make_attribute(name, one_of([one_of(numbers), [one_of(numbers)], "x", 0.5]))
            )
        else:
            whole = [t for t in graph.initializer if t.data_type == 7]
            for array in whole[:1]:
                array.raw_data = np.array(
                    [one_of(numbers) for _ in range(len(array.raw_data) // 8)]
                ).tobytes()
    return model.SerializeToString()


def files_to_damage(tmp_path):
    rt.manual_seed(6)
    model = nn.Sequential(
        nn.Embedding(5, 3), nn.LSTM(3, 4, bidirectional=True), nn.LayerNorm(8), nn.Linear(8, 2)
    )
    export.to_onnx(model, tmp_path, "a", "sequence", lengths=True, batch_first=True)
    torch.manual_seed(6)
    export_by_tracing(Theirs("GRU", num_layers=2), torch.randn(4, 2, 5), tmp_path / "b.onnx")
    nodes, constants = keras_sequences("GRU", 3, np.random.default_rng(0), 15)
    saved(tmp_path / "c.onnx", nodes, constants)
    return [(tmp_path / f"{name}.onnx").read_bytes() for name in "abc"]


def reading(path):
    """Read a file, and return why it is refused, or None."""
    try:
        assert isinstance(export.from_onnx(path), export.Chain)
    except export.ExportError as error:
        return str(error)
    return None


def read_damaged(tmp_path, seed, count):
    rng, files = np.random.default_rng(seed), files_to_damage(tmp_path)
    path, refused = tmp_path / "x.onnx", 0
    for _ in range(count):
        path.write_bytes(changed_at_random(files[int(rng.integers(len(files)))], rng))
        tracemalloc.start()
        message = reading(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        refused += message is not None
        assert message is None or ("\n" not in message and len(message) < 300)
        assert peak < 2**20
    return refused


def test_files_damaged_at_random(tmp_path):
    assert read_damaged(tmp_path, 0, 150) > 75


@pytest.mark.long
def test_many_files_damaged_at_random(tmp_path):
    assert read_damaged(tmp_path, 1, 10_000) > 5_000


def test_what_a_file_makes_of_its_constants_is_bounded(tmp_path):
    constants = weights_of(4, 3, 4, np.random.default_rng(0)) | {"big": np.ones((100, 100), np.float32)}
    doubled = [node("Concat", [f"c{k}", f"c{k}"], [f"c{k + 1}"], axis=0) for k in range(60)]
    nodes = [node("Identity", ["big"], ["c0"]), *doubled, node("MatMul", ["x", "c60"], ["y"])]
    with pytest.raises(export.ExportError, match="more of its constants than their bytes allow"):
        export.from_onnx(saved(tmp_path / "x.onnx", nodes, constants))
    square = {"w": np.zeros((300, 300), np.float32)}
    nodes = [node("MatMul", [f"v{k}" if k else "x", "w"], [f"v{k + 1}"]) for k in range(100)]
    nodes.append(node("Identity", ["v100"], ["y"]))
    with pytest.raises(export.ExportError, match="which is more than the file has for them"):
        export.from_onnx(saved(tmp_path / "x.onnx", nodes, square, x=("b", 300)))
    many = [node("Identity", ["x"], [f"v{k}"]) for k in range(20_001)]
    with pytest.raises(export.ExportError, match="has 20,001 nodes"):
        export.from_onnx(saved(tmp_path / "x.onnx", many, {}))


def test_a_second_output_that_is_no_state_is_refused(tmp_path):
    nodes, constants = one_layer(
        extra=[SQUEEZE, node("MatMul", ["s", "kernel"], ["y"]), node("Tanh", ["s"], ["z"])]
    )
    model = onnx.load(saved(tmp_path / "x.onnx", nodes, constants, x=("time", "batch", 3)))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(export.ExportError, match="output 'z' is neither the first nor a state"):
        export.from_onnx(tmp_path / "x.onnx")


def test_reading_needs_no_onnx(tmp_path, monkeypatch):
    path = tmp_path / "x.onnx"
    path.write_bytes(plain())
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert isinstance(export.from_onnx(path)[0], nn.Linear)
    with pytest.raises(export.ExportError, match=r'package onnx; .* pip install -e "\.\[onnx\]"'):
        export.to_onnx(nn.Linear(2, 2), tmp_path)
