"""Small tensors: what a call costs when the arithmetic costs nothing."""

import numpy as np

from rondeau import tensor as rt


class SmallOps:
    """Forward without a graph, forward with one, and a short chain with its backward, at 10 x 10."""

    def setup(self):
        rng = np.random.default_rng(0)
        self.a = rt.tensor(rng.random((10, 10), np.float32) + 0.5)
        self.b = rt.tensor(rng.random((10, 10), np.float32) + 0.5)
        self.p = rt.tensor(rng.random((10, 10), np.float32) + 0.5, requires_grad=True)
        _ = self.a @ self.b  # loads the compiled product

    def time_add(self):
        _ = self.a + self.b

    def time_tanh(self):
        self.a.tanh()

    def time_matmul(self):
        _ = self.a @ self.b

    def time_add_recorded(self):
        _ = self.p + self.b

    def time_softmax(self):
        self.a.softmax(1)

    def time_sum(self):
        self.a.sum(1)

    def time_index(self):
        _ = self.a[2:5]

    def time_chain_with_backward(self):
        self.p.grad = None
        ((self.p * self.a + self.b).tanh() * self.a).sum().backward()
