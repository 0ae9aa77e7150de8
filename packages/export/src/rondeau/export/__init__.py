"""Trained models out of the process: `to_c` writes one as C99, which runs where Python does not."""

from rondeau.export._c.exporting import to_c
from rondeau.export._errors import ExportError
from rondeau.export._writing import Exported

__all__ = ["ExportError", "Exported", "to_c"]

__version__ = "0.1.0"
