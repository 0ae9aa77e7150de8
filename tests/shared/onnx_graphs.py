"""Exported graphs of ONNX, run in ONNX Runtime and in the reference evaluator of onnx."""

import collections
import json
from pathlib import Path

import numpy as np


def distance(found, expected):
    """The largest distance of two arrays, as a share of 1 plus the magnitude."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float((np.abs(found - expected) / (1 + np.abs(expected))).max(initial=0))


class Graph:
    """A graph in a file; called with its inputs in order, it gives its outputs."""

    def __init__(self, path):
        import onnx
        import onnxruntime

        self.path = Path(path)
        self.model = onnx.load(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        self.session = onnxruntime.InferenceSession(
            self.path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [value.name for value in self.session.get_inputs()]

    def __call__(self, *inputs):
        return self.session.run(None, dict(zip(self.inputs, inputs, strict=True)))

    def reference(self, inputs):
        """Return what onnx's own evaluator, written in NumPy, computes."""
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator(self.model).run(None, inputs)

    def check(self):
        """Let onnx check the graph, the shapes in it too."""
        import onnx

        onnx.checker.check_model(self.model, full_check=True)
        assert self.model.ir_version == 10
        assert [(o.domain, o.version) for o in self.model.opset_import] == [("", 22)]

    def example(self):
        """Return the inputs and the outputs of the example beside the graph."""
        with np.load(self.path.with_name(f"{self.path.name}.npz")) as arrays:
            return tuple(
                {n.removeprefix(kind): arrays[n] for n in arrays.files if n.startswith(kind)}
                for kind in ("input.", "output.")
            )

    @property
    def operators(self):
        """How many nodes there are of each operator."""
        return dict(collections.Counter(node.op_type for node in self.model.graph.node))

    def count(self, operator):
        return self.operators.get(operator, 0)

    @property
    def names(self):
        """The names of all values and nodes."""
        graph = self.model.graph
        found = {node.name for node in graph.node} | {tensor.name for tensor in graph.initializer}
        return found | {name for node in graph.node for name in (*node.input, *node.output) if name}

    @property
    def properties(self):
        return {entry.key: entry.value for entry in self.model.metadata_props}

    @property
    def metadata(self):
        return json.loads(self.properties["rondeau"])
