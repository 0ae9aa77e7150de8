"""The fuzzer: calls of the library drawn at random, each of which must end in a right result or a clear exception.

    python -m tools.fuzz --calls 100000 --seed 0

`drawing` draws arguments, `targets` holds what is called and what is right, `verdict` judges one call, `worker` runs
calls one after the other, and `supervisor` runs the worker and survives it.
"""
