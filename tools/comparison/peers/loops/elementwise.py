"""Cells without a recurrent matrix, written from the papers' equations.

Whatever does not depend on the state is computed for all steps at once, before the loop; of the ways to write the
rest, the fastest of those tried is here.
"""

import torch
from torch import Tensor, nn

from .loop import Loop


class MinGRULoop(Loop):
    """The minimal GRU.

    ::

        z_t = sigmoid(W_z x_t + b_z)
        h_t = (1 - z_t) h_{t-1} + z_t (W_h x_t + b_h)

    Feng et al., "Were RNNs all we needed?" (2024).
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(2, inputs, hidden)
        self.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I)."""
        z, candidate = self.projected_apart(x, 1, 1)
        h, outputs = self.zeros(x), []
        for z_t, candidate_t in zip(torch.sigmoid(z).unbind(0), candidate.unbind(0), strict=True):
            h = torch.lerp(h, candidate_t, z_t)
            outputs.append(h)
        return torch.stack(outputs), (h,)


class RGLRULoop(Loop):
    """The real-gated linear recurrent unit.

    ::

        r_t = sigmoid(W_r x_t + b_r)
        i_t = sigmoid(W_i x_t + b_i)
        log a_t = -8 softplus(-Lambda) r_t
        h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t (W_v x_t + b_v))

    De et al., "Griffin" (2024), equations 1 to 4, and a linear layer v before it.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(3, inputs, hidden)
        self.logit_a = nn.Parameter(torch.empty(hidden))
        self.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H) and the final states (B, H) for x (T, B, I)."""
        r, i, v = self.projected_apart(x, 1, 1, 1)
        log_a = -8 * nn.functional.softplus(-self.logit_a) * torch.sigmoid(r)
        taken = torch.sqrt(-torch.expm1(2 * log_a)) * torch.sigmoid(i) * v
        h, outputs = self.zeros(x), []
        for a_t, taken_t in zip(torch.exp(log_a).unbind(0), taken.unbind(0), strict=True):
            h = torch.addcmul(taken_t, a_t, h)
            outputs.append(h)
        return torch.stack(outputs), (h,)


class HGRNLoop(Loop):
    """The hierarchically gated recurrent unit, in real numbers: PyTorch's complex ones are slower on large arrays.

    ::

        f_t = gamma + (1 - gamma) sigmoid(W_f x_t + b_f)
        c_t = silu(W_re x_t + b_re) + i silu(W_im x_t + b_im)
        h_t = f_t exp(i theta) h_{t-1} + (1 - f_t) c_t

    Qin et al., "Hierarchically gated recurrent neural network for sequence modeling" (2023), with gamma the sigmoid of
    a vector.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(3, inputs, hidden)
        self.logit_gamma = nn.Parameter(torch.empty(hidden))
        self.theta = nn.Parameter(torch.empty(hidden))
        self.reset_parameters()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs (T, B, H), the real parts, and the final states (B, H) for x (T, B, I)."""
        f, c_re, c_im = self.projected_apart(x, 1, 1, 1)
        gamma = torch.sigmoid(self.logit_gamma)
        f = gamma + (1 - gamma) * torch.sigmoid(f)
        taken_re, taken_im = (1 - f) * nn.functional.silu(c_re), (1 - f) * nn.functional.silu(c_im)
        decay_re, decay_im = f * torch.cos(self.theta), f * torch.sin(self.theta)
        steps = (part.unbind(0) for part in (decay_re, decay_im, taken_re, taken_im))
        re = im = self.zeros(x)
        outputs = []
        for a, b, c, d in zip(*steps, strict=True):
            re, im = (
                torch.addcmul(torch.addcmul(c, a, re), b, im, value=-1),
                torch.addcmul(torch.addcmul(d, b, re), a, im),
            )
            outputs.append(re)
        return torch.stack(outputs), (re, im)
