r"""Learning-rate schedules: PyTorch's names, arguments, values and states.

Each step computes a group's next rate from its present one (PyTorch's "chainable form"): a schedule multiplies what it
finds. So several schedules may drive one optimiser, and a rate that was set by hand is kept. `LambdaLR` alone computes
from the base rate. The rates themselves are part of the optimiser's state, not of the schedule's: to continue, load
both.
"""

from rondeau.train.lr_scheduler._constant import ConstantLR
from rondeau.train.lr_scheduler._cosine import CosineAnnealingLR
from rondeau.train.lr_scheduler._exponential import ExponentialLR
from rondeau.train.lr_scheduler._lambda import LambdaLR
from rondeau.train.lr_scheduler._linear import LinearLR
from rondeau.train.lr_scheduler._plateau import ReduceLROnPlateau
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.lr_scheduler._sequential import SequentialLR
from rondeau.train.lr_scheduler._step import StepLR

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
