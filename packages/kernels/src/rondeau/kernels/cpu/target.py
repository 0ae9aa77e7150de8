"""The CPU target, an implementation of `rondeau.kernels.recurrent.target.Target`."""

from rondeau.kernels.cpu.gradients import WeightSums as weight_sums  # noqa: N813 - called as a function
from rondeau.kernels.cpu.gradients import input_gradient
from rondeau.kernels.cpu.phases import source
from rondeau.kernels.cpu.run import backward_both, backward_through_time, forward, forward_both
from rondeau.kernels.cpu.single_step import step_alone
from rondeau.kernels.cpu.step import Frozen as freeze  # noqa: N813

__all__ = [
    "backward_both",
    "backward_through_time",
    "forward",
    "forward_both",
    "freeze",
    "input_gradient",
    "source",
    "step_alone",
    "weight_sums",
]
