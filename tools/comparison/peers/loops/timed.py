"""Cells with noise, static inputs or elapsed time, written from the papers' equations.

As in `elementwise`, what does not depend on the state is computed for all steps at once, and of the ways to write the
rest, the fastest of those tried is here: `lerp` for mixtures, `addcmul`, one call for gates that stand side by side.
"""

import torch
from torch import Tensor

from .loop import RecurrentLoop


class CTRNNLoop(RecurrentLoop):
    """The continuous-time network of rates, with noise inside the rectifier.

    ::

        h_t = (1 - alpha) h_{t-1} + alpha max(0, W x_t + b + R h_{t-1} + sqrt(2 / alpha) sigma normal)

    Yang et al., "Task representations in neural networks trained to perform many cognitive tasks" (2019).
    """

    alpha, noise = 0.2, 0.05

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(1, inputs, hidden)
        self.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I)."""
        steps, batch, _ = x.shape
        noise = torch.randn(steps * batch, self.hidden).mul_((2 / self.alpha) ** 0.5 * self.noise)
        parts = torch.addmm(noise + self.bias, x.flatten(0, 1), self.weight_ih.t()).view(steps, batch, -1)
        weight, outputs = self.weight_hh.t(), []
        h = self.zeros(x)
        for part in parts.unbind(0):
            h = torch.lerp(h, torch.relu(torch.addmm(part, h, weight)), self.alpha)
            outputs.append(h)
        return torch.stack(outputs), (h,)


class EALSTMLoop(RecurrentLoop):
    """The entity-aware LSTM, given its input gate i.

    ::

        f_t = sigmoid(W_f x_t + b_f + R_f h_{t-1})
        o_t = sigmoid(W_o x_t + b_o + R_o h_{t-1})
        c_t = f_t c_{t-1} + i tanh(W_g x_t + b_g + R_g h_{t-1})
        h_t = o_t tanh(c_t)

    Kratzert et al., "Towards learning universal, regional, and local hydrological behaviors" (2019).
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(3, inputs, hidden)
        self.reset_parameters()

    def forward(self, x: Tensor, gate: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I) and the gate (B, H)."""
        h = c = self.zeros(x)
        weight, outputs = self.weight_hh.t(), []
        for part in self.projected(x).unbind(0):
            f, g, o = torch.addmm(part, h, weight).chunk(3, 1)
            c = torch.addcmul(torch.sigmoid(f) * c, gate, torch.tanh(g))
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), (h, c)


class GRUDLoop(RecurrentLoop):
    """The GRU whose state decays with elapsed time, given the decay's exponent before its maximum.

    ::

        d_t = exp(-max(0, elapsed_t)) h_{t-1}
        r_t, z_t = sigmoid(W_k x_t + b_k + R_k d_t) for k = r, z
        h_t = (1 - z_t) d_t + z_t tanh(W_n x_t + b_n + R_n (r_t d_t))

    Che et al., "Recurrent neural networks for multivariate time series with missing values" (2018).
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(3, inputs, hidden)
        self.reset_parameters()

    def forward(self, x: Tensor, elapsed: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I) and elapsed times (T, B, H)."""
        gates, candidates = self.projected_apart(x, 2, 1)
        decays = torch.exp(-torch.relu(elapsed))
        of_gates, of_candidate = (weight.t() for weight in self.recurrent_apart(2, 1))
        h, outputs = self.zeros(x), []
        for gate, candidate, decay in zip(
            gates.unbind(0), candidates.unbind(0), decays.unbind(0), strict=True
        ):
            h = decay * h
            r, z = torch.sigmoid(torch.addmm(gate, h, of_gates)).chunk(2, 1)
            h = torch.lerp(h, torch.tanh(torch.addmm(candidate, r * h, of_candidate)), z)
            outputs.append(h)
        return torch.stack(outputs), (h,)


class CfCLoop(RecurrentLoop):
    """The closed-form continuous-time network with a backbone of one layer.

    ::

        z_t = 1.7159 tanh(0.666 (W_b x_t + b_b + R_b h_{t-1}))
        f_t, g_t, l_t = W_k x_t + b_k + R_k z_t
        h_t = sigmoid(-f_t dt_t) tanh(g_t) + (1 - sigmoid(-f_t dt_t)) tanh(l_t)

    Hasani et al., "Closed-form continuous-time neural networks" (2022), with heads that also see the input.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(4, inputs, hidden)
        self.reset_parameters()

    def forward(self, x: Tensor, dt: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I) and time steps (T, B)."""
        backbones, heads = self.projected_apart(x, 1, 3)
        of_backbone, of_heads = (weight.t() for weight in self.recurrent_apart(1, 3))
        spans = (-dt).unsqueeze(-1)
        h, outputs = self.zeros(x), []
        for backbone, head, span in zip(backbones.unbind(0), heads.unbind(0), spans.unbind(0), strict=True):
            z = 1.7159 * torch.tanh(0.666 * torch.addmm(backbone, h, of_backbone))
            f, ends = torch.split(torch.addmm(head, z, of_heads), [self.hidden, 2 * self.hidden], 1)
            g, limit = torch.tanh(ends).chunk(2, 1)
            h = torch.lerp(limit, g, torch.sigmoid(f * span))
            outputs.append(h)
        return torch.stack(outputs), (h,)
