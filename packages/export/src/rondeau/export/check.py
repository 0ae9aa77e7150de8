"""``python -m rondeau.export.check FILE.onnx``: an exported graph against what the library computed.

The inputs and the expected outputs are in the file beside it, ``FILE.onnx.npz``; the graph runs in ONNX
Runtime. The exit status is 0 if all agree, 1 if an output differs, and 2 if there is nothing to compare.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check", "main"]

Array = NDArray[Any]


def __dir__() -> list[str]:
    return __all__


def check(path: str | Path) -> int:
    """Run an exported graph on its example, and return the number of cases that were compared.

    Parameters
    ----------
    path : path-like
        A file that `to_onnx` wrote, beside its ``.onnx.npz``.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If an output differs by more than the example allows.
    OSError
        If a file cannot be read, or ONNX Runtime does not run the graph on the example.
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
    inputs, outputs, tolerance = _example(path.with_name(f"{path.name}.npz"))
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("the check runs the graph in ONNX Runtime: pip install onnxruntime") from error
    names = list(outputs)
    cases = len(outputs[names[0]])
    data = path.read_bytes()
    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        found = [
            session.run(names, {name: array[case] for name, array in inputs.items()}) for case in range(cases)
        ]
    except Exception as error:  # those of ONNX Runtime have no class in common
        reason = " ".join(str(error).split())
        raise OSError(f"ONNX Runtime does not run {path} on its example: {reason:.300}") from error
    for case, values in enumerate(found):
        for name, value in zip(names, values, strict=True):
            _compare(f"output {name} of case {case + 1}", value, outputs[name][case], tolerance)
    return cases


def _compare(what: str, value: Array, expected: Array, tolerance: float) -> None:
    """Raise unless an output is what the library computed; NaN and infinities must be in the same places."""
    if value.shape != expected.shape:
        raise ValueError(f"{what} has the shape {value.shape}, and the library's {expected.shape}")
    finite = np.isfinite(expected)
    same = np.array_equal(value[~finite], expected[~finite], equal_nan=True)
    with np.errstate(all="ignore"):
        distance = np.abs(value - expected)[finite] / (1 + np.abs(expected[finite]))
    if not same or not (distance <= tolerance).all():
        off = (
            f"by {distance.max(initial=0):.2g} of 1 plus its magnitude"
            if same
            else "where that is not finite"
        )
        raise ValueError(f"{what} differs from the library's {off}; {tolerance:.2g} is allowed")


def _example(path: Path) -> tuple[dict[str, Array], dict[str, Array], float]:
    """Return the inputs and the outputs of an example by their names, and what they may differ by."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        KeyError,
        AttributeError,
        MemoryError,
    ) as error:
        reason = error or type(error).__name__
        raise OSError(f"{path} is damaged, export the model again: {reason}") from error
    inputs = {name.removeprefix("input."): a for name, a in found.items() if name.startswith("input.")}
    outputs = {name.removeprefix("output."): a for name, a in found.items() if name.startswith("output.")}
    tolerance = found.get("tolerance", np.array(None))
    cases = {len(array) if array.ndim else 0 for array in (*inputs.values(), *outputs.values())}
    is_number = tolerance.ndim == 0 and tolerance.dtype.kind == "f" and 0 <= tolerance < np.inf
    if not (outputs and len(cases) == 1 and cases != {0} and is_number):
        raise OSError(f"{path} has no example of an exported graph: export the model again")
    return inputs, outputs, float(tolerance)


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
