"""The memory high-water mark of a function, measured as the comparison with PyTorch measures it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tools"))

from comparison.memory import peak_of

__all__ = ["peak_of"]
