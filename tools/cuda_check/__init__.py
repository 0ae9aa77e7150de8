"""What a machine with a GPU computes, against the CPU, and how fast: against PyTorch's layers on the same GPU.

    python -m tools.cuda_check
    python -m tools.cuda_check --stand-in

`cases` is what a check is and how the two devices are compared; `operators`, `layers`, `cells`, `numbers` and
`training` hold the checks, and `gradient_error` one against float64. `exchange` measures what a step cannot do without.
`speed` times `workloads` of this library (`of_rondeau`) and of PyTorch (`of_torch`), each in a process of its own
(`worker`), by events (`clock`). `report` keeps what came of them, and `prepare` compiles the kernels beforehand.
`driver` says whether there is a GPU, before anything is installed.
"""
