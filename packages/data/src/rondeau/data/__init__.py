"""From text to tokens to batches."""

__version__ = "0.1.0"
