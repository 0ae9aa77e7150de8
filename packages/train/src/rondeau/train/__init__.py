"""Optimisers, schedules, the training loop, checkpoints and the command line."""

__version__ = "0.1.0"
