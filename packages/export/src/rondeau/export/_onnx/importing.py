"""`from_onnx`: a graph of ONNX as modules."""

from __future__ import annotations

import errno
from pathlib import Path

from rondeau.export._chain import Chain
from rondeau.export._errors import ExportError
from rondeau.export._onnx.constants import ExternalData, array_of
from rondeau.export._onnx.file import read_graph, shown
from rondeau.export._onnx.interpreting import interpret
from rondeau.export._onnx.modules import modules_of

__all__ = ["from_onnx"]

_LARGEST = 2**31 - 1
"""Protobuf's limit of one file, in bytes."""
_ROOM = 2**20


def from_onnx(path: str | Path, *, external_data: bool = False) -> Chain:
    """Read a graph of ONNX as modules, with its weights.

    A graph that is a chain is read: RNN, GRU and LSTM over whole sequences, in one direction or both, Gather from a
    table, MatMul, Gemm and Add as linear layers, LayerNormalization and activations, with the nodes about shapes and
    axes between them, as PyTorch's exporters, tf2onnx for models of Keras, and `to_onnx` with ``form="sequence"`` write
    them.

    The file need not be trusted. Nothing in it is run; every size is compared with the bytes that are there before
    memory is taken; and the package `onnx` is not needed.

    Parameters
    ----------
    path : path-like
    external_data : bool, default False
        Whether weights may be in other files, which must be in the folder of this one.

    Returns
    -------
    Chain
        Modules one after the other, which read what the graph reads: (T, B, I), or (B, T, I) if the graph turns its
        input to steps first; or ids without the last dimension. It takes ``lengths=`` where the graph has an input of
        them. Initial states that are inputs of the graph are zeros here; a stepper of a layer has them.

    Raises
    ------
    ExportError
        If the file is damaged, or its graph has a part that is not read; the message names the operator.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import export, nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export.to_onnx(nn.Sequential(nn.GRU(3, 5), nn.Linear(5, 2)), folder, form="sequence")
    ...     chain = export.from_onnx(exported.files[0])
    >>> chain
    Chain(
      (0): GRU(3, 5)
      (1): Linear(in_features=5, out_features=2, bias=True)
    )
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe or a device might never end
        raise OSError(errno.EINVAL, "not a file that could be read whole", str(path))
    if path.stat().st_size > _LARGEST:
        raise ExportError(f"a file of ONNX has at most {_LARGEST:,} bytes")
    data = path.read_bytes()
    graph = read_graph(data)
    external = ExternalData(path.parent) if external_data else None
    constants = {}
    for record in graph.constants:
        if record.name in constants:
            raise ExportError(f"two constants have the name {shown(record.name)}")
        constants[record.name] = array_of(record, external)
    outside = sum(constants[record.name].nbytes for record in graph.constants if record.is_external)
    budget = 4 * (len(data) + outside) + _ROOM
    output, inputs = interpret(graph, constants, budget)
    return modules_of(output, inputs, budget)
