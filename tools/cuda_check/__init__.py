"""What a machine with a GPU computes, against the CPU: every operator, every cell, random numbers, and training.

    python -m tools.cuda_check
    python -m tools.cuda_check --stand-in

`cases` is what a check is and how the two devices are compared; `operators`, `layers`, `cells`, `numbers` and
`training` hold the checks; `times` measures a training step, and PyTorch's in a process of its own; `report` keeps what
came of them.
"""
