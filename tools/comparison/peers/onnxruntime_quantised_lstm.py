"""ONNX Runtime's LSTM with weights in int8, quantised dynamically, over a sequence at batch 1."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..process import UnavailableError


def prepare(inputs: int, hidden: int, threads: int, steps: int) -> Callable[[], object]:
    """Return a call over `steps` steps."""
    try:
        import onnx
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as missing:
        raise UnavailableError(f"{missing.name} is not installed") from None
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        whole, quantised = Path(folder, "whole.onnx"), Path(folder, "quantised.onnx")
        onnx.save(_model(onnx, inputs, hidden, rng), whole)
        quantize_dynamic(whole, quantised, weight_type=QuantType.QInt8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(str(quantised), options, providers=["CPUExecutionProvider"])
    x = rng.standard_normal((steps, 1, inputs), np.float32)
    h = c = np.zeros((1, 1, hidden), np.float32)

    def run() -> object:
        nonlocal h, c
        output, h, c = session.run(None, {"X": x, "h": h, "c": c})
        return output

    return run


def _model(onnx: Any, inputs: int, hidden: int, rng: np.random.Generator) -> Any:
    """Return the layer as a model."""
    bound, float32 = hidden**-0.5, onnx.TensorProto.FLOAT
    shapes = {"W": (1, 4 * hidden, inputs), "R": (1, 4 * hidden, hidden), "B": (1, 8 * hidden)}
    weights = [
        onnx.numpy_helper.from_array(rng.uniform(-bound, bound, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]

    def declared(**named: Any) -> list[Any]:
        return [onnx.helper.make_tensor_value_info(name, float32, shape) for name, shape in named.items()]

    names = ["X", *shapes, "", "h", "c"]
    node = onnx.helper.make_node("LSTM", names, ["Y", "Y_h", "Y_c"], hidden_size=hidden)
    state = (1, 1, hidden)
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        declared(X=("T", 1, inputs), h=state, c=state),
        declared(Y=("T", 1, 1, hidden), Y_h=state, Y_c=state),
        weights,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model
