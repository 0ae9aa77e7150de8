"""Operators and optimisers: arrays in, arrays out. Each function checks, allocates and launches its kernel."""
