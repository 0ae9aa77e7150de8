"""The sizes of the comparison."""

from typing import NamedTuple


class Size(NamedTuple):
    """B sequences of T steps of I inputs, H hidden units."""

    batch: int
    steps: int
    inputs: int
    hidden: int

    def __str__(self) -> str:
        return f"B{self.batch} T{self.steps} I{self.inputs} H{self.hidden}"


SIZES = [Size(32, 35, 28, 256), Size(32, 16, 512, 512), Size(50, 50, 65, 128), Size(50, 50, 65, 512)]
"""Those of the README: from tables small enough for a cache to products large enough for the peak."""

SERIES = [Size(64, 200, 33, 256), Size(256, 365, 30, 64), Size(32, 100, 12, 128)]
"""Those of the cells for experiments, catchments and irregular series: long, with narrow inputs."""

INFORMATION = [
    Size(1, 35, 28, 256),
    Size(256, 35, 28, 256),
    Size(32, 1000, 28, 256),
    Size(32, 35, 28, 48),
    Size(32, 35, 28, 1024),
]
"""The first size, with one number at a time far from it."""
