"""ONNX: a model as a graph for other runtimes."""
