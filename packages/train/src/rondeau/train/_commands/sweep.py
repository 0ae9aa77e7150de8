"""``rondeau sweep``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rondeau.train._parser import CommandParser
from rondeau.train._showing import counted, one_visible_line, say
from rondeau.train._usage_error import RunFailedError, UsageError

_MOST_SEEDS = 2**31
_REMEDY = "what was trained is kept, and the same command goes on"
_OWN_GROUP: dict[str, Any] = {} if sys.platform == "win32" else {"process_group": 0}

if TYPE_CHECKING:
    from rondeau.train._interruption import Signals
    from rondeau.train._sweep.configuration import SweepConfig
    from rondeau.train._sweep.folder import ClaimedTrial, SweepFolder


def _parser() -> CommandParser:
    parser = CommandParser(
        "sweep",
        "CONFIG",
        "Train with many values of some options, and find those with the lowest held-out loss; or with many seeds. "
        "Give the same command again, at the same time or later, in any number of processes and on any machines that "
        "share the folder: they share the trials, and continue those that were interrupted.",
    )
    parser.add_argument(
        "config",
        metavar="CONFIG",
        type=str,
        help="a YAML file of options, as for rondeau train --config, in which some have a range or a choice for a "
        "value: {log: [1e-4, 1e-2]}, {linear: [0, 0.5]}, {integer: [1, 3]}, {log_integer: [32, 512]}, "
        "{choice: [gru, lstm]}; without any for --seeds, such as the config.yaml of a run",
    )
    parser.add_argument(
        "--trials",
        type=int | None,
        help="how many trials the sweep is to have, over all processes; give a larger number later to go on",
    )
    parser.add_argument(
        "--seeds", type=int | None, help="train this many runs that differ in their seeds alone"
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="train nothing: print the table, and draw the plots; CONFIG may then be the folder of the sweep",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        help="the folder of the sweep; by default what CONFIG names as output, or runs/ and the name of CONFIG, with "
        "-seeds at its end for --seeds",
    )
    parser.add_argument(
        "--processes",
        type=int | None,
        help="processes to start; by default 1, and for --seeds one for each seed, up to the number of cores",
    )
    parser.add_argument(
        "--threads", type=int | None, help="cores of each process; by default all, shared among --processes"
    )
    parser.add_argument("--no_report", action="store_true", help="print no report at the end")
    parser.add_argument(
        "--sampler",
        type=Literal["tpe", "random"],
        default="tpe",
        help="tpe: ten trials at random, the others near the best so far; random: all at random",
    )
    parser.add_argument(
        "--stop_early",
        type=bool,
        default=True,
        help="stop a trial whose best held-out loss is above the median of the others at the same evaluation",
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Train trials until all are done, and report; return the exit status."""
    arguments = _parser().parse(argv)
    given = [name for name in ("trials", "seeds", "report") if arguments[name] not in (None, False)]
    if len(given) != 1:
        what = f"got {', '.join(f'--{name}' for name in given)}" if given else "got none of them"
        raise UsageError(f"expected one of --trials N, --seeds N and --report, {what}")
    try:
        from rondeau.train._sweep.configuration import read_sweep_config
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from error
    from rondeau.train._errors import CheckpointError, RunError
    from rondeau.train._sweep.folder import SweepFolder

    try:
        if arguments.report and os.path.isdir(arguments.config):
            _report(SweepFolder(arguments.config))
            return 0
        config = read_sweep_config(Path(arguments.config))
        has_seeds = arguments.seeds is not None or (arguments.report and not config.space)
        folder = _folder(arguments.output, config, has_seeds)
        if arguments.report:
            _report(SweepFolder(folder))
            return 0
        _check_space(config, has_seeds)
        return _train(arguments, config, folder)
    except (RunError, CheckpointError) as error:
        raise UsageError(str(error)) from error


def _check_space(config: SweepConfig, has_seeds: bool) -> None:
    if has_seeds and config.space:
        raise UsageError(
            f"--seeds: expected one value for each option, but {config.path} has several for "
            f"{', '.join(config.space)}; give the config.yaml of a trial"
        )
    if not has_seeds and not config.space:
        raise UsageError(
            f"{config.path}: expected at least one option with a range or a choice, such as "
            "'lr: {log: [1e-4, 1e-2]}', got none"
        )


def _folder(output: str | None, config: SweepConfig, has_seeds: bool) -> Path:
    if output is not None:
        return Path(os.path.expanduser(output))
    named = config.fixed.get("output")
    folder = Path(os.path.expanduser(named)) if named else Path("runs", config.path.stem)
    return folder.with_name(f"{folder.name}-seeds") if has_seeds else folder


def _train(arguments: Any, config: SweepConfig, folder: Path) -> int:
    """Begin or join the sweep, in one process or in several, and report at its end."""
    from rondeau import tensor as rt
    from rondeau.train._sweep.folder import SweepFolder
    from rondeau.train._sweep.space import Range

    space, fixed = config.space, dict[str, Any](config.definition())
    if arguments.seeds is not None:
        first = int(fixed.pop("seed", "0"))
        if first >= _MOST_SEEDS:
            raise UsageError(
                f"{config.path}: seed: expected below {_MOST_SEEDS:,} with --seeds, got {first:,}"
            )
        space = {"seed": Range("integer", first, first + _MOST_SEEDS)}
    fixed["corpus"] = _check_surroundings(config, folder)
    sweep = SweepFolder.begin(folder, space, fixed)
    most = arguments.trials or arguments.seeds
    cores = rt.get_num_threads()
    processes = arguments.processes or (min(most, cores) if arguments.seeds else 1)
    if processes > 1:
        _work_in_processes(arguments, folder, processes, arguments.threads or max(1, cores // processes))
    else:
        _work(arguments, config, sweep, most)
    if not arguments.no_report:
        _report(sweep)
    left = most - sum(trial.outcome != "unfinished" for trial in sweep.trials)
    if left > 0 and processes > 1:  # by one process, it was left to others
        raise RunFailedError(f"{counted(left, 'trial')} did not end; {_REMEDY}")
    return 0


def _check_surroundings(config: SweepConfig, folder: Path) -> dict[str, Any]:
    """Raise UsageError where no trial could be trained, whatever its values; return what identifies the corpus."""
    from rondeau.train._commands._device import check_device
    from rondeau.train._commands._material import gather_material
    from rondeau.train._recipe import make_logs
    from rondeau.train._run import RunFolder

    first, run = config.first_run(), RunFolder(folder / "trials")
    check_device(first.run.device)
    make_logs(first.run, run)
    return gather_material(first, run, None).corpus.identity


def _work(arguments: Any, config: SweepConfig, sweep: SweepFolder, most: int) -> None:
    """Train trials in this process, until there are none left but those that other processes train."""
    from rondeau import tensor as rt
    from rondeau.kernels.runtime.compiling_notice import announcing_with
    from rondeau.train._interruption import Interruption, Signals
    from rondeau.train._progress import write_line
    from rondeau.train._sweep.sampling import InOrder, SeededSampler
    from rondeau.train._sweep.sweep import make_pruner

    if arguments.threads is not None:
        rt.set_num_threads(arguments.threads)
    seed = int(config.fixed.get("seed", "0"))
    sampler = InOrder() if arguments.seeds else SeededSampler(arguments.sampler, seed)
    pruner = make_pruner(arguments.stop_early and not arguments.seeds)
    signals = Signals()
    try:
        with signals.handled(), announcing_with(write_line):
            while (trial := sweep.claim(most, sampler, pruner)) is not None:
                with trial:
                    _train_trial(trial, config, signals)
    except Interruption as interruption:
        raise Interruption(interruption.status, _REMEDY) from interruption


def _train_trial(trial: ClaimedTrial, config: SweepConfig, signals: Signals) -> None:
    """Train a trial whose run is locked, and write in the journal what came out."""
    from rondeau.train._commands.train import train_in
    from rondeau.train._diverged import DivergedError
    from rondeau.train._interruption import Interruption
    from rondeau.train._request import NewRun, Resume
    from rondeau.train._sweep.output import telling_in
    from rondeau.train._sweep.report import describe_loss, describe_values
    from rondeau.train._sweep.reporting import Reporting
    from rondeau.train._sweep.sweep import settle

    run, reporting = trial.run, Reporting(trial)
    sweep_folder, is_new = run.path.parent.parent, not run.config.is_file()
    say(f"trial {trial.number} {'begins' if is_new else 'goes on'}: {describe_values(trial.values)}")
    status = 0
    try:
        with telling_in(run.path / "output.txt"):
            options = config.run(trial.values, run.path)
            # Where it began, the corpus may have another path than here.
            request = NewRun(options, False) if is_new else Resume(run.path, corpus=options.corpus)
            status = train_in(run, request, signals, [reporting])
    except DivergedError as error:
        trial.diverge(str(error))
        say(f"trial {trial.number}: {error}")
    except (UsageError, MemoryError) as error:
        _check_surroundings(config, sweep_folder)
        reason = f"the memory does not suffice: {error}" if isinstance(error, MemoryError) else str(error)
        trial.fail(reason)
        say(f"trial {trial.number} failed: {reason}")
    else:
        if status:
            raise Interruption(status)
        settle(trial, reporting)
        loss = "" if reporting.best_loss is None else f"held-out loss {describe_loss(reporting.best_loss)}"
        stopped = ", stopped as unpromising" if reporting.was_stopped else ""
        say(f"trial {trial.number} ended: {loss}{stopped}")


def _work_in_processes(arguments: Any, folder: Path, processes: int, threads: int) -> None:
    """Train trials in several processes, each of which gets the signals that this one gets."""
    from rondeau.train._interruption import Interruption, Signals

    how_many = f"--trials={arguments.trials}" if arguments.trials else f"--seeds={arguments.seeds}"
    command = [sys.executable, "-m", "rondeau", "sweep", arguments.config, how_many, f"--output={folder}"]
    command += [f"--threads={threads}", f"--sampler={arguments.sampler}", "--processes=1", "--no_report"]
    command += [f"--stop_early={str(arguments.stop_early).lower()}"]
    children: list[subprocess.Popen[bytes]] = []
    signals = Signals()
    try:
        with signals.handled():
            # In groups of their own: a terminal sends Ctrl-C to a whole group, and a second one ends a run at once.
            for _ in range(processes):
                children.append(subprocess.Popen(command, **_OWN_GROUP))
            statuses = [child.wait() for child in children]
    except Interruption as interruption:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
        raise Interruption(interruption.status, _REMEDY) from interruption
    for child, status in zip(children, statuses, strict=True):
        if status:
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            print(one_visible_line(f"rondeau sweep: process {child.pid} ended {how}"), file=sys.stderr)


def _report(sweep: SweepFolder) -> None:
    from rondeau.train._sweep.report import describe_seeds, describe_trials

    describe = describe_seeds if set(sweep.space) == {"seed"} else describe_trials
    for line in describe(sweep):
        say(line)
