"""Row sums: sums over the hidden units of a row, as part of a persistent kernel.

The units of a row are neighbouring threads, of one block or of several. ``lanes`` of them, the largest power of two
that divides the units of a block and is at most a warp, add up their terms: each exchanges its sum with one neighbour
after the other, and all end with the same bits. If a row has more than one such *part*, the first lane of each writes
its sum to memory: shared memory or, between blocks, a global buffer. After a barrier the lanes read all parts of the
row, each lane a few, and add them up in the same way.

So the order of the additions depends on the tile alone, and all threads of a row have the same bits, whichever block
they belong to. That is what keeps their copies of the values with one number per row equal.

The sums of one loop share a barrier. Their parts lie in one of two buffers, in turn: a thread may still read the parts
of a loop while another writes those of the next, but the next but one is past a barrier that both have come to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from rondeau.kernels.cuda.persistent.tile import WARP, Tile

__all__ = ["RowSums"]


class RowSums:
    """The sums over the units of rows in a kernel.

    Parameters
    ----------
    rounds : tuple of int
        The number of sums of each loop of a step that has any.
    tile : Tile
    blocks : int
        The blocks that have units of a row.
    """

    def __init__(self, rounds: tuple[int, ...], tile: Tile, blocks: int) -> None:
        self.rounds, self.tile, self.in_block = rounds, tile, blocks == 1
        self.lanes = math.gcd(tile.units, WARP)
        self.own_parts = tile.units // self.lanes
        self.parts = blocks * self.own_parts
        self.readers = min(self.lanes, 1 << (self.parts - 1).bit_length())
        self.reads = -(-self.parts // self.readers)
        self.padded = self.reads * self.readers  # parts that nobody writes are zero from the beginning
        self.at = 0  # where they lie in shared memory: the kernel says

    @property
    def size_of_row(self) -> int:
        """The elements of a row's parts, in two buffers: none where the lanes add up a whole row."""
        return 2 * max(self.rounds, default=0) * self.padded if self.parts > 1 else 0

    @property
    def shared_size(self) -> int:
        """The elements of shared memory that the parts take."""
        return self.tile.rows * self.size_of_row if self.in_block else 0

    @property
    def num_barriers(self) -> int:
        """The barriers of a step."""
        return len(self.rounds) if self.parts > 1 else 0

    @property
    def waits(self) -> bool:
        """Whether blocks wait for one another."""
        return self.num_barriers > 0 and not self.in_block

    def add_up(self, terms: Mapping[str, str], block: str, barrier: list[str]) -> Iterator[str]:
        """Yield the lines that compute the sums of a loop.

        Parameters
        ----------
        terms : mapping of str to str
            The variable of each sum, and the item's term.
        block : str
            The number of this block among those that have units of the row.
        barrier : list of str
            The lines of a barrier of all of them, which ``epoch`` counts.
        """
        yield from (f"{name} = {term}" for name, term in terms.items())
        yield "if not exists:"
        yield from (f"    {name} = float32(0)" for name in terms)
        yield from self._butterfly(terms, self.lanes)
        if self.parts == 1:
            return
        array, row = ("shared", "tile_row") if self.in_block else ("partial_sums", "first_row + tile_row")
        of_buffer = self.size_of_row // 2
        yield f"parts = ({row}) * U({self.size_of_row}) + epoch % U(2) * U({of_buffer}) + U({self.at})"
        own = f"{block} * U({self.own_parts}) + tile_unit // U({self.lanes})"
        of_rows = f"thread < U({self.tile.rows * self.tile.units})"
        yield f"if {of_rows} and tile_unit % U({self.lanes}) == U(0):"
        for k, name in enumerate(terms):
            yield f"    {array}[parts + U({k * self.padded}) + {own}] = {name}"
        yield from barrier
        yield f"parts += lane % U({self.readers})"
        for k, name in enumerate(terms):
            places = [f"parts + U({k * self.padded + i * self.readers})" for i in range(self.reads)]
            read = [f"shared[{at}]" if self.in_block else f"ld_cg({array}, {at})" for at in places]
            yield f"{name} = {' + '.join(read)}"
        yield from self._butterfly(terms, self.readers)

    @staticmethod
    def _butterfly(names: Mapping[str, str], lanes: int) -> Iterator[str]:
        """Yield the lines that add up variables over groups of lanes, for each lane of a group."""
        distance = lanes // 2
        while distance:  # sum after sum, so that their shuffles do not wait for one another
            yield from (f"{name} = {name} + cuda.shfl_xor_sync(ALL, {name}, {distance})" for name in names)
            distance //= 2

    def instructions(self) -> float:
        """Return the instructions of a warp for all sums of a step."""
        shuffles = self.lanes.bit_length() - 1
        exchanged = 0 if self.parts == 1 else 2 * self.reads + 2 * (self.readers.bit_length() - 1) + 2
        return sum(self.rounds) * (2 + 2 * shuffles + exchanged)

    @property
    def loaded(self) -> int:
        """The bytes of other blocks' parts that a block reads in a step."""
        return 4 * self.tile.rows * self.own_parts * self.padded * sum(self.rounds) if self.waits else 0
