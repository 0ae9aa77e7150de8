"""MNIST: handwritten digits in the IDX format, and drawn ones of the same form."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._source import DataError, root_of

_STAND_IN_SIZES = (4_000, 1_000)  # to train on, to test

# Strokes of the stand-in's digits: corners (x, y) of a polygon line, x to the right and y down, both from -1 to 1.
_STROKES: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-0.5, -0.5), (-0.2, -0.9), (0.2, -0.9), (0.5, -0.4), (0.5, 0.5), (0.0, 0.9), (-0.5, 0.3), (-0.4, -0.6)),
    ((-0.3, -0.5), (0.0, -0.9), (0.0, 0.9)),
    ((-0.5, -0.5), (-0.2, -0.9), (0.3, -0.9), (0.5, -0.5), (0.4, -0.1), (-0.5, 0.9), (0.5, 0.9)),
    ((-0.5, -0.8), (0.2, -0.9), (0.5, -0.5), (0.0, -0.1), (0.5, 0.4), (0.2, 0.9), (-0.5, 0.8)),
    ((0.3, 0.9), (0.3, -0.9), (-0.5, 0.3), (0.6, 0.3)),
    ((0.5, -0.9), (-0.4, -0.9), (-0.4, -0.1), (0.2, -0.2), (0.5, 0.3), (0.2, 0.9), (-0.5, 0.8)),
    ((0.4, -0.9), (-0.2, -0.5), (-0.5, 0.3), (-0.2, 0.9), (0.3, 0.9), (0.5, 0.4), (0.2, 0.0), (-0.4, 0.2)),
    ((-0.5, -0.9), (0.5, -0.9), (0.0, 0.1), (-0.2, 0.9)),
    ((0.0, 0.0), (-0.4, -0.5), (0.0, -0.9), (0.4, -0.5), (0.0, 0.0), (-0.5, 0.4), (0.0, 0.9), (0.5, 0.4), (0.0, 0.0)),
    ((0.4, -0.4), (0.0, -0.1), (-0.4, -0.4), (-0.1, -0.9), (0.3, -0.8), (0.4, -0.4), (0.2, 0.9)),
)  # fmt: skip


class Mnist(NamedTuple):
    """MNIST, as the four files of its authors hold it.

    Attributes
    ----------
    train_images, test_images : ndarray of uint8, shape (60000, 28, 28) and (10000, 28, 28)
        0 is the background, 255 full ink.
    train_labels, test_labels : ndarray of int64, shape (60000,) and (10000,)
        The digits, 0 to 9.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> datasets.Mnist._fields
    ('train_images', 'train_labels', 'test_images', 'test_labels')
    """

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]


def mnist(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> Mnist:
    """Return MNIST: 70,000 handwritten digits.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download it (11.6 MB) where it is nowhere.
    stand_in : bool
        Where it cannot be had, return drawn digits, 4,000 to train on and 1,000 to test.

    Returns
    -------
    Mnist

    Raises
    ------
    DataError
        If it cannot be had, or a file of it is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> digits = datasets.mnist(download=False, stand_in=True)
    >>> digits.train_images.shape[1:], digits.train_labels.dtype
    ((28, 28), dtype('int64'))
    """
    root = root_of("mnist", folder, download=download, stand_in=stand_in)
    if root is None:
        train, test = (_drawn(size, np.random.default_rng(seed)) for seed, size in enumerate(_STAND_IN_SIZES))
        return Mnist(*train, *test)
    return Mnist(*_pair(root / "mnist", "train"), *_pair(root / "mnist", "t10k"))


def _pair(folder: Path, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", dimensions=3)
    return images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz", dimensions=1).astype(np.int64)


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: a magic number, the sizes, the elements, all big-endian.

    Raises
    ------
    DataError
        If it is not such a file, or holds more or fewer elements than its sizes say.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}; put the right file there") from None
    # Two zero bytes, 8 for unsigned bytes, the number of dimensions.
    magic = bytes((0, 0, 8, dimensions))
    if content[:4] != magic:
        raise DataError(
            f"{path} is not an IDX file of bytes in {dimensions} dimension(s): "
            f"expected it to begin with {magic.hex()}, got {content[:4].hex()}"
        )
    header = 4 + 4 * dimensions
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4)]
    if len(content) != header + math.prod(shape):
        raise DataError(
            f"{path} is damaged: its sizes {tuple(shape)} need {header + math.prod(shape):,} bytes, "
            f"got {len(content):,}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _drawn(count: int, generator: np.random.Generator) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw digits with a pen: strokes turned, slanted, stretched, shifted, thick or thin, on a grainy ground."""
    labels = generator.integers(10, size=count)
    images = np.empty((count, 28, 28), np.uint8)
    pixels = np.stack(np.meshgrid(np.arange(28.0), np.arange(28.0)), axis=-1).reshape(-1, 1, 2)
    for digit, strokes in enumerate(_STROKES):
        corners = np.array(strokes)
        for index in np.flatnonzero(labels == digit):
            turn = generator.normal(0.0, 0.15)
            slant = generator.normal(0.1, 0.15)
            across, down = generator.uniform(6.0, 9.0), generator.uniform(8.0, 10.5)
            rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            shape = np.array([[across, 0.0], [-slant * across, down]]) @ rotation
            bent = corners + generator.normal(0.0, 0.06, corners.shape)
            points = bent @ shape + 13.5 + generator.normal(0.0, 0.8, 2)
            start, along = points[:-1], np.diff(points, axis=0)
            # The nearest point of each stroke to each pixel, as a part of its length.
            part = ((pixels - start) * along).sum(axis=-1) / (along**2).sum(axis=-1)
            nearest = start + np.clip(part, 0.0, 1.0)[..., None] * along
            distance = np.sqrt(((pixels - nearest) ** 2).sum(axis=-1)).min(axis=1)
            ink = np.clip(generator.uniform(1.2, 2.0) - distance + 0.5, 0.0, 1.0)
            grain = generator.normal(0.0, 12.0, 784) * (ink > 0)
            images[index] = np.clip(255 * ink + grain, 0, 255).reshape(28, 28).astype(np.uint8)
    return images, labels
