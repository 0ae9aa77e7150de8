"""The error of a model that a format cannot hold."""

from rondeau.kernels.errors import ArgumentValueError

__all__ = ["ExportError"]


class ExportError(ArgumentValueError):
    """A model cannot be exported as asked; the message names the layer and says why.

    Examples
    --------
    >>> from rondeau import export, nn
    >>> export.to_c(nn.Sequential(nn.Linear(2, 3), nn.Softmax(0)), "model")
    Traceback (most recent call last):
    rondeau.export._errors.ExportError: 1 works along dimension 0; only the last one, -1, is exported
    """
