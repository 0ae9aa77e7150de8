"""Averaged weights: stochastic weight averaging and exponential moving averages, under PyTorch's names."""

from rondeau.train.lr_scheduler._swa import SWALR
from rondeau.train.optim._averaged_model import AveragedModel, update_bn
from rondeau.train.optim._averaging import (
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
)

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]
