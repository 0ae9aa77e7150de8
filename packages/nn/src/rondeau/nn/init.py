"""Initialisation of parameters in place; names and defaults are PyTorch's.

Every function draws from ``generator``, or from the one that `rondeau.tensor.manual_seed` seeds, writes to
the tensor without recording it, and returns the tensor. An argument of the wrong type raises TypeError.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops import lapack
from rondeau.kernels.sequence import Cell
from rondeau.tensor import Generator, Tensor, eye, no_grad, randn

from ._checks import check_number, check_tensor
from ._computed import computed_names
from ._module import Module
from ._parameter import Parameter

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "forget_bias_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_Layer = TypeVar("_Layer", bound=Module)


def __dir__() -> list[str]:
    return __all__


_GAINS = {
    "linear": 1.0,
    "identity": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4.0,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor on the standard deviation that preserves the size of a signal through a nonlinearity.

    Parameters
    ----------
    nonlinearity : str
        "linear", "identity", "conv1d", "conv2d", "conv3d", "sigmoid" (1), "tanh" (5/3), "relu" (sqrt 2),
        "leaky_relu" (sqrt(2 / (1 + slope^2))), "selu" (3/4).
    param : float, optional
        The slope of "leaky_relu"; 0.01 by default.

    Raises
    ------
    ValueError
        If the name is not one of these.

    Examples
    --------
    >>> from rondeau import nn
    >>> round(nn.init.calculate_gain("leaky_relu", 0.2), 4)
    1.3868
    """
    if not isinstance(nonlinearity, str):
        raise ArgumentTypeError(f"nonlinearity must be a string, got {type(nonlinearity).__name__}")
    if nonlinearity == "leaky_relu":
        if param is not None:
            check_number("calculate_gain: param", param)
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1.0 + slope**2))
    if nonlinearity not in _GAINS:
        raise ArgumentValueError(
            f"Unsupported nonlinearity {nonlinearity!r}; expected one of leaky_relu, {', '.join(_GAINS)}"
        )
    return _GAINS[nonlinearity]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with draws from the uniform distribution on [a, b).

    Raises
    ------
    ValueError
        If a > b.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> w = nn.init.uniform_(rt.empty(100), -0.1, 0.1)
    >>> bool((w.abs() <= 0.1).all())
    True
    """
    _check("uniform_", tensor, generator, a=a, b=b)
    if not a <= b:
        raise ArgumentValueError(f"uniform_ expects a <= b, got a={a} and b={b}")
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with draws from the normal distribution of the given mean and standard deviation.

    Raises
    ------
    ValueError
        If `std` is negative.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.init.normal_(rt.empty(2), mean=5.0, std=0.0).tolist()
    [5.0, 5.0]
    """
    _check("normal_", tensor, generator, mean=mean, std=std)
    if not std >= 0:
        raise ArgumentValueError(f"normal_ expects std >= 0, got {std}")
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with the number `val`.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.init.constant_(rt.empty(2), 2.5).tolist()
    [2.5, 2.5]
    """
    _check("constant_", tensor, val=val)
    with no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.init.zeros_(rt.empty(2)).tolist()
    [0.0, 0.0]
    """
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.init.ones_(rt.empty(2)).tolist()
    [1.0, 1.0]
    """
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity, truncated or padded with zeros to its shape.

    Raises
    ------
    ValueError
        If the tensor does not have 2 dimensions.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.init.eye_(rt.empty(2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    _check("eye_", tensor)
    if tensor.ndim != 2:
        raise ArgumentValueError(f"eye_ expects a tensor of 2 dimensions, got shape {tuple(tensor.shape)}")
    return _fill(tensor, eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


def forget_bias_(layer: _Layer, value: float = 1.0) -> _Layer:
    """Open the forget gates of a recurrent layer: set their ``bias_ih`` to `value` and their ``bias_hh`` to zero.

    By default these biases are drawn around 0, so a unit forgets half of its memory at every step. A bias of 1 lets
    gradients pass from the start (Gers, Schmidhuber, Cummins 2000; Jozefowicz, Zaremba, Sutskever 2015).

    Parameters
    ----------
    layer : LSTM, LSTMCell, or Recurrent with a gate named "f"
        All of its layers and directions are set; other gates keep their biases.
    value : float
        The sum of the two biases.

    Raises
    ------
    ValueError
        If the layer has no gate "f" or no biases.

    Examples
    --------
    >>> from rondeau import nn
    >>> layer = nn.init.forget_bias_(nn.LSTM(3, 2))
    >>> layer.bias_ih_l0[2:4].tolist(), layer.bias_hh_l0[2:4].tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    if not isinstance(getattr(layer, "cell", None), Cell):
        raise ArgumentTypeError(f"forget_bias_ expects a recurrent layer, got {type(layer).__name__}")
    check_number("forget_bias_: value", value)
    gates = layer.cell.gates
    if "f" not in gates:
        raise ArgumentValueError(
            f"forget_bias_ expects a cell with a gate 'f'; {layer.cell.name} has the gates {', '.join(gates)}"
        )
    if not layer.bias:
        raise ArgumentValueError("forget_bias_ expects a layer made with bias=True; this one has no biases")
    start = gates.index("f") * layer.hidden_size
    forget = slice(start, start + layer.hidden_size)
    for name in (*layer._parameters, *computed_names(layer)):
        if name.startswith("bias_"):
            bias = getattr(layer, name)
            changed = bias if isinstance(bias, Parameter) else bias.detach().clone()
            with no_grad():
                changed[forget] = value if name.startswith("bias_ih") else 0.0
            if changed is not bias:  # parametrised
                setattr(layer, name, changed)
    return layer


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16).

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 dimensions.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> w = nn.init.xavier_uniform_(rt.empty(3, 3))
    >>> bool((w.abs() <= 1).all())  # a = sqrt(6 / (3 + 3))
    True
    """
    _check("xavier_uniform_", tensor, generator, gain=gain)
    fan_in, fan_out = _fans(tensor)
    bound = gain * math.sqrt(6.0 / max(1, fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with N(0, std^2), std = gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12).

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 dimensions.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> w = nn.init.xavier_normal_(rt.empty(100, 100))  # std = sqrt(2 / 200)
    >>> 0.09 < w.std().item() < 0.11
    True
    """
    _check("xavier_normal_", tensor, generator, gain=gain)
    fan_in, fan_out = _fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(1, fan_in + fan_out)), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with U(-b, b), b = gain sqrt(3 / fan) (He et al. 2015, eq. 10 and 14).

    Parameters
    ----------
    tensor : Tensor
        At least 2 dimensions: (out, in, ...).
    a : float
        Slope of the leaky ReLU that follows; only used with ``nonlinearity="leaky_relu"``.
    mode : {"fan_in", "fan_out"}
        Whether to preserve the size of the signal in forward, or of the gradient in backward.
    nonlinearity : str
        See `calculate_gain`.
    generator : Generator, optional
        The source of random numbers.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 dimensions, or for an unknown mode or nonlinearity.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> w = nn.init.kaiming_uniform_(rt.empty(4, 6), nonlinearity="relu")
    >>> bool((w.abs() <= 1).all())  # b = sqrt(2) sqrt(3 / 6)
    True
    """
    _check("kaiming_uniform_", tensor, generator, a=a)
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with N(0, std^2), std = gain / sqrt(fan); parameters as in `kaiming_uniform_`.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 dimensions, or for an unknown mode or nonlinearity.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> w = nn.init.kaiming_normal_(rt.empty(100, 200), nonlinearity="relu")  # std = sqrt(2) / sqrt(200)
    >>> 0.09 < w.std().item() < 0.11
    True
    """
    _check("kaiming_normal_", tensor, generator, a=a)
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with a random matrix whose rows, or columns if they are fewer, are orthonormal times `gain`.

    It is the Q of a QR decomposition of a normal matrix, with the signs of R's diagonal moved into it, which makes
    it uniform over the orthogonal matrices (Saxe et al. 2014; Mezzadri 2007). The dimensions after the first
    are flattened into one. The matrix is drawn and decomposed on the CPU, also for a tensor on a GPU.

    Raises
    ------
    ValueError
        If the tensor has fewer than 2 dimensions.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> w = nn.init.orthogonal_(rt.empty(3, 5))
    >>> rt.allclose(w @ w.T, rt.eye(3), atol=1e-6)
    True
    """
    _check("orthogonal_", tensor, generator, gain=gain)
    if tensor.ndim < 2:
        raise ArgumentValueError(
            f"orthogonal_ expects at least 2 dimensions, got shape {tuple(tensor.shape)}"
        )
    if 0 in tensor.shape:
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    flat = randn(rows, columns, dtype=tensor.dtype, generator=generator, device="cpu")._array
    q, r = lapack.qr(flat if rows >= columns else flat.T)
    q = q * np.sign(np.diagonal(r))
    if rows < columns:
        q = q.T
    return _fill(tensor, Tensor((q * gain).reshape(tensor.shape)))


def _check(function: str, tensor: Tensor, generator: Generator | None = None, /, **numbers: float) -> None:
    """Raise TypeError unless `tensor` is a Tensor, `generator` a Generator or None, and the rest are numbers."""
    check_tensor(f"{function}: tensor", tensor)
    if not tensor.is_leaf and tensor._view is None:
        raise ArgumentValueError(
            f"{function}: the tensor was computed from others, which would not change with it. If it is a parametrised "
            f"weight, assign it: layer.weight = nn.init.{function}(rt.empty_like(layer.weight))"
        )
    for name, number in numbers.items():
        check_number(f"{function}: {name}", number)
    if generator is not None and not isinstance(generator, Generator):
        raise ArgumentTypeError(
            f"{function}: generator must be a Generator or None, got {type(generator).__name__}"
        )


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentValueError(f'mode must be "fan_in" or "fan_out", got {mode!r}')
    fan_in, fan_out = _fans(tensor)
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan_in if mode == "fan_in" else fan_out))


def _fans(tensor: Tensor) -> tuple[int, int]:
    """Return the number of inputs per output and of outputs per input of a weight (out, in, ...)."""
    if tensor.ndim < 2:
        raise ArgumentValueError(
            f"fan in and fan out need a tensor of at least 2 dimensions, got shape {tuple(tensor.shape)}"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fill(tensor: Tensor, values: Tensor) -> Tensor:
    with no_grad():
        return tensor.copy_(values.to(tensor))
