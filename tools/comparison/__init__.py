"""What the comparison with PyTorch is made of; `tools/compare_with_torch.py` runs it.

`peers/` holds what is timed, a library's way of doing one thing in each file; `process` runs each library in a
process of its own and `pairs` measures them in turn; `tables/` holds one table a file; `work` counts what a
training step does, and `report` prints the rows and keeps them.
"""
