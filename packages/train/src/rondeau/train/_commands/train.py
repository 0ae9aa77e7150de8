"""``rondeau train``."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rondeau.kernels.runtime.caller import warn_caller
from rondeau.train._errors import RunWarning
from rondeau.train._program import command_line
from rondeau.train._request import Config, NewRun, Resume, parse_config, parse_train, read_config
from rondeau.train._showing import one_visible_line, say
from rondeau.train._usage_error import RunFailedError, UsageError

if TYPE_CHECKING:
    from rondeau.train._callback import Callback
    from rondeau.train._commands._material import Material
    from rondeau.train._interruption import Signals
    from rondeau.train._run import RunFolder
    from rondeau.train._trainer import Trainer
    from rondeau.train.parallel import Ranks


def run(argv: Sequence[str]) -> int:
    """Start or continue a run; return the exit status."""
    request = parse_train(argv)
    # What follows needs the compiler and its kernels: not imported for --help.
    from rondeau.kernels.runtime.compiling_notice import announcing_with
    from rondeau.train._diverged import DivergedError
    from rondeau.train._errors import CheckpointError, RunError
    from rondeau.train._interruption import Signals
    from rondeau.train._progress import write_line
    from rondeau.train.parallel import OneProcess

    signals = Signals()
    attempt = _Attempt(request)

    def train(ranks: "Ranks") -> int:
        try:
            with signals.handled(), announcing_with(write_line):
                return _train(attempt, signals, ranks)
        except (RunError, CheckpointError) as error:
            raise UsageError(str(error)) from error
        except DivergedError as error:
            raise RunFailedError(str(error)) from error

    if request.parallel is None:
        _warn_of_ranks()
        return train(OneProcess())
    from rondeau.train._commands._ranks import run_on_ranks

    return run_on_ranks(train, signals, ["train", *argv])


def _warn_of_ranks() -> None:
    """Warn, on rank 0 of an MPI job, that its ranks do not know of each other."""
    for launcher in ("OMPI_COMM_WORLD", "PMI"):
        size, rank = (os.environ.get(f"{launcher}_{what}", "") for what in ("SIZE", "RANK"))
        if size.isdigit() and int(size) > 1 and rank == "0":
            warn_caller(
                f"this command was started {size} times, as the ranks of an MPI job, and each of them trains a run of "
                "its own; to share one run among them, give --parallel mpi",
                RunWarning,
            )


class _Attempt:
    """What is asked of the command, and what the next attempt is to do where ranks die in this one.

    Attributes
    ----------
    request : NewRun or Resume
        A new run is continued from where it has begun.
    """

    def __init__(self, request: NewRun | Resume) -> None:
        self.request = request
        self._output: str | None = None

    def output(self, config: Config, ranks: "Ranks") -> str:
        """Return the folder of a new run, in every attempt the same."""
        if self._output is None:
            self._output = ranks.from_main(lambda: _output(config))
        return self._output

    def share(self, ranks: "Ranks") -> None:
        """Cut the batches of a new run into as many shards as it has ranks at first."""
        request = self.request
        if (
            isinstance(request, NewRun)
            and request.parallel is not None
            and request.config.training.shards is None
        ):
            self.request = request._replace(config=request.config.with_values({"shards": ranks.size}))


def _train(attempt: _Attempt, signals: "Signals", ranks: "Ranks") -> int:
    from rondeau.train._run import RunFolder

    attempt.share(ranks)
    request = attempt.request
    if isinstance(request, Resume):
        run = RunFolder(request.folder)
        ranks.from_main(run.check_begun)
    else:
        run = RunFolder(attempt.output(request.config, ranks))
        ranks.from_main(run.check_ours)
    with ExitStack() as until_the_end:
        if isinstance(request, Resume):
            _lock(run, ranks, until_the_end)
        return _train_in(run, attempt, signals, ranks, until_the_end)


def _lock(run: "RunFolder", ranks: "Ranks", until_the_end: ExitStack) -> None:
    ranks.from_main(lambda: until_the_end.enter_context(run.lock.held()))


def train_in(
    run: "RunFolder", request: NewRun | Resume, signals: "Signals", callbacks: Sequence["Callback"] = ()
) -> int:
    """Begin or continue a run in its folder, with more callbacks, which come last; return the exit status."""
    from rondeau.train.parallel import OneProcess

    with ExitStack() as until_the_end:
        return _train_in(run, _Attempt(request), signals, OneProcess(), until_the_end, callbacks)


def _train_in(
    run: "RunFolder",
    attempt: _Attempt,
    signals: "Signals",
    ranks: "Ranks",
    until_the_end: ExitStack,
    callbacks: Sequence["Callback"] = (),
) -> int:
    """Train in a run's folder, which is locked `until_the_end`: to go on at once, to begin when all is checked.

    Rank 0 alone looks into the folder, and the others are told what it found.
    """
    from rondeau import tensor as rt
    from rondeau.data import NgramModel
    from rondeau.train._commands import _telling
    from rondeau.train._commands._device import check_device
    from rondeau.train._commands._material import gather_material
    from rondeau.train._corpus import default_prompt
    from rondeau.train._csv_log import CSVLog
    from rondeau.train._interruption import INTERRUPTED
    from rondeau.train._progress import Progress
    from rondeau.train._recipe import make_logs, make_model, make_trainer
    from rondeau.train._recorder import Recorder
    from rondeau.train._run_state import Limits
    from rondeau.train._sizes import fit_sizes

    found = None
    request = attempt.request
    if isinstance(request, Resume):
        found = run.find_checkpoint_with(ranks, request.checkpoint)
        if found is not None:
            snapshot = found.snapshot
            ranks.from_main(lambda: run.check_unchanged("config.yaml", snapshot))
        config = parse_config(ranks.from_main(lambda: read_config(run.config).yaml))
        if request.corpus is not None:
            config = config._replace(corpus=request.corpus)
        elif config.corpus is not None and os.path.isabs(config.corpus) and not os.path.exists(config.corpus):
            raise UsageError(
                f"cannot read the corpus: there is no file {config.corpus}; where it is elsewhere now: "
                f"{command_line('train', '--resume', run.path)} CORPUS"
            )
        threads = config.run.threads if request.threads is None else request.threads
        device = config.run.device if request.device is None else request.device
    else:
        config, threads, device = request.config, request.config.run.threads, request.config.run.device
    if request.parallel is not None and config.training.shards is None:
        raise UsageError(
            f"--parallel: {run.path} was begun without shards, and one process continues it; a run that ranks are to "
            "share begins with --parallel mpi or --shards"
        )
    check_device(device)
    run.checkpoints.keep = config.run.keep
    if threads is not None:
        rt.set_num_threads(threads)

    material = gather_material(config, run, found)
    sizes = fit_sizes(config.training, len(material.train), material.token)
    lines = _telling.describe_text(material) | _telling.describe_sizes(sizes, config.training, material.token)
    config = material.settle(config).with_values(sizes._asdict())
    ends = Limits(sizes.epochs, config.training.max_steps, config.training.max_minutes)
    if isinstance(request, Resume):
        ends = ends._replace(
            **({} if found is None else found.snapshot.state["limits"]) | dict(request.limits)
        )
    elif not request.overwrite and ranks.from_main(lambda: run.begins_with(config.yaml)):
        # The same command again, after an interruption: the same run, whose bits do not depend on it.
        _lock(run, ranks, until_the_end)
        attempt.request = Resume(run.path, parallel=request.parallel)
        return _train_in(run, attempt, signals, ranks, until_the_end, callbacks)

    rt.manual_seed(config.run.seed)
    model = make_model(config.model, len(material.codec))
    if material.origin is not None:
        model.load_state_dict(material.origin.model.state_dict())
    recorder = Recorder(
        run,
        material.codec,
        material.corpus.identity,
        checkpoint_every=config.run.checkpoint_every,
        prompt=default_prompt(material.codec),
    )
    logs = make_logs(config.run, run)
    trainer = make_trainer(
        config.training,
        sizes,
        model,
        material.train,
        material.held_out,
        ends=ends,
        seed=config.run.seed,
        device=device,
        log_every=config.run.log_every,
        evaluate_every=config.run.evaluate_every,
        parallel=ranks if request.parallel is not None else None,
        callbacks=[recorder, *logs, Progress(), *callbacks],
    )
    if isinstance(request, NewRun):
        overwrite = request.overwrite
        _lock(run, ranks, until_the_end)
        ranks.from_main(lambda: run.create(config.yaml, overwrite))
        attempt.request = Resume(run.path, parallel=request.parallel)
    if found is not None:
        recorder.continue_from(found, trainer)
    for log in logs:
        if isinstance(log, CSVLog) and ranks.is_main:
            log.write(run.rows())  # whatever has become of it: checkpoints vouch for metrics.jsonl alone
    signals.remedy = f"continue with: {command_line('train', '--resume', run.path)}"

    lines |= _telling.describe_model(config, material, trainer)
    lines["run"] = f"{run.path}{'' if found is None else f', continued at step {trainer.step:,}'}"
    _telling.tell_the_beginning(lines)
    baselines: dict[str, float] = {}
    if len(material.held_out) and ranks.is_main:
        for order, name in ((1, "unigram"), (2, "bigram")):
            counts = NgramModel(material.train, order)
            baselines[name] = counts.negative_log_likelihood(material.held_out)

    began_at = trainer.step
    with signals.finishing_steps(trainer):
        trainer.fit()
    told = ranks.all_gather((trainer.stopped_by == INTERRUPTED, signals.came))
    if any(is_interrupted for is_interrupted, _ in told):
        signals.came = next((came for _, came in told if came is not None), None)
        message = f"interrupted at step {trainer.step:,}: everything is kept; {signals.remedy}"
        if ranks.is_main:
            print(one_visible_line(message), file=sys.stderr)
        return signals.status
    return ranks.from_main(
        lambda: _tell_what_came_out(config, run, material, trainer, baselines, trainer.step > began_at)
    )


def _tell_what_came_out(
    config: Config,
    run: "RunFolder",
    material: "Material",
    trainer: "Trainer",
    baselines: Mapping[str, float],
    has_trained: bool,
) -> int:
    """Tell and keep what came out, unless that was done when the run ended before; return the exit status."""
    from rondeau.train._commands import _telling
    from rondeau.train._verdict import check_converged

    if not has_trained and run.results.summary.exists():
        damaged = run.results.find_damage()
        for problem in damaged:
            warn_caller(f"{problem}; it is made again", RunWarning)
        if not damaged:
            say(f"this run has ended: {trainer.stopped_by}; the results are in {run.results.summary}")
            say(
                f"to go on: {command_line('train', '--resume', run.path)} with a larger --epochs, --max_steps or "
                "--max_minutes; the learning rate then stays where its schedule ended"
            )
            return 0
    check_converged(run.rows()[-1]["train_loss"], len(material.codec))
    _telling.tell_the_end(config, run, material, trainer, baselines)
    return 0


def _output(config: Config) -> str:
    from rondeau.train._recipe import default_output

    if config.run.output is not None:
        return config.run.output
    return str(default_output(config.corpus, config.model, time.strftime("%Y%m%d-%H%M%S")))
