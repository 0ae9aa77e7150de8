"""Number formats, scalar functions, rounding to narrower formats, and random numbers."""
