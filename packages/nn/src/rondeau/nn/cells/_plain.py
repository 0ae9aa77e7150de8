"""Simple recurrent networks: one gate, which is the new state."""

from __future__ import annotations

from typing import Any

from .. import cell_math as m
from .._recurrent.decorator import recurrent_cell

__all__ = ["linear_rnn", "rnn_relu", "rnn_tanh"]


@recurrent_cell(gates=("h",), states=("h",))
def rnn_tanh(x: Any, r: Any, s: Any) -> Any:
    """Step the simple recurrent network: ``h_t = tanh(W x_t + b + R h_{t-1} + c)``.

    Elman, "Finding structure in time", Cognitive Science 14 (1990), with PyTorch's two biases.
    """
    return m.tanh(x.h + r.h)


@recurrent_cell(gates=("h",), states=("h",))
def rnn_relu(x: Any, r: Any, s: Any) -> Any:
    """Step the simple recurrent network of rectified units: ``h_t = max(0, W x_t + b + R h_{t-1} + c)``.

    Le, Jaitly, Hinton, "A simple way to initialize recurrent networks of rectified linear units" (2015).
    """
    return m.relu(x.h + r.h)


@recurrent_cell(gates=("h",), states=("h",))
def linear_rnn(x: Any, r: Any, s: Any) -> Any:
    """Step the recurrent network without a nonlinearity: ``h_t = W x_t + b + R h_{t-1} + c``.

    Its gradient over T steps is multiplied by ``R`` to the power T, so it vanishes or explodes depending on whether the
    largest eigenvalue of ``R`` is below or above 1; and any number of steps is one linear map of the inputs. For its
    use as a layer of a deep network, see Orvieto et al., "Resurrecting recurrent neural networks for long sequences"
    (2023), section 3.
    """
    return x.h + r.h
