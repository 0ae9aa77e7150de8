"""Surname to language, by rondeau and by a PyTorch twin: ``python -m tools.surnames --help``."""
