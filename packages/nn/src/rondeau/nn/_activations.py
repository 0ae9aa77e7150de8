"""Activations as modules, and the function that each applies."""

from __future__ import annotations

from rondeau.tensor import Tensor

from ._module import Module


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent of every element."""
    return input.tanh()


def sigmoid(input: Tensor) -> Tensor:
    """Logistic function 1 / (1 + exp(-x)) of every element."""
    return input.sigmoid()


def relu(input: Tensor) -> Tensor:
    """max(0, x) of every element; the derivative at 0 is 0."""
    return input.relu()


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Return x where x > 0, and `negative_slope` times x elsewhere."""
    return input.leaky_relu(negative_slope)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """X times the standard normal distribution function at x (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    input : Tensor
        Any shape.
    approximate : {"none", "tanh"}
        "tanh" computes 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) instead.
    """
    return input.gelu(approximate)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x itself where beta x > `threshold`."""
    return input.softplus(beta, threshold)


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) divided by its sum along `dim`, computed without overflow."""
    return input.softmax(dim)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """Logarithm of `softmax`, computed as x - logsumexp(x), which neither overflows nor takes log 0."""
    return input.log_softmax(dim)


class Identity(Module):
    """Return the input; arguments are accepted and ignored, so that it stands in for any layer.

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
    """The element where it is positive, and a small multiple of it elsewhere.

    Parameters
    ----------
    negative_slope : float
        That multiple.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.LeakyReLU(0.5)(rt.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
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
        Exact, or by tanh as in `rondeau.nn.functional.gelu`.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> round(nn.GELU()(rt.tensor([1.0])).item(), 6)
    0.841345
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f'approximate should be "none" or "tanh", got {approximate!r}')
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
        Sharpness.
    threshold : float
        Where beta x exceeds it, x itself is the result, which float32 could not tell apart.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> round(nn.Softplus()(rt.zeros(1)).item(), 6)
    0.693147
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
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
        That dimension. PyTorch guesses one where none is given, with a warning; here it must be given.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.Softmax(dim=0)(rt.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor that has the dimension."""
        return softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Logarithm of the softmax along one dimension.

    Parameters
    ----------
    dim : int
        That dimension.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> [round(v, 6) for v in nn.LogSoftmax(dim=0)(rt.zeros(2)).tolist()]
    [-0.693147, -0.693147]
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply to a Tensor that has the dimension."""
        return log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"dim={self.dim}"
