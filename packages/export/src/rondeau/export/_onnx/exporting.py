"""`to_onnx`: a model as a graph of ONNX."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau.export._checks import check_tokens
from rondeau.export._description import describe
from rondeau.export._errors import ExportError
from rondeau.export._evaluation import checked_numbers
from rondeau.export._onnx.graph import import_onnx
from rondeau.export._onnx.sequence_model import SequenceModel
from rondeau.export._onnx.states import state_entry
from rondeau.export._onnx.step_model import StepModel
from rondeau.export._writing import Exported, write_files

__all__ = ["to_onnx"]

Array = NDArray[Any]

_STEP = """\
One step of a recurrent model, exported by rondeau. Feed each next_ output to the input of its name in the next step. A
sequence begins with zeros, or with what the metadata entry "rondeau" has under "states"."""

_SEQUENCE = """\
A recurrent model over whole sequences, exported by rondeau. A sequence begins with states of zeros, or with what the
metadata entry "rondeau" has under "states"; to go on with one, feed the next_ outputs."""


def to_onnx(
    model: nn.Module,
    output: str | Path,
    name: str = "model",
    form: str = "step",
    *,
    takes_ids: bool | None = None,
    numbers: Collection[str] = (),
    lengths: bool = False,
    batch_first: bool = False,
    tokens: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model as ONNX: ``name.onnx``, and ``name.onnx.npz`` with inputs and what the library computes from them.

    ``python -m rondeau.export.check name.onnx`` runs the graph in ONNX Runtime on these inputs and compares. Weights
    and results are float32; the graph is of opset 22 and IR version 10, and the batch is of any size.

    Parameters
    ----------
    model : Module
        A `LanguageModel`, recurrent layers, or a `Sequential` of `Embedding`, recurrent layers, `Linear`, `LayerNorm`,
        activations and `Dropout`; in a chain the output of a recurrent layer is what the next one reads.
    output : path-like
        The folder of the files; made if need be.
    name : str
        The name of the files.
    form : {"step", "sequence"}
        ``"step"``: one step of any cell, with every state as an input and an output, for streams and generation.
        ``"sequence"``: whole sequences, of any length, through the operators RNN, GRU and LSTM, for the cells that they
        compute: `rnn_tanh`, `rnn_relu`, `linear_rnn`, `gru`, `gru_original`, `lstm` and `lstm_peephole`, in one
        direction or both.
    takes_ids : bool, optional
        Whether recurrent layers that come first read ids, which stand for one-hot rows.
    numbers : collection of str
        The named inputs of the cells that are one number for all hidden units. The others have one for each unit.
    lengths : bool
        Give the graph of sequences an input ``lengths``, (B,) of int32: how many steps of each are valid. Recurrent
        layers give zeros after them, and the states of the last valid step.
    batch_first : bool
        Let the graph of sequences read (B, T, ...) and write (B, T, O) rather than (T, B, ...).
    tokens : sequence of str, optional
        The text of each id, which is then in the metadata too.
    overwrite : bool
        Replace files of these names.

    Returns
    -------
    Exported

    Raises
    ------
    ExportError
        If ONNX cannot hold a part of the model, which the message names; or the package `onnx` is not installed.
    FileExistsError
        If a file exists, unless `overwrite`.

    Notes
    -----
    Inputs: ``x``, (B, I) of float32, or ``ids``, (B,) of int64; in a graph of sequences with T before or after B. Every
    recurrent layer has its states, named after those of the cell and the layer, as ``h_0``, (B, H) in a step and
    (directions, B, H) otherwise, and the outputs ``next_h_0``. Named inputs of cells are inputs of a step under their
    names, and so is its noise, standard normal numbers or uniform ones, as ``normal_0_1``. The output is ``y``. Ids are
    for the caller to check: runtimes refuse those beyond the last, but count negative ones from the end.

    The metadata entry ``rondeau`` is JSON: ``states`` has the name of each state, of the output that follows it, of its
    layer, and the values of a learned initial state, or null for zeros; ``tokens`` the texts of ids.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import export, nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export.to_onnx(nn.LanguageModel(28, "gru", 16), folder, "writer")
    >>> [path.name for path in exported.files]
    ['writer.onnx', 'writer.onnx.npz']
    """
    _check_options(name, form, lengths, batch_first)
    import_onnx()
    description = describe(model, takes_ids)
    check_tokens(tokens, description)
    of_units = checked_numbers(description, numbers)
    if form == "step":
        writer: StepModel | SequenceModel = StepModel(description, of_units)
    else:
        writer = SequenceModel(description, lengths, batch_first)
    metadata: dict[str, Any] = {"form": form, "states": [state_entry(state) for state in writer.states]}
    if tokens is not None:
        metadata["tokens"] = list(tokens)
    data = writer.builder.build(
        writer.inputs,
        writer.outputs,
        {"rondeau": json.dumps(metadata)},
        _STEP if form == "step" else _SEQUENCE,
    )
    contents = {f"{name}.onnx": data, f"{name}.onnx.npz": _packed(*writer.example())}
    paths = write_files(Path(output), contents, overwrite)
    state_bytes = 4 * sum(array.size for state in writer.states for array in state.initial)
    return Exported(paths, writer.builder.weight_bytes, state_bytes)


def _check_options(name: Any, form: Any, lengths: bool, batch_first: bool) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise ExportError(
            "name must be at most 100 letters, digits, dots, hyphens and underscores of ASCII, and begin with a "
            f"letter, a digit or an underscore, got {name!r}"
        )
    if form not in ("step", "sequence"):
        raise ExportError(f'form must be "step" or "sequence", got {form!r}')
    if form == "step" and (lengths or batch_first):
        raise ExportError(
            f'{"lengths" if lengths else "batch_first"} is for graphs of whole sequences: form="sequence"'
        )


def _packed(inputs: dict[str, Array], outputs: dict[str, Array], tolerance: float) -> bytes:
    """Return an example as the bytes of a file: arrays with the cases in front."""
    arrays = {f"input.{name}": array for name, array in inputs.items()}
    arrays |= {f"output.{name}": array for name, array in outputs.items()}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, tolerance=np.float64(tolerance), **arrays)
    return file.getvalue()
