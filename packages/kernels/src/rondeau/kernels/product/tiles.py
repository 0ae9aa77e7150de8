"""The register tile that the product uses on each kind of processor, and the measurements behind it.

A tile is `rows` x `vectors` accumulators that stay in vector registers while the inner loop runs over K; the loop also
needs `vectors` registers for a row of B and one or two for elements of A. More accumulators hide the latency of the
multiply-add and save loads; one too many spills to memory, and performance falls off a cliff.

======== ========= ================ =============================================================================
lanes    registers rows x vectors   measured (1 thread, float32, share of a register-only multiply-add loop)
======== ========= ================ =============================================================================
16       32        5 x 4            Zen 4: 0.99, as 4x4, 6x4, 8x3 and 12x2 (0.98-0.99). Zen 5: 0.96-0.98, where
                                    8x4, 12x2 and 14x2 fell to 0.4-0.5. Five divides 25 and 50, and leaves 4 + 4 + 4
                                    + 4 for 16 rows: no thin tile at the batch sizes of recurrent training
8        16        6 x 2            AVX2 code on Zen 4: 0.90-0.95; 4x3 needs every register
4        32        5 x 4            NEON, not measured: 6x4 spills on Apple's and on small cores, although its
                                    24 + 4 + 1 registers would fit
4        16        5 x 2            x86 with only SSE, not measured: 6x2 spills, because without fused multiply-adds
                                    a product needs one more register
======== ========= ================ =============================================================================

Spills show in the assembly, even for processors that are not available: the tests check it for every tile here.
float64 has half as many lanes in the same registers and uses the same tile.
"""

import platform
from typing import NamedTuple

from numba import config
from numba.core.codegen import get_host_cpu_features

__all__ = ["MULTIPLIES_PAIRS", "TILE", "Tile", "choose_tile"]


class Tile(NamedTuple):
    """The shape of the inner kernel, in rows of A and vectors of B."""

    vector_bytes: int
    """Width of one vector register."""
    rows: int
    """Rows of A, and of C, that one call of the kernel computes."""
    vectors: int
    """Vectors of columns that one call computes: the width of a packed panel."""
    fused: bool
    """Whether the machine has fused multiply-adds; without them every step of a chain rounds twice."""
    adds_pairs: bool = False
    """Whether an x86 instruction for this width multiplies int16 and adds the products of neighbours."""

    @property
    def rows_of_int8(self) -> int:
        """Rows of a tile whose right operand is int8: its halves, widened, take registers where no instruction adds."""
        return self.rows if self.adds_pairs else self.rows - 2


def choose_tile(machine: str, features: frozenset[str]) -> Tile:
    """Return the tile for a processor.

    Parameters
    ----------
    machine : str
        Architecture, as `platform.machine()` names it.
    features : frozenset of str
        LLVM's names of the processor's features, such as ``avx512f``.

    Returns
    -------
    Tile

    Examples
    --------
    >>> choose_tile("x86_64", frozenset({"avx2", "fma"}))
    Tile(vector_bytes=32, rows=6, vectors=2, fused=True, adds_pairs=True)
    """
    if machine.lower() in ("aarch64", "arm64"):
        return Tile(16, 5, 4, True)
    fused = "fma" in features
    if "avx512f" in features and fused:
        return Tile(64, 5, 4, True, "avx512bw" in features)
    if "avx2" in features and fused:
        return Tile(32, 6, 2, True, True)
    return Tile(16, 5, 2, fused, "sse2" in features)


def _target_features() -> frozenset[str]:
    """Return the features that Numba compiles for: the host's, or those that NUMBA_CPU_FEATURES names."""
    flags = get_host_cpu_features() if config.CPU_FEATURES is None else str(config.CPU_FEATURES)
    return frozenset(flag[1:] for flag in flags.split(",") if flag.startswith("+"))


TILE = choose_tile(platform.machine(), _target_features())
"""The tile of this process."""

MULTIPLIES_PAIRS = TILE.vector_bytes == 64 and "avx512bf16" in _target_features()
"""Whether the processor multiplies pairs of bfloat16 (AVX512_BF16)."""
