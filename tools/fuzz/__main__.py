"""Draw calls of the library at random and check that each ends in a right result or a clear exception.

    python -m tools.fuzz --calls 100000 --seed 0
    python -m tools.fuzz --only recurrent --calls 1000
    python -m tools.fuzz --replay 0 1234

The status is 1 if there were findings. Each cause is printed once, with the command that runs its call alone. A crash
that needs what ran before it comes again with the same `--seed` and a `--first` some calls earlier. Ctrl-C ends the
run with a summary of what it found; the status is then 130.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .supervisor import Plan, supervise
from .worker import replay, serve


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1000, help="how many calls to draw (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn from (default 0)")
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="the first call (default 0)")
    parser.add_argument("--only", metavar="NAME", help="this target alone")
    parser.add_argument(
        "--replay", type=int, nargs=2, metavar=("SEED", "INDEX"), help="run one call and print it"
    )
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds after which a call hangs (default 300)"
    )
    parser.add_argument("--targets", default="tools.fuzz.targets", help="a module with other TARGETS")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        seed, first, stop, position = options.worker
        serve(options.targets, int(seed), int(first), int(stop), options.only, Path(position))
        return 0
    if options.replay:
        return 0 if replay(options.targets, options.replay[0], options.replay[1], options.only) else 1
    plan = Plan(options.seed, options.first, options.calls, options.only, options.targets, options.patience)
    report = supervise(plan)
    report.summary()
    if report.interrupted_at is not None:
        return 130
    return 1 if report.causes else 0


if __name__ == "__main__":
    sys.exit(main())
