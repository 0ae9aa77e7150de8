"""`InputDecay`: the missing values of a series, imputed as in GRU-D."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.deferred import require
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor import Tensor

from . import init
from ._checks import as_array, check_devices, check_flags, check_sizes, check_tensor
from ._module import Module
from ._parameter import Parameter

__all__ = ["InputDecay"]


class InputDecay(Module):
    """Replace missing values by the last one observed, which decays to the mean at a learned rate.

    ::

        gamma_t = exp(-max(0, weight * delta_t + bias))
        y_t = x_t                                           where x_t was observed
        y_t = gamma_t * last_t + (1 - gamma_t) * mean       elsewhere

    with a rate of its own for each variable. ``last_t`` is the variable's last observed value before step t, or the
    mean before the first, and ``delta_t`` the time since then. No value depends on a later step. Che et al., "Recurrent
    neural networks for multivariate time series with missing values" (2018), the input decay of GRU-D, whose cell is
    `nn.cells.gru_d`.

    Parameters
    ----------
    input_size : int
        I, the number of variables.
    mean : array_like, shape (I,), optional
        The value to which a variable decays in a long time without observations, usually its mean over the training
        data; zeros by default, which suits standardised variables.
    batch_first : bool
        Arguments and result are (B, T, I) rather than (T, B, I).
    device : optional
        Where parameters and buffers are created.
    dtype : dtype, optional
        float32 (the default) or float64.

    Attributes
    ----------
    weight : Parameter
        (I,), the rates, initially uniform in [0, 1): not negative, where the maximum would have no gradient.
    bias : Parameter
        (I,), initially zeros.
    mean : Tensor
        (I,), a buffer: it is not learned, and is part of the state dict.

    Examples
    --------
    A series of one variable that is observed at the first and the fourth step:

    >>> import math
    >>> from rondeau import nn, tensor as rt
    >>> decay = nn.InputDecay(1)
    >>> _ = nn.init.ones_(decay.weight)
    >>> x = rt.tensor([8.0, math.nan, math.nan, 4.0]).reshape(4, 1)
    >>> delta = rt.tensor([0.0, 1.0, 2.0, 3.0]).reshape(4, 1)
    >>> [round(value, 3) for value in decay(x, ~rt.isnan(x), delta).flatten().tolist()]
    [8.0, 2.943, 1.083, 4.0]
    """

    weight: Parameter
    bias: Parameter
    mean: Tensor

    def __init__(
        self,
        input_size: int,
        mean: ArrayLike | Tensor | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size)
        check_flags(batch_first=batch_first)
        self.input_size, self.batch_first = input_size, batch_first
        self.weight = Parameter(rt.empty(input_size, dtype=dtype, device=device))
        self.bias = Parameter(rt.empty(input_size, dtype=dtype, device=device))
        values = np.zeros(input_size) if mean is None else as_array("mean", mean)
        if values.shape != (input_size,):
            raise ArgumentValueError(
                f"mean must have a number for each variable, expected shape ({input_size},), got {values.shape}"
            )
        self.register_buffer("mean", rt.tensor(values, dtype=self.weight.dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the rates from U(0, 1), and set the bias to zeros."""
        init.uniform_(self.weight)
        init.zeros_(self.bias)

    def forward(self, x: Tensor, mask: Tensor | ArrayLike, delta: Tensor) -> Tensor:
        """Return the values with the missing ones replaced.

        Parameters
        ----------
        x : Tensor, shape (T, B, I) or (T, I)
            The values. Where the mask is false they are ignored, even NaN, and get no gradient.
        mask : Tensor or array_like of bool or of 0 and 1, shape of `x`
            Which values were observed.
        delta : Tensor, shape of `x`
            The time since each variable was last observed, before step t. Where the mask is true, and before a variable
            was first observed, it is ignored, even NaN, and gets no gradient.

        Returns
        -------
        Tensor, shape of `x`

        Raises
        ------
        ValueError
            If a shape differs from that of `x`, `x` does not have I variables, or the mask has numbers other than 0
            and 1.
        TypeError
            If `x` or `delta` is not a tensor of the dtype of the parameters.
        """
        weight, mean = self.weight, self.mean  # read once: they may be parametrised
        for name, tensor in (("x", x), ("delta", delta)):
            check_tensor(f"InputDecay: {name}", tensor)
            if tensor.dtype != weight.dtype:
                raise ArgumentTypeError(
                    f"InputDecay: {name} must be {weight.dtype} as the parameters are, got {tensor.dtype}: "
                    f"write {name}.to({str(weight.dtype)!r})"
                )
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            form = "(B, T, I)" if self.batch_first else "(T, B, I)"
            raise ArgumentValueError(
                f"InputDecay: x must be {form} or (T, I) with I={self.input_size} variables, got shape {x.shape}"
            )
        observed = _as_mask(mask)
        for name, shape in (("mask", observed.shape), ("delta", delta.shape)):
            if shape != x.shape:
                raise ArgumentValueError(
                    f"InputDecay: {name} must have the shape of x, {x.shape}, got {shape}"
                )
        check_devices("InputDecay", x=x, mask=observed, delta=delta)
        time = 1 if self.batch_first and x.ndim == 3 else 0
        latest = _latest(observed, time)
        last = rt.where(Tensor(latest >= 0), rt.gather(x, time, Tensor(np.maximum(latest, 0))), mean)
        # Chosen before the product, whose gradient is NaN where a time is, even times 0.
        since = rt.where(Tensor(~observed & (latest >= 0)), delta, rt.zeros_like(delta))
        gamma = rt.exp(-rt.relu(weight * since + self.bias))
        return rt.where(Tensor(observed), x, mean + gamma * (last - mean))

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return f"{self.input_size}" + (", batch_first=True" if self.batch_first else "")


def _as_mask(mask: Any) -> NDArray[np.bool_]:
    values = as_array("mask", mask)
    observed: NDArray[np.bool_] = values != 0
    if values.dtype != np.bool_:
        require(np.all(values == observed), _other_numbers)
    return observed


def _other_numbers() -> ArgumentValueError:
    return ArgumentValueError(
        "InputDecay: mask must be boolean, or 0 where a value is missing and 1 where it was observed; got other numbers"
    )


def _latest(observed: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    """Return for each step the last one, up to it, that was observed, or -1 if none was.

    A running maximum of steps, of which each pass looks twice as far back: on a GPU, NumPy's `accumulate` has none.
    """
    size = observed.shape[axis]
    steps = library_of(observed).arange(size).reshape(-1, *[1] * (observed.ndim - 1 - axis))
    latest = np.where(observed, steps, -1)
    reach = 1
    while reach < size:
        later, earlier = [slice(None)] * observed.ndim, [slice(None)] * observed.ndim
        later[axis], earlier[axis] = slice(reach, None), slice(-reach)
        latest[tuple(later)] = np.maximum(latest[tuple(later)], latest[tuple(earlier)])
        reach *= 2
    return latest
