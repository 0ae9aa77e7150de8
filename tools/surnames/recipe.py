"""The recipe on surnames: a text file for each language, a split and batches by a seed, constants."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EMBEDDING, HIDDEN, BATCH, RATE = 64, 64, 64, 2e-3


class Surnames:
    """The surnames of a folder as rows of character indices, 80 % to train and 20 % to test.

    Parameters
    ----------
    folder : Path
        A text file for each language, one surname a line.
    seed : int
        Draws the split, and then the batches of every epoch.

    Attributes
    ----------
    ids : list of list of int
        0 stands for a character that no training surname has.
    labels : ndarray of int64
        The index of each surname's language.
    training, test : ndarray of int64
    num_characters, num_languages : int
    """

    def __init__(self, folder: Path, seed: int) -> None:
        files = sorted(folder.glob("*.txt"))
        samples = [
            (line.strip(), language)
            for language, file in enumerate(files)
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.strip()
        ]
        self._generator = np.random.default_rng(seed)
        order = self._generator.permutation(len(samples))
        cut = int(0.8 * len(samples))
        self.training, self.test = order[:cut], order[cut:]
        known = sorted({character for i in self.training for character in samples[i][0]})
        index = {character: i for i, character in enumerate(known, 1)}
        self.ids = [[index.get(character, 0) for character in name] for name, _ in samples]
        self.labels = np.array([language for _, language in samples])
        self.num_characters, self.num_languages = len(known) + 1, len(files)

    def epoch(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each batch of the next epoch."""
        count = -(-len(self.training) // BATCH)
        yield from np.array_split(self._generator.permutation(self.training), count)
