"""A model as one Python file that needs nothing but NumPy."""
