"""Kill, fail, damage and race the command that trains, and check that nothing is lost, mixed or silently wrong.

    python -m tools.storm kills                    300 kills, power cuts, failed calls and full disks each
    python -m tools.storm kills --all              every file call of every case, in all four ways (about an hour)
    python -m tools.storm kills --how kill --only begin --at 137
    python -m tools.storm damages                  300 damaged files
    python -m tools.storm forgeries                300 wrong values under right hashes
    python -m tools.storm pairs                    8 pairs of processes in one folder
    python -m tools.storm ranks                    20 ranks of MPI killed, 5 where that ends the job, 3 stopped

Without a name, all of them. The status is 1 if there were findings.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from . import damages, kills, pairs, ranks
from .report import Report
from .scene import write_corpus

_MEMORY = Path("/dev/shm")
"""A folder in memory, where there is one: waiting for a disk is most of a round elsewhere."""

ROUNDS = {"kills": 300, "damages": 300, "forgeries": 300, "pairs": 8, "ranks": 20}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.storm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("storms", nargs="*", metavar="STORM", help=f"of {', '.join(ROUNDS)} (default: all)")
    parser.add_argument(
        "--rounds", type=int, help="of each storm, or each way of it (default 300; 8 pairs, 20 ranks)"
    )
    parser.add_argument("--all", action="store_true", help="kills: every file call")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")
    parser.add_argument("--how", choices=kills.WAYS, action="append", help="kills: this way alone")
    parser.add_argument("--only", metavar="NAME", help="kills: this case alone; damages: this file alone")
    parser.add_argument("--at", type=int, metavar="CALL", help="kills: this file call alone")
    parser.add_argument(
        "--first", type=int, default=0, metavar="ROUND", help="damages, forgeries: the first round"
    )
    parser.add_argument("--folder", type=Path, default=_MEMORY if _MEMORY.is_dir() else None)
    options = parser.parse_args(arguments)
    if unknown := set(options.storms) - set(ROUNDS):
        parser.error(f"there is no storm {', '.join(unknown)}; the storms are {', '.join(ROUNDS)}")
    report = Report()
    for name in options.storms or ROUNDS:
        rounds = options.rounds or ROUNDS[name]
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            room = Path(folder)
            corpus = write_corpus(room / "corpus.txt")
            if name == "kills":
                kills.storm(
                    room,
                    corpus,
                    report,
                    ways=options.how or kills.WAYS,
                    rounds=None if options.all else rounds,
                    seed=options.seed,
                    only=options.only,
                    at=options.at,
                )
            elif name == "pairs":
                pairs.storm(room, corpus, report, rounds=rounds)
            elif name == "ranks":
                ranks.storm(room, corpus, report, rounds=rounds, seed=options.seed)
            elif name == "damages":
                damages.storm(
                    room,
                    corpus,
                    report,
                    rounds=rounds,
                    seed=options.seed,
                    first=options.first,
                    only=options.only,
                )
            else:
                damages.forge(room, corpus, report, rounds=rounds, seed=options.seed, first=options.first)
    report.summary()
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
