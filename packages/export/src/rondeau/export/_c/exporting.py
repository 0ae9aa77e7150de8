"""`to_c`: a model as a header and a source file of C99."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rondeau import nn
from rondeau.export._c.source import write_c
from rondeau.export._checks import check_identifier, check_tokens
from rondeau.export._description import describe
from rondeau.export._errors import ExportError
from rondeau.export._evaluation import checked_numbers, make_example
from rondeau.export._quantisation import with_rounded_weights
from rondeau.export._writing import Exported, write_files

__all__ = ["to_c"]


def to_c(
    model: nn.Module,
    output: str | Path,
    name: str = "model",
    *,
    takes_ids: bool | None = None,
    numbers: Collection[str] = (),
    weights: str = "float32",
    weights_in_file: bool = False,
    tokens: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model as C99: ``name.h`` and ``name.c``, which need nothing but a compiler and ``math.h``.

    The code allocates no memory, keeps all that a sequence needs in a struct, and may run any number of sequences side
    by side. With it goes a check: inputs, and what the library computed from them.

    Parameters
    ----------
    model : Module
        A `LanguageModel`, recurrent layers, or a `Sequential` of `Embedding`, recurrent layers of any cell, `Linear`,
        `LayerNorm`, activations and `Dropout`; in a chain the output of a recurrent layer is what the next one reads.
        Layers that run backwards are not possible: a step does not know the future.
    output : path-like
        The folder of the files; made if need be.
    name : str
        The name of the files, and what every name in them begins with.
    takes_ids : bool, optional
        Whether recurrent layers that come first read ids, which stand for one-hot rows.
    numbers : collection of str
        The named inputs of the cells that are one number for all hidden units. The others have one for each unit.
    weights : {"float32", "int8"}
        How matrices are kept: as they are; or rounded to int8 with a scale for each row, as ``model.stepper`` does, in
        a quarter of the memory.
    weights_in_file : bool
        Write the weights to ``name.bin``, to be read or mapped into memory, and not into the source.
    tokens : sequence of str, optional
        The text of each id, which is then in the source too.
    overwrite : bool
        Replace files of these names.

    Returns
    -------
    Exported
        The files, and what the model takes in memory.

    Raises
    ------
    ExportError
        If C cannot hold a part of the model; the message names the layer.
    ValueError
        If the name is not an identifier of C, `weights` is neither format, or the number of tokens is not that of the
        ids.
    FileExistsError
        If a file exists, unless `overwrite`.

    Notes
    -----
    The noise of a step is an argument of the exported step: standard normal numbers, or uniform ones, for each unit.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import export, nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export.to_c(nn.LanguageModel(28, "gru", 16), folder, "writer")
    >>> [path.name for path in exported.files], exported.weight_bytes
    (['writer.h', 'writer.c'], 10608)
    """
    check_identifier(name)
    if weights not in ("float32", "int8"):
        raise ExportError(f'weights must be "float32" or "int8", got {weights!r}')
    description = describe(model, takes_ids)
    for layer in description.layers:
        if layer.reverse is not None:
            raise ExportError(
                f"{layer.name} runs in both directions, and a step in C does not know the future; export it to NumPy, "
                "or to ONNX as a whole"
            )
    check_tokens(tokens, description)
    of_units = checked_numbers(description, numbers)
    tested = with_rounded_weights(description) if weights == "int8" else description
    files = write_c(
        description,
        name,
        make_example(tested, of_units),
        of_units,
        quantise=weights == "int8",
        weights_in_file=weights_in_file,
        tokens=tokens,
    )
    contents: dict[str, Any] = {f"{name}.h": files.header, f"{name}.c": files.source}
    if files.weights is not None:
        contents[f"{name}.bin"] = files.weights
    paths = write_files(Path(output), contents, overwrite)
    return Exported(paths, files.weight_bytes, files.state_bytes)
