"""Modules, layers, losses and the recurrent layers."""

__version__ = "0.1.0"
