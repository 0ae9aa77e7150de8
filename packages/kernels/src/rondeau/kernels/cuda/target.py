"""The CUDA target, an implementation of `rondeau.kernels.recurrent.target.Target`."""

from rondeau.kernels.cuda.gradients import WeightSums as weight_sums  # noqa: N813 - called as a function
from rondeau.kernels.cuda.gradients import input_gradient
from rondeau.kernels.cuda.phases import source
from rondeau.kernels.cuda.run import backward_both, backward_through_time, forward, forward_both
from rondeau.kernels.cuda.step import Frozen as freeze  # noqa: N813
from rondeau.kernels.cuda.step import step_alone

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
