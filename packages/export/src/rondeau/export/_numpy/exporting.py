"""`to_numpy`: a model as a Python file that needs nothing but NumPy, and its weights beside it."""

from __future__ import annotations

import io
import keyword
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rondeau import nn
from rondeau.export._checks import check_identifier, check_tokens
from rondeau.export._description import Description, describe
from rondeau.export._errors import ExportError
from rondeau.export._evaluation import checked_numbers, make_example
from rondeau.export._numpy.source import write_numpy
from rondeau.export._writing import Exported, write_files

__all__ = ["to_numpy"]


def to_numpy(
    model: nn.Module,
    output: str | Path,
    name: str = "model",
    *,
    takes_ids: bool | None = None,
    tokens: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model as ``name.py``, which imports nothing but NumPy, and ``name.npz``, its weights.

    The file is written to be read: the step of each cell is what its author would write in NumPy, with the names of the
    cell's own definition. It runs on Python 3.9 or newer with any NumPy, and checks itself: ``python name.py`` compares
    what it computes with what the library computed.

    Parameters
    ----------
    model : Module
        A `LanguageModel`, recurrent layers, or a `Sequential` of `Embedding`, recurrent layers of any cell, `Linear`,
        `LayerNorm`, activations and `Dropout`; in a chain the output of a recurrent layer is what the next one reads.
        Layers may run in both directions.
    output : path-like
        The folder of the files; made if need be.
    name : str
        The name of the files, which is that of a module.
    takes_ids : bool, optional
        Whether recurrent layers that come first read ids, which stand for one-hot rows.
    tokens : sequence of str, optional
        The text of each id, which is then in the weights' file too.
    overwrite : bool
        Replace files of these names.

    Returns
    -------
    Exported
        The files, and what the model takes in memory.

    Raises
    ------
    ExportError
        If the model has a part without an exported form, the message names the layer; if the name is not that of a
        possible module, or would hide a module of Python; or if the number of tokens is not that of the ids.
    FileExistsError
        If a file exists, unless `overwrite`.

    Notes
    -----
    ``Model.run`` takes (T, B, I), or ids (T, B), with lengths, resets and named inputs as layers do, and draws the
    noise of a step from a `numpy.random.Generator`. ``Model.step`` takes one step; a `LanguageModel` also has
    ``generate``.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import export, nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export.to_numpy(nn.LanguageModel(28, "gru", 16), folder, "writer")
    ...     num_lines = len(exported.files[0].read_text().splitlines())
    >>> [path.name for path in exported.files], num_lines < 200
    (['writer.py', 'writer.npz'], True)
    """
    _check_name(name)
    description = describe(model, takes_ids)
    check_tokens(tokens, description)
    example = make_example(description, checked_numbers(description, _inputs_of_several_widths(description)))
    files = write_numpy(description, name, example, tokens, isinstance(model, nn.LanguageModel))
    stored = io.BytesIO()
    np.savez(stored, **files.arrays)  # type: ignore[arg-type]
    paths = write_files(
        Path(output), {f"{name}.py": files.source, f"{name}.npz": stored.getvalue()}, overwrite
    )
    others = ("check.", "tokens.")
    weights = [array.nbytes for key, array in files.arrays.items() if not key.startswith(others)]
    state = [
        part.initial for layer in description.layers for part in (layer, layer.reverse) if part is not None
    ]
    return Exported(paths, sum(weights), sum(vector.nbytes for initial in state for vector in initial))


def _inputs_of_several_widths(description: Description) -> set[str]:
    """Return the named inputs that layers of different widths read, of which each number is for all units."""
    widths: dict[str, set[int]] = {}
    kinds: dict[str, set[str]] = {}
    for layer in description.layers:
        for name, kind in layer.cell.inputs.items():
            widths.setdefault(name, set()).add(layer.hidden)
            kinds.setdefault(name, set()).add(kind)
    for name, found in kinds.items():
        if len(found) > 1:
            raise ExportError(
                f"the input {name} is one of steps for one layer, and one of sequences for another"
            )
    return {name for name, found in widths.items() if len(found) > 1}


def _check_name(name: Any) -> None:
    check_identifier(name)
    if keyword.iskeyword(name) or name.lower() in {"numpy", *map(str.lower, sys.stdlib_module_names)}:
        raise ExportError(f"name must not be a word of Python or one of its modules, got {name!r}")
