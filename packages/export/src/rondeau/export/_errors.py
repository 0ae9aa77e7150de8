"""The error of a model that a format cannot hold."""

from rondeau.kernels.errors import ArgumentValueError

__all__ = ["ExportError"]


class ExportError(ArgumentValueError):
    """A model cannot be exported as asked; the message names the layer and says why."""
