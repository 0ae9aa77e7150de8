"""Activation functions as modules; each applies a function of `rondeau.tensor`."""

from __future__ import annotations

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor import Tensor, gelu, leaky_relu, log_softmax, relu, sigmoid, softmax, softplus, tanh

from ._checks import check_integer, check_number
from ._module import Module


class Identity(Module):
    """Return the input unchanged; arguments are accepted and ignored, so that it can replace any layer.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Identity(54)(rt.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return `input`."""
        return input


class Tanh(Module):
    """Hyperbolic tangent of every element.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Tanh()(rt.zeros(2)).tolist()
    [0.0, 0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor of any shape."""
        return tanh(input)


class Sigmoid(Module):
    """Logistic function of every element.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Sigmoid()(rt.zeros(2)).tolist()
    [0.5, 0.5]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor of any shape."""
        return sigmoid(input)


class ReLU(Module):
    """max(0, x) of every element; the derivative at 0 is 0.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.ReLU()(rt.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor of any shape."""
        return relu(input)


class LeakyReLU(Module):
    """The identity for positive elements, and a small multiple of the others.

    Parameters
    ----------
    negative_slope : float
        The factor for negative elements.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.LeakyReLU(0.5)(rt.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        check_number("negative_slope", negative_slope)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor of any shape."""
        return leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"negative_slope={self.negative_slope}"


class GELU(Module):
    """Gaussian error linear unit: x times the standard normal distribution function at x.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Exact, or approximated with tanh; see `rondeau.nn.functional.gelu`.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> round(nn.GELU()(rt.tensor([1.0])).item(), 6)
    0.841345
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ArgumentValueError(f'approximate must be "none" or "tanh", got {approximate!r}')
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor of any shape."""
        return gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, a smooth ReLU.

    Parameters
    ----------
    beta : float
        How sharp the bend is.
    threshold : float
        Where beta x exceeds this, the result is x itself, from which float32 could not distinguish it.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> round(nn.Softplus()(rt.zeros(1)).item(), 6)
    0.693147
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        check_number("beta", beta)
        check_number("threshold", threshold)
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor of any shape."""
        return softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """exp(x) divided by its sum along one dimension.

    Parameters
    ----------
    dim : int
        The dimension. PyTorch guesses it, with a warning, if it is not given; here it is required.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Softmax(dim=0)(rt.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_integer("dim", dim)
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor with that dimension."""
        return softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Logarithm of the softmax along one dimension.

    Parameters
    ----------
    dim : int
        The dimension.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> [round(v, 6) for v in nn.LogSoftmax(dim=0)(rt.zeros(2)).tolist()]
    [-0.693147, -0.693147]
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_integer("dim", dim)
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor with that dimension."""
        return log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"dim={self.dim}"
