"""What the precision "medium" changes in gradients and in training: ``python -m tools.precision --help``."""
