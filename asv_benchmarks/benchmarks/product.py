"""The packed matrix product, in multiplications and additions per second, beside the core's peak."""

import time

import numpy as np

from rondeau.kernels.product import matmul, peak_flops
from rondeau.kernels.runtime import threads


class Product:
    """Square and training-step shapes; float32."""

    params = (
        [(256, 256, 256), (1120, 28, 768), (1600, 512, 2048), (32, 512, 2048), (2048, 1600, 512)],
        [1, 2],
    )
    param_names = ("M K N", "threads")

    def setup(self, shape, count):
        m, k, n = shape
        threads.set_num_threads(count)
        rng = np.random.default_rng(0)
        self.a = rng.random((m, k), np.float32)
        self.b = rng.random((k, n), np.float32)
        self.out = np.empty((m, n), np.float32)
        matmul(self.a, self.b, out=self.out)

    def time_matmul(self, shape, count):
        matmul(self.a, self.b, out=self.out)

    def track_share_of_peak(self, shape, count):
        best = min(self._once() for _ in range(15))
        return 2 * np.prod(shape) / best / (peak_flops() * count)

    def _once(self):
        start = time.perf_counter()
        matmul(self.a, self.b, out=self.out)
        return time.perf_counter() - start
