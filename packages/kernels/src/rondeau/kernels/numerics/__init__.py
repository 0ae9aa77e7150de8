"""Numbers: their formats, functions of one number, rounding to narrower formats, and random numbers."""
