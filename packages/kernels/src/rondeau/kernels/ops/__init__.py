"""Operators and optimisers on plain arrays. Each function checks its arguments, allocates and launches its kernel."""
