"""Gated cells with a recurrent matrix, written from the papers' equations."""

import torch
from torch import Tensor, nn

from .loop import RecurrentLoop


class HighwayLoop(RecurrentLoop):
    """A made-up cell: a forget gate with a peephole, coupled to the input, and a highway past the output.

    ::

        f_t = sigmoid(W_f x_t + b_f + R_f h_{t-1} + c_{t-1} / 2)
        c_t = f_t c_{t-1} + (1 - f_t) tanh(W_g x_t + b_g + R_g h_{t-1})
        o_t = sigmoid(W_o x_t + b_o + R_o h_{t-1} + c_t)
        h_t = o_t tanh(c_t) + (1 - o_t) h_{t-1}
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(3, inputs, hidden)
        self.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I)."""
        h = c = self.zeros(x)
        weight, outputs = self.weight_hh.t(), []
        for part in self.projected(x).unbind(0):
            f, g, o = torch.addmm(part, h, weight).chunk(3, 1)
            f = torch.sigmoid(f + 0.5 * c)
            c = f * c + (1 - f) * torch.tanh(g)
            o = torch.sigmoid(o + c)
            h = o * torch.tanh(c) + (1 - o) * h
            outputs.append(h)
        return torch.stack(outputs), (h, c)


class PeepholeLoop(RecurrentLoop):
    """The LSTM whose gates see the cell state: i and f that of the step before, o the new one.

    ::

        i_t = sigmoid(W_i x_t + b_i + R_i h_{t-1} + p_i c_{t-1})
        f_t = sigmoid(W_f x_t + b_f + R_f h_{t-1} + p_f c_{t-1})
        c_t = f_t c_{t-1} + i_t tanh(W_g x_t + b_g + R_g h_{t-1})
        o_t = sigmoid(W_o x_t + b_o + R_o h_{t-1} + p_o c_t)
        h_t = o_t tanh(c_t)

    Gers, Schmidhuber, "Recurrent nets that time and count" (2000), with tanh where they have scaled sigmoids.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(4, inputs, hidden)
        self.p_i = nn.Parameter(torch.empty(hidden))
        self.p_f = nn.Parameter(torch.empty(hidden))
        self.p_o = nn.Parameter(torch.empty(hidden))
        self.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I)."""
        h = c = self.zeros(x)
        weight, outputs = self.weight_hh.t(), []
        for part in self.projected(x).unbind(0):
            i, f, g, o = torch.addmm(part, h, weight).chunk(4, 1)
            i = torch.sigmoid(i + self.p_i * c)
            f = torch.sigmoid(f + self.p_f * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + self.p_o * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), (h, c)


class SLSTMLoop(RecurrentLoop):
    """The sLSTM: an exponential input gate, a normaliser n, and a stabiliser m that keeps both in range.

    ::

        m_t = max(log sigmoid(f~_t) + m_{t-1}, i~_t)
        i_t = exp(i~_t - m_t)
        f_t = exp(log sigmoid(f~_t) + m_{t-1} - m_t)
        c_t = f_t c_{t-1} + i_t tanh(z~_t)
        n_t = f_t n_{t-1} + i_t
        h_t = sigmoid(o~_t) c_t / n_t

    where k~_t is ``W_k x_t + b_k + R_k h_{t-1}``. Beck et al., "xLSTM: extended long short-term memory" (2024),
    equations 8 to 17, with the sigmoid of the two forget gates that equation 12 allows. m_0 is minus infinity, so that
    m_1 = i~_1, as in the authors' code: from zero, a small i~_1 could make c and n both zero.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(4, inputs, hidden)
        self.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I)."""
        h = c = n = self.zeros(x)
        m = x.new_full((x.shape[1], self.hidden), -torch.inf)
        weight, outputs = self.weight_hh.t(), []
        for part in self.projected(x).unbind(0):
            i, f, z, o = torch.addmm(part, h, weight).chunk(4, 1)
            kept = nn.functional.logsigmoid(f) + m
            m = torch.maximum(kept, i)
            i = torch.exp(i - m)
            f = torch.exp(kept - m)
            c = f * c + i * torch.tanh(z)
            n = f * n + i
            h = torch.sigmoid(o) * c / n
            outputs.append(h)
        return torch.stack(outputs), (h, c, n, m)
