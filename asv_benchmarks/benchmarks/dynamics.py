"""Jacobians, fixed points and Lyapunov exponents of GRU layers."""

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

HIDDEN = [64, 128]


class Dynamics:
    """A GRU with 8 inputs; what compiles is in setup."""

    params = (HIDDEN,)
    param_names = ("hidden",)

    def setup(self, hidden):
        rt.manual_seed(0)
        rng = np.random.default_rng(0)
        self.layer = nn.GRU(8, hidden)
        self.x = np.zeros(8)
        self.states = rng.uniform(-1, 1, (1000, hidden))
        self.inputs = rng.standard_normal((200, 8))
        nn.dynamics.fixed_points(self.layer, self.x, self.states[:2])

    def time_jacobian_of_1000_states(self, hidden):
        nn.dynamics.jacobian(self.layer, self.states, self.x)

    def time_fixed_points_from_100_starts(self, hidden):
        nn.dynamics.fixed_points(self.layer, self.x, self.states[:100])

    def time_10_lyapunov_exponents_of_200_steps(self, hidden):
        nn.dynamics.lyapunov_exponents(self.layer, self.inputs, 10)
