"""makemore's models with its defaults, by rondeau and by a PyTorch twin: ``python -m tools.makemore --help``."""
