"""The speed and the memory of rondeau's recurrent layers against PyTorch's, as ratios.

    python tools/compare_with_torch.py --threads 1 2 --pairs 9
    python tools/compare_with_torch.py --help

The program is the package `comparison` beside this file.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("comparison", run_name="__main__", alter_sys=False)
