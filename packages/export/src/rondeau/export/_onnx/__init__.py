"""ONNX: a model as a graph for other runtimes, and graphs of others as modules."""
