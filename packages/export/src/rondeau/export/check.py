"""``python -m rondeau.export.check FILE.onnx``: an exported graph against what the library computed.

The inputs and the expected outputs are in the file of the same name that ends in ``.npz``; the graph runs in ONNX
Runtime. The exit status is 0 if all agree, 1 if an output differs, and 2 if there is nothing to compare.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check", "main"]


def __dir__() -> list[str]:
    return __all__


def check(path: str | Path) -> int:
    """Run an exported graph on its example, and return the number of cases that were compared.

    Parameters
    ----------
    path : path-like
        A file that `to_onnx` wrote, beside its ``.npz``.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If an output differs by more than the example allows.
    OSError
        If a file cannot be read.
    ImportError
        If ONNX Runtime is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import export, nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export.to_onnx(nn.LSTM(3, 5), folder)
    ...     check(exported.files[0])
    6
    """
    path = Path(path)
    inputs, outputs, tolerance = _example(path.with_suffix(".npz"))
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("the check runs the graph in ONNX Runtime: pip install onnxruntime") from error
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = list(outputs)
    cases = len(outputs[names[0]])
    for case in range(cases):
        found = session.run(names, {name: array[case] for name, array in inputs.items()})
        for name, value in zip(names, found, strict=True):
            expected = outputs[name][case]
            distance = np.abs(value - expected) / (1 + np.abs(expected))
            if value.shape != expected.shape or not (distance <= tolerance).all():
                raise ValueError(
                    f"output {name} of case {case + 1} differs from the library's by {distance.max():.2g} of 1 plus "
                    f"its magnitude, where {tolerance:.2g} is allowed"
                )
    return cases


def _example(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], float]:
    """Return the inputs and the outputs of an example by their names, and what they may differ by."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, ValueError) as error:
        raise OSError(f"{path} is damaged: {error}") from error
    inputs = {name.removeprefix("input."): a for name, a in found.items() if name.startswith("input.")}
    outputs = {name.removeprefix("output."): a for name, a in found.items() if name.startswith("output.")}
    if not outputs or "tolerance" not in found:
        raise OSError(f"{path} has no example")
    return inputs, outputs, float(found["tolerance"])


def main(arguments: Sequence[str]) -> int:
    """Check a file, say how it went, and return the exit status.

    Examples
    --------
    >>> main(["no/such.onnx"])
    2
    """
    if len(arguments) != 1:
        print("usage: python -m rondeau.export.check FILE.onnx", file=sys.stderr)
        return 2
    try:
        cases = check(arguments[0])
    except (OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    except ValueError as error:
        print(error)
        return 1
    print(f"{cases} cases agree with the library" if cases > 1 else "1 case agrees with the library")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
