"""The recipe of makemore: first names as sequences of letters, its split, its constants."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EMBEDDING, HIDDEN, BATCH, RATE, DECAY, BETAS = 64, 64, 32, 5e-4, 0.01, (0.9, 0.99)
STEPS = 20_000
IGNORED = -1
"""The target of a place after the end of a name: it counts for nothing."""

_HELD_OUT, _SPLIT_SEED = 1000, 3407


class FirstNames(NamedTuple):
    """Names as rows (N, T) of token indices; token 0 stands before the first letter and after the last.

    `training` and `held_out` are the indices of their rows.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]
    num_tokens: int

    @property
    def block(self) -> int:
        """T: the letters of the longest name, and the token before them."""
        return int(self.inputs.shape[1])


def first_names(file: Path) -> FirstNames:
    """Read a file of one name a line, and hold out the names that makemore holds out with its own seed."""
    names = file.read_text(encoding="utf-8").split()
    order = permutation(len(names), _SPLIT_SEED)
    cut = len(names) - min(_HELD_OUT, len(names) // 10)
    letters = sorted(set("".join(names[i] for i in order[:cut])))  # of what is trained on
    index = {letter: i for i, letter in enumerate(letters, 1)}
    if unseen := set("".join(names)) - index.keys():
        raise ValueError(
            f"the names to train on lack {''.join(sorted(unseen))!r}, and there is no unknown letter"
        )
    inputs = np.zeros((len(names), max(map(len, names)) + 1), dtype=np.int64)
    targets = np.full_like(inputs, IGNORED)
    for row, name in enumerate(names):
        inputs[row, 1 : len(name) + 1] = targets[row, : len(name)] = [index[letter] for letter in name]
        targets[row, len(name)] = 0
    return FirstNames(inputs, targets, order[:cut], order[cut:], len(letters) + 1)


def permutation(count: int, seed: int) -> NDArray[np.int64]:
    """Return the order that ``torch.manual_seed(seed); torch.randperm(count)`` gives, without PyTorch."""
    draws = np.frombuffer(np.random.RandomState(seed).bytes(4 * count), dtype="<u4").astype(np.int64)
    order = np.arange(count)
    for i in range(count - 1):
        j = i + draws[i] % (count - i)
        order[[i, j]] = order[[j, i]]
    return order
