"""Batch normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime import buffers
from rondeau.kernels.runtime.devices import is_of_device, is_writeable
from rondeau.tensor import Function, Tensor, no_grad, ones, tensor, zeros

from . import init
from ._checks import check_devices, check_epsilon, check_flags, check_number, check_sizes, check_tensor
from ._module import Module
from ._parameter import Parameter


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise every channel to mean 0 and variance 1, then scale and shift it (Ioffe and Szegedy 2015, alg. 1).

    y = (x - mean) / sqrt(var + eps) * weight + bias for each channel. In training, mean and variance (over n, not
    n - 1) are those of the n numbers of the channel in all samples; otherwise the running statistics are used.

    Parameters
    ----------
    input : Tensor
        Shape (N, C) or (N, C, d1, ...); N may be 0.
    running_mean, running_var : Tensor or None
        Shape (C,). In training they become (1 - momentum) times their old value plus momentum times the mean and the
        variance over n - 1. None keeps no statistics.
    weight, bias : Tensor, optional
        Shape (C,).
    training : bool
        Whether to use the statistics of this input.
    momentum : float
        The weight of this input in the running statistics.
    eps : float
        Added to the variance.

    Returns
    -------
    Tensor
        The shape of `input`.

    Raises
    ------
    ValueError
        If shapes do not match; if there is only one number per channel in training, whose variance would be 0; if
        running statistics are missing outside of training, or cannot be written in training; or if momentum or eps is
        out of range.
    TypeError
        If the dtypes differ, or are neither float32 nor float64; or if an argument has the wrong type.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> x = rt.tensor([[1.0, 5.0], [3.0, 5.0]])
    >>> nn.functional.batch_norm(x, None, None, training=True, eps=1e-12).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    check_flags("batch_norm: ", training=training)
    _check_momentum("batch_norm: momentum", momentum)
    check_epsilon("batch_norm: eps", eps)
    _check_arguments(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    channels = input.shape[1]
    if training:
        _check_writable(running_mean=running_mean, running_var=running_var)
    count = math.prod(input.shape) // channels
    along = (1, channels, *(1,) * (input.ndim - 2))
    if not training:
        if running_mean is None or running_var is None:
            raise ArgumentValueError(
                "batch_norm: running_mean and running_var must be given where training=False: there is nothing "
                "else to normalise with"
            )
        factor = (running_var + eps) ** -0.5
        if weight is not None:
            factor = factor * weight
        y = (input - running_mean.reshape(along)) * factor.reshape(along)
        result: Tensor = y if bias is None else y + bias.reshape(along)
        return result
    if count == 1:
        raise ArgumentValueError(
            f"Expected more than 1 value per channel when training, got input size {tuple(input.shape)}; give more "
            "samples, or call eval() on the layer to normalise with the running statistics"
        )
    rows = input.reshape(input.shape[0], channels, math.prod(input.shape[2:]))
    if count == 0:
        return rows.reshape(input.shape)
    normalised, mean, var = _BatchNorm.apply(rows, weight, bias, float(eps))
    with no_grad():
        if running_mean is not None:
            running_mean.copy_(running_mean * (1 - momentum) + mean * momentum)
        if running_var is not None:
            running_var.copy_(running_var * (1 - momentum) + var * (momentum * (count / (count - 1))))
    whole: Tensor = normalised.reshape(input.shape)
    return whole


def _check_momentum(name: str, momentum: Any) -> None:
    check_number(name, momentum)
    if not 0 <= momentum <= 1:
        raise ArgumentValueError(f"{name} must be a share from 0 to 1, got {momentum!r:.80}")


def _check_arguments(input: Tensor, **of_channels: Tensor | None) -> None:
    check_tensor("batch_norm: input", input)
    if input.ndim < 2 or input.shape[1] == 0:
        raise ArgumentValueError(
            f"batch_norm: input must have shape (N, C) or (N, C, d1, ...) with C at least 1, got "
            f"{tuple(input.shape)}"
        )
    if input.dtype.char not in "fd":
        raise ArgumentTypeError(
            f"batch_norm: input must be float32 or float64, got {input.dtype}; use input.float()"
        )
    for name, given in of_channels.items():
        if given is None:
            continue
        check_tensor(f"batch_norm: {name}", given)
        if given.shape != (input.shape[1],):
            raise ArgumentValueError(
                f"batch_norm: {name} must have shape ({input.shape[1]},), one for each channel of the input of "
                f"shape {tuple(input.shape)}, got {tuple(given.shape)}"
            )
        if given.dtype != input.dtype:
            raise ArgumentTypeError(
                f"batch_norm: input is {input.dtype} and {name} is {given.dtype}; convert one"
            )
    check_devices("batch_norm", input=input, **of_channels)


def _check_writable(**statistics: Tensor | None) -> None:
    """Raise an error in advance if the statistics cannot be written, rather than after updating half of them."""
    for name, given in statistics.items():
        if given is not None and not is_writeable(given._array):
            raise ArgumentValueError(
                f"batch_norm: {name} is updated in training, but its array is read-only, or its elements share memory; "
                "clone() it first"
            )


def _channel_sums(rows: NDArray[Any]) -> NDArray[Any]:
    """Sum (N, C, L) over N and L, pairwise and then in float64: as exact as float32 allows, in a fixed order."""
    sums: NDArray[Any] = rows.sum(axis=2).sum(axis=0, dtype=np.float64)
    return sums


def _may_hold(condition: NDArray[np.bool_]) -> bool:
    """Return whether a condition holds anywhere; on a GPU that it may, because to ask would wait."""
    return is_of_device(condition) or bool(condition.any())


class _BatchNorm(Function):
    """Rows (N, C, L) normalised over N and L, and the mean and the variance of each channel.

    With z = (x - mean) rstd and n = N L: dx = weight rstd (dy - (db + z dw) / n), dw = sum of dy z, db = sum of dy.
    """

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = x._array
        dtype, count = rows.dtype, rows.shape[0] * rows.shape[2]
        with np.errstate(all="ignore"):  # infinities and NaN are results, not events
            mean = _channel_sums(rows) / count
            centre = mean.astype(dtype)
            z = np.subtract(rows, centre[:, None], out=buffers.empty_like(rows, rows.shape))
            y = np.multiply(z, z, out=buffers.empty_like(rows, rows.shape))
            # Far from zero the dtype cannot represent the mean exactly, so the remainder is subtracted from z.
            rest = mean - centre
            var = np.maximum(_channel_sums(y) / count - rest * rest, 0)
            if _may_hold(np.isinf(var)):  # squares beyond the range of float32
                var = np.maximum(_channel_sums(np.square(z, dtype=np.float64)) / count - rest * rest, 0)
            rstd = 1 / np.sqrt(var + eps)
            # Squares beyond the range of float64: the channel would become zeros.
            np.copyto(rstd, np.nan, where=rstd == 0)
            z *= rstd.astype(dtype)[:, None]
            left = rest * rstd
            if _may_hold(np.abs(left) > np.finfo(dtype).eps):
                z -= left.astype(dtype)[:, None]
            if weight is None:
                y[...] = z
            else:
                np.multiply(z, weight._array[:, None], out=y)
            if bias is not None:
                y += bias._array[:, None]
            statistics = Tensor(mean.astype(dtype)), Tensor(var.astype(dtype))
        ctx.save_for_backward(x, weight)
        ctx.eps, ctx.z, ctx.rstd = eps, z, rstd
        ctx.mark_non_differentiable(*statistics)
        return Tensor(y), *statistics

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        if ctx.create_graph:
            return *_gradients(dy, x, weight, ctx.eps, ctx.needs_input_grad), None
        z, g, dtype = ctx.z, dy._array, dy.dtype
        dx = buffers.empty_like(g, g.shape)
        db = _channel_sums(g)
        dw = _channel_sums(np.multiply(g, z, out=dx))
        if of_x:
            count = g.shape[0] * g.shape[2]
            np.multiply(z, (-dw / count).astype(dtype)[:, None], out=dx)
            dx += g
            dx -= (db / count).astype(dtype)[:, None]
            dx *= (ctx.rstd if weight is None else ctx.rstd * weight._array).astype(dtype)[:, None]
        return (
            Tensor(dx) if of_x else None,
            Tensor(dw.astype(dtype)) if of_weight else None,
            Tensor(db.astype(dtype)) if of_bias else None,
            None,
        )


def _gradients(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Compute the gradients of `_BatchNorm` with operations that can be differentiated again."""
    over = (0, 2)
    centred = x - x.mean(over, keepdim=True)
    rstd = ((centred * centred).mean(over, keepdim=True) + eps) ** -0.5
    z = centred * rstd
    h = dy if weight is None else dy * weight.reshape(-1, 1)
    of_x, of_weight, of_bias, _ = needed
    return (
        rstd * (h - h.mean(over, keepdim=True) - z * (h * z).mean(over, keepdim=True)) if of_x else None,
        (dy * z).sum(over) if of_weight else None,
        dy.sum(over) if of_bias else None,
    )


class _BatchNormalisation(Module):
    """Base class of the layers for inputs of different shapes, which `_shapes` lists."""

    _shapes: dict[int, str]
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(num_features=num_features)
        check_flags(affine=affine, track_running_stats=track_running_stats, bias=bias)
        check_epsilon("eps", eps)
        if momentum is not None:
            _check_momentum("momentum", momentum)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        options = {"dtype": dtype, "device": device}
        self.register_parameter("weight", Parameter(ones(num_features, **options)) if affine else None)
        self.register_parameter(
            "bias", Parameter(zeros(num_features, **options)) if affine and bias else None
        )
        tracks = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **options) if tracks else None)
        self.register_buffer("running_var", ones(num_features, **options) if tracks else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if tracks else None)

    def reset_running_stats(self) -> None:
        """Set the running mean to 0, the running variance to 1, and the number of batches to 0."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked = tensor(0, device=self.running_mean.device)

    def reset_parameters(self) -> None:
        """Set the weight to ones, the bias to zeros, and the running statistics to their initial values."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to an input of a shape that the class accepts; in training this updates the running statistics."""
        name = type(self).__name__
        check_tensor(f"{name}: input", input)
        if input.ndim not in self._shapes or input.shape[1] != self.num_features:
            expected = " or ".join(self._shapes.values())
            raise ArgumentValueError(
                f"{name}: input must have shape {expected} with C = {self.num_features}, got "
                f"{tuple(input.shape)}"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        updates = self.training and self.track_running_stats
        if updates and self.num_batches_tracked is not None:
            self.num_batches_tracked = self.num_batches_tracked + 1
            if self.momentum is None:
                momentum = 1.0 / self._number_of_batches()
        tracked = (self.running_mean, self.running_var) if updates or not self.training else (None, None)
        return batch_norm(
            input,
            *tracked,
            self.weight,
            self.bias,
            self.training or tracked == (None, None),
            momentum,
            self.eps,
        )

    def _number_of_batches(self) -> int:
        assert self.num_batches_tracked is not None
        number = int(self.num_batches_tracked.item())
        if number < 1:
            raise ArgumentValueError(
                f"{type(self).__name__}: num_batches_tracked must be 0 or more before a batch, got {number - 1}"
            )
        return number

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNormalisation):
    """Normalise every channel of vectors or sequences over all samples; see `rondeau.nn.functional.batch_norm`.

    Training uses the statistics of the batch, and updates the running ones; after ``eval()`` the running ones are used.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance.
    momentum : float or None
        The weight of a batch in the running statistics; None makes them the mean over all batches.
    affine : bool
        Whether there is a weight, and a bias if `bias`.
    track_running_stats : bool
        Whether there are running statistics; without them, those of the batch are used after ``eval()`` too.
    device, dtype : optional
        Device and dtype of the parameters; float32 by default.
    bias : bool
        Whether there is a bias.

    Attributes
    ----------
    weight, bias : Parameter or None
        Shape (C,), initially ones and zeros.
    running_mean, running_var : Tensor or None
        Shape (C,), initially zeros and ones; buffers.
    num_batches_tracked : Tensor or None
        The number of batches they have seen, shape (), int64; a buffer.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.BatchNorm1d(2)
    >>> layer(rt.tensor([[1.0, 10.0], [3.0, 30.0]])).round().tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> [round(v, 3) for v in layer.running_mean.tolist()]
    [0.2, 2.0]
    """

    _shapes = {2: "(N, C)", 3: "(N, C, L)"}  # noqa: RUF012


class BatchNorm2d(_BatchNormalisation):
    """Normalise every channel of planes over all samples; see `rondeau.nn.functional.batch_norm`.

    Training uses the statistics of the batch, and updates the running ones; after ``eval()`` the running ones are used.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance.
    momentum : float or None
        The weight of a batch in the running statistics; None makes them the mean over all batches.
    affine : bool
        Whether there is a weight, and a bias if `bias`.
    track_running_stats : bool
        Whether there are running statistics; without them, those of the batch are used after ``eval()`` too.
    device, dtype : optional
        Device and dtype of the parameters; float32 by default.
    bias : bool
        Whether there is a bias.

    Attributes
    ----------
    weight, bias : Parameter or None
        Shape (C,), initially ones and zeros.
    running_mean, running_var : Tensor or None
        Shape (C,), initially zeros and ones; buffers.
    num_batches_tracked : Tensor or None
        The number of batches they have seen, shape (), int64; a buffer.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.BatchNorm2d(6)(rt.zeros(64, 6, 28, 28)).shape
    (64, 6, 28, 28)
    """

    _shapes = {4: "(N, C, H, W)"}  # noqa: RUF012
