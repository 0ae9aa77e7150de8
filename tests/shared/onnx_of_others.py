"""Graphs of ONNX as other libraries write them: PyTorch's by its exporter, those of Keras as tf2onnx has them."""

import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
helper = onnx.helper
node = helper.make_node
DENSE = {"kernel": np.ones((4, 2), np.float32), "bias": np.array([0.5, -1], np.float32)}


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
