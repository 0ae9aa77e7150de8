"""`RNN`, `GRU` and `LSTM`: `Recurrent` with a built-in cell."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentValueError

from . import cells
from ._recurrent.layer import Recurrent
from ._recurrent.options import Options
from ._recurrent.single_step import rnn_cell

__all__ = ["GRU", "LSTM", "RNN"]


def __dir__() -> list[str]:
    return __all__


def _refuse_projection(proj_size: int) -> None:
    if not isinstance(proj_size, int | np.integer) or proj_size != 0:
        raise ArgumentValueError(
            f"proj_size argument is only supported for LSTM, not RNN or GRU, got proj_size={proj_size}; "
            "nn.Recurrent projects any cell that does not read its first state"
        )


class RNN(Recurrent):
    """Simple recurrent layers (Elman 1990), with PyTorch's arguments, weights and results.

    Parameters
    ----------
    input_size : int
        I, the features of the input.
    hidden_size : int
        H, the hidden units of a layer and direction.
    num_layers : int, default 1
        L; each layer after the first takes the output of the one below as its input.
    nonlinearity : {"tanh", "relu"}, default "tanh"
        The function applied to the sum.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool, default False
        Input and output are (B, T, ...) rather than (T, B, ...). States are not affected.
    dropout : float, default 0
        The probability of dropping an element of the output of each layer except the last, in training.
    bidirectional : bool, default False
        Run a second set of weights over the reversed sequence; D is then 2, otherwise 1.
    proj_size : int, default 0
        Must be zero, as in PyTorch; `Recurrent` projects any cell that does not read its first state.
    device : optional
        Where the parameters are created.
    dtype : dtype, optional
        float32 (the default) or float64.
    **options
        ``num_heads``, ``recurrent_dropout``, ``zoneout``, ``weight_dropout``, ``bptt_truncate``, ``recompute_every``
        and ``learn_initial_state``, by name; see `Recurrent`.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : Parameter
        (H, I), or (H, D*H) above the first layer; (H, H); (H,); (H,). Further layers end in ``_l1``, ..., the
        reverse direction in ``_reverse``. All are drawn from U(-1/sqrt(H), 1/sqrt(H)).

    Notes
    -----
    ``h_t = tanh(W x_t + b + R h_{t-1} + c)``, or with relu instead of tanh: `cells.rnn_tanh` and `cells.rnn_relu`.

    A call takes ``input`` and, optionally, the initial states:

    * ``input`` is a Tensor (T, B, I), (T, I) without a batch, a `PackedSequence`, or int64 indices (T, B), which stand
      for one-hot rows of width I;
    * ``hx`` is one Tensor (L*D, B, H), or (L*D, H) without a batch; zeros by default, or learned.

    It returns ``output``, (T, B, D*H), in the form of the input, and the states after each sequence's last step.
    ``lengths=`` and ``reset=`` tell which steps of a padded batch are valid; see `Recurrent.forward`.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.RNN(3, 5, nonlinearity="relu")
    >>> output, h_n = layer(rt.ones(7, 2, 3))
    >>> output.shape, h_n.shape
    ((7, 2, 5), (1, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: DTypeLike | None = None,
        **options: Unpack[Options],
    ) -> None:
        _refuse_projection(proj_size)
        super().__init__(
            rnn_cell(nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            **options,
        )
        self.nonlinearity = nonlinearity


class GRU(Recurrent):
    """Gated recurrent layers (Cho et al. 2014), with PyTorch's arguments, weights and results.

    Parameters
    ----------
    input_size : int
        I, the features of the input.
    hidden_size : int
        H, the hidden units of a layer and direction.
    num_layers : int, default 1
        L; each layer after the first takes the output of the one below as its input.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool, default False
        Input and output are (B, T, ...) rather than (T, B, ...). States are not affected.
    dropout : float, default 0
        The probability of dropping an element of the output of each layer except the last, in training.
    bidirectional : bool, default False
        Run a second set of weights over the reversed sequence; D is then 2, otherwise 1.
    proj_size : int, default 0
        Must be zero, as in PyTorch; `Recurrent` projects any cell that does not read its first state.
    device : optional
        Where the parameters are created.
    dtype : dtype, optional
        float32 (the default) or float64.
    **options
        ``num_heads``, ``recurrent_dropout``, ``zoneout``, ``weight_dropout``, ``bptt_truncate``, ``recompute_every``
        and ``learn_initial_state``, by name; see `Recurrent`.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : Parameter
        (3*H, I), or (3*H, D*H) above the first layer; (3*H, H); (3*H,); (3*H,): the gates r, z, n one after the
        other. Further layers end in ``_l1``, ..., the reverse direction in ``_reverse``. All are drawn from
        U(-1/sqrt(H), 1/sqrt(H)).

    Notes
    -----
    With ``W_k x_t + b_k`` the input part and ``R_k h_{t-1} + c_k`` the recurrent part of gate k::

        r = sigmoid(W_r x_t + b_r + R_r h_{t-1} + c_r)
        z = sigmoid(W_z x_t + b_z + R_z h_{t-1} + c_z)
        n = tanh(W_n x_t + b_n + r * (R_n h_{t-1} + c_n))
        h_t = (1 - z) * n + z * h_{t-1}

    The reset gate is applied after the matrix, as in PyTorch and cuDNN; `cells.gru_original` applies it before.

    A call takes ``input`` and, optionally, the initial states:

    * ``input`` is a Tensor (T, B, I), (T, I) without a batch, a `PackedSequence`, or int64 indices (T, B), which stand
      for one-hot rows of width I;
    * ``hx`` is one Tensor (L*D, B, H), or (L*D, H) without a batch; zeros by default, or learned.

    It returns ``output``, (T, B, D*H), in the form of the input, and the states after each sequence's last step.
    ``lengths=`` and ``reset=`` tell which steps of a padded batch are valid; see `Recurrent.forward`.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.GRU(3, 5, num_layers=2, batch_first=True)
    >>> output, h_n = layer(rt.ones(4, 7, 3))
    >>> output.shape, h_n.shape
    ((4, 7, 5), (2, 4, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: DTypeLike | None = None,
        **options: Unpack[Options],
    ) -> None:
        _refuse_projection(proj_size)
        super().__init__(
            cells.gru,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            **options,
        )


class LSTM(Recurrent):
    """Long short-term memory layers (Hochreiter, Schmidhuber 1997), with PyTorch's arguments, weights and results.

    Parameters
    ----------
    input_size : int
        I, the features of the input.
    hidden_size : int
        H, the hidden units of a layer and direction.
    num_layers : int, default 1
        L; each layer after the first takes the output of the one below as its input.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool, default False
        Input and output are (B, T, ...) rather than (T, B, ...). States are not affected.
    dropout : float, default 0
        The probability of dropping an element of the output of each layer except the last, in training.
    bidirectional : bool, default False
        Run a second set of weights over the reversed sequence; D is then 2, otherwise 1.
    proj_size : int, default 0
        P, if positive: h is projected to this many features by ``weight_hr`` after each step (Sak, Senior, Beaufays
        2014). Zero: no projection, and P = H below.
    device : optional
        Where the parameters are created.
    dtype : dtype, optional
        float32 (the default) or float64.
    **options
        ``num_heads``, ``recurrent_dropout``, ``zoneout``, ``weight_dropout``, ``bptt_truncate``, ``recompute_every``
        and ``learn_initial_state``, by name; see `Recurrent`.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : Parameter
        (4*H, I), or (4*H, D*P) above the first layer; (4*H, P); (4*H,); (4*H,): the gates i, f, g, o one after the
        other. With a projection also ``weight_hr_l0`` (P, H). Further layers end in ``_l1``, ..., the
        reverse direction in ``_reverse``. All are drawn from U(-1/sqrt(H), 1/sqrt(H)). `init.forget_bias_` opens
        the forget gates at the start of training.

    Notes
    -----
    With ``W_k x_t + b_k`` the input part and ``R_k h_{t-1} + c_k`` the recurrent part of gate k::

        i = sigmoid(W_i x_t + b_i + R_i h_{t-1} + c_i)
        f = sigmoid(W_f x_t + b_f + R_f h_{t-1} + c_f)
        g = tanh(W_g x_t + b_g + R_g h_{t-1} + c_g)
        o = sigmoid(W_o x_t + b_o + R_o h_{t-1} + c_o)
        c_t = f * c_{t-1} + i * g
        h_t = o * tanh(c_t)

    A call takes ``input`` and, optionally, the initial states:

    * ``input`` is a Tensor (T, B, I), (T, I) without a batch, a `PackedSequence`, or int64 indices (T, B), which stand
      for one-hot rows of width I;
    * ``hx`` is a pair of Tensors ``(h, c)``, (L*D, B, P) and (L*D, B, H), without B if there is no batch; zeros by
      default.

    It returns ``output``, (T, B, D*P), in the form of the input, and the states after each sequence's last step.
    ``lengths=`` and ``reset=`` tell which steps of a padded batch are valid; see `Recurrent.forward`.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.LSTM(3, 5, proj_size=2)
    >>> output, (h_n, c_n) = layer(rt.ones(7, 4, 3))
    >>> output.shape, h_n.shape, c_n.shape
    ((7, 4, 2), (1, 4, 2), (1, 4, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: DTypeLike | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            cells.lstm,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            **options,
        )
