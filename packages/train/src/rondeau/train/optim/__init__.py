"""Optimisers: torch's equations, defaults, argument names and state dictionaries, each update one fused pass."""

from rondeau.train.optim._adagrad import Adagrad
from rondeau.train.optim._adam import Adam, AdamW
from rondeau.train.optim._optimizer import Optimizer
from rondeau.train.optim._rmsprop import RMSprop
from rondeau.train.optim._sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]
