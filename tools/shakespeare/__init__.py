"""The Shakespeare recipe, by rondeau and by a PyTorch twin: ``python -m tools.shakespeare --help``."""
