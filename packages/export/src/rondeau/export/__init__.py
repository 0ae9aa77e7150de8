"""Trained models out of the process, and into it.

`to_c` writes one as C99, `to_onnx` as a graph for other runtimes, `to_numpy` as Python that needs nothing but NumPy.
`from_onnx` reads graphs of other libraries as modules.
"""

from rondeau.export._c.exporting import to_c
from rondeau.export._chain import Chain
from rondeau.export._errors import ExportError
from rondeau.export._numpy.exporting import to_numpy
from rondeau.export._onnx.exporting import to_onnx
from rondeau.export._onnx.importing import from_onnx
from rondeau.export._quantisation import rounded_to_int8
from rondeau.export._writing import Exported

__all__ = [
    "Chain",
    "ExportError",
    "Exported",
    "from_onnx",
    "rounded_to_int8",
    "to_c",
    "to_numpy",
    "to_onnx",
]

__version__ = "0.1.0"


def __dir__() -> list[str]:
    return __all__
