"""Persistent kernels: all steps of a run in one launch, the recurrent weights in registers throughout."""
