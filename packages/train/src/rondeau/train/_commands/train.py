"""``rondeau train``."""

import math
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any

from rondeau.kernels.caller import warn_caller
from rondeau.train._errors import RunWarning
from rondeau.train._extras import how_to_install
from rondeau.train._options import Config, NewRun, Resume, parse_train, read_config
from rondeau.train._program import program
from rondeau.train._showing import one_visible_line, say, visible
from rondeau.train._usage_error import UsageError

if TYPE_CHECKING:
    from rondeau.data import Codec, TokenStream
    from rondeau.train._interruption import Signals
    from rondeau.train._run import RunFolder
    from rondeau.train._sizes import Sizes
    from rondeau.train._trainer import Trainer

_SAMPLE_WIDTH = 76  # of 80 columns


def run(argv: Sequence[str]) -> int:
    """Start or continue a run; return the exit status."""
    request = parse_train(argv)
    # What follows needs the compiler and its kernels: not imported for --help.
    from rondeau.kernels.compiling_notice import announcing_with
    from rondeau.train._diverged import DivergedError
    from rondeau.train._errors import CheckpointError, RunError
    from rondeau.train._interruption import Signals
    from rondeau.train._progress import write_line

    signals = Signals()
    try:
        with signals.handled(), announcing_with(write_line):
            return _train(request, signals)
    except (RunError, CheckpointError) as error:
        raise UsageError(str(error)) from error
    except DivergedError as error:
        print(one_visible_line(f"rondeau train: {error}"), file=sys.stderr)
        return 1


def _train(request: NewRun | Resume, signals: "Signals") -> int:
    from rondeau.train._run import RunFolder

    if isinstance(request, Resume):
        run = RunFolder(request.folder)
        run.check_begun()
    else:
        run = RunFolder(_output(request.config))
        run.check_ours()
    with ExitStack() as until_the_end:
        if isinstance(request, Resume):
            until_the_end.enter_context(run.locked())
        return _train_in(run, request, signals, until_the_end)


def _train_in(
    run: "RunFolder", request: NewRun | Resume, signals: "Signals", until_the_end: ExitStack
) -> int:
    """Train in a run's folder, which is locked `until_the_end`: to go on at once, to begin when all is checked."""
    from rondeau import tensor as rt
    from rondeau.data import NgramModel
    from rondeau.train import _corpus, _recipe
    from rondeau.train._progress import INTERRUPTED, Progress
    from rondeau.train._recorder import Recorder
    from rondeau.train._run_state import Limits
    from rondeau.train._sizes import LONG_TEXT, fit_sizes
    from rondeau.train._verdict import check_converged

    found = None
    if isinstance(request, Resume):
        found = run.find_checkpoint(request.checkpoint)
        if found is not None:
            run.check_unchanged("config.yaml", found.snapshot)
        config = read_config(run.config)
        threads = config.run.threads if request.threads is None else request.threads
    else:
        config, threads = request.config, request.config.run.threads
    run.checkpoints.keep = config.run.keep
    if threads is not None:
        rt.set_num_threads(threads)
    corpus = _corpus.load_corpus(config.corpus)
    if found is None or not run.vocab.exists():
        codec = _corpus.make_codec(_corpus.split_text(corpus.text, config.text)[0], config.text)
    else:
        codec = run.load_codec(found.snapshot)
    train, held_out = _corpus.split_stream(corpus.text, codec, config.text)
    token = _corpus.TOKEN_NAMES[config.text.tokens]
    sizes = fit_sizes(config.training, len(train), token)
    chosen = [name for name, size in sizes._asdict().items() if size != getattr(config.training, name)]
    config = config.with_values(sizes._asdict())
    ends = Limits(sizes.epochs, config.training.max_steps, config.training.max_minutes)
    if isinstance(request, Resume):
        ends = ends._replace(**({} if found is None else found.snapshot.state["limits"]) | request.limits)
    elif not request.overwrite and run.begins_with(config.yaml):
        # The same command again, after an interruption: the same run, whose bits do not depend on it.
        until_the_end.enter_context(run.locked())
        return _train_in(run, Resume(run.path, "latest", None, {}), signals, until_the_end)
    rt.manual_seed(config.run.seed)
    model = _recipe.make_model(config.model, len(codec))
    recorder = Recorder(
        run,
        codec,
        corpus.identity,
        checkpoint_every=config.run.checkpoint_every,
        prompt=_corpus.default_prompt(codec),
    )
    trainer = _recipe.make_trainer(
        config.training,
        sizes,
        model,
        train,
        held_out,
        ends=ends,
        seed=config.run.seed,
        log_every=config.run.log_every,
        evaluate_every=config.run.evaluate_every,
        callbacks=[recorder, Progress()],
    )
    if isinstance(request, NewRun):
        until_the_end.enter_context(run.locked())
        run.create(config.yaml, request.overwrite)
    if found is not None:
        recorder.continue_from(found, trainer)
    signals.remedy = f"continue with: {program()} train --resume {run.path}"

    _tell("corpus", f"{corpus.name}: {len(corpus.text):,} characters")
    known = [_share_of_unknown(part, codec) for part in (train, held_out)]
    _tell(
        "tokens",
        f"{len(train):,} {token}s to train on{known[0]}, {len(held_out):,} held out{known[1]}; "
        f"vocabulary of {len(codec):,}",
    )
    _tell("model", _describe_model(config, trainer))
    if chosen and sizes != LONG_TEXT:
        _tell("batches", _describe_choice(sizes, chosen, token))
    _tell("run", f"{run.path}{'' if found is None else f', continued at step {trainer.step:,}'}")
    baselines: dict[str, float] = {}
    if len(held_out):
        for order, name in ((1, "unigram"), (2, "bigram")):
            baselines[name] = NgramModel(train, order).negative_log_likelihood(held_out)

    began_at = trainer.step
    with signals.finishing_steps(trainer):
        trainer.fit()
    if trainer.stopped_by == INTERRUPTED:
        print(
            f"interrupted at step {trainer.step:,}: everything is kept; {signals.remedy}",
            file=sys.stderr,
        )
        return signals.status
    if trainer.step == began_at and run.summary.exists():
        damaged = run.damaged_results()
        for problem in damaged:
            warn_caller(f"{problem}; it is made anew", RunWarning)
        if not damaged:
            say(
                f"this run has ended: {trainer.stopped_by}; what came out is in {run.summary}\n{_longer(run)}"
            )
            return 0
    check_converged(run.rows()[-1]["train_loss"], len(codec))
    _finish(config, run, codec, trainer, held_out, baselines)
    return 0


def _longer(run: "RunFolder") -> str:
    return (
        f"to go on: {program()} train --resume {run.path} with a larger --epochs, --max_steps or --max_minutes; the "
        "learning rate then stays where its schedule ended"
    )


def _tell(what: str, line: str) -> None:
    say(f"{what:9}{line}")


def _share_of_unknown(stream: "TokenStream", codec: "Codec") -> str:
    from rondeau.train._corpus import count_unknown, share

    unknown = count_unknown(stream, codec)
    return f" ({share(unknown, len(stream))} <unk>)" if unknown else ""


def _output(config: Config) -> str:
    from rondeau.train._recipe import default_output

    if config.run.output is not None:
        return config.run.output
    return str(default_output(config.corpus, config.model, time.strftime("%Y%m%d-%H%M%S")))


def _describe_model(config: Config, trainer: "Trainer") -> str:
    options = config.model
    size = sum(parameter.data.size for parameter in trainer.model.parameters())
    layers = "1 layer" if options.num_layers == 1 else f"{options.num_layers} layers"
    entry = "one-hot input" if options.embedding_size is None else f"embeddings of {options.embedding_size}"
    steps = "" if trainer.total_steps is None else f", {trainer.total_steps:,} steps"
    return f"{options.cell}, {layers} of {options.hidden_size} units, {entry}: {size:,} parameters{steps}"


def _describe_choice(sizes: "Sizes", chosen: Sequence[str], token: str) -> str:
    rows = "1 row" if sizes.batch_size == 1 else f"{sizes.batch_size} rows"
    epochs = "" if sizes.epochs is None else f", {sizes.epochs} epochs"
    flags = ", ".join(f"--{name}" for name in chosen)
    return f"{rows} of {sizes.num_steps} {token}s{epochs}: chosen for the length of this text (to change: {flags})"


def _finish(
    config: Config,
    run: "RunFolder",
    codec: "Codec",
    trainer: "Trainer",
    held_out: "TokenStream",
    baselines: dict[str, float],
) -> None:
    """Measure the best weights, and tell and keep what came out."""
    from rondeau.train import _corpus
    from rondeau.train._evaluate import Evaluation, evaluate
    from rondeau.train._generate import generate
    from rondeau.train._plots import can_plot, draw_curves
    from rondeau.train._verdict import compare_with_counting

    token = _corpus.TOKEN_NAMES[config.text.tokens]
    say(f"ended: {trainer.stopped_by}, in {trainer.seconds:,.0f} seconds of training")
    summary: dict[str, Any] = {
        "stopped_by": trainer.stopped_by,
        "steps": trainer.step,
        "train_seconds": round(trainer.seconds, 3),
    }
    if len(held_out):
        best = trainer.step if trainer.best_step is None else trainer.best_step
        if best != trainer.step:
            trainer.model.load_state_dict(run.load_checkpoint("best").arrays["weights"])
        steps = 1024 if trainer.carries_state else trainer.batches.num_steps
        score = evaluate(trainer.model, held_out, num_steps=steps, carry_state=trainer.carries_state)
        say(f"held out, with the weights of step {best:,}{_other_way(trainer)}:")
        say(f"  this model  {score.describe(token)}")
        for name, loss in baselines.items():
            say(f"  {name:10}  perplexity {Evaluation(loss, score.num_tokens, True).perplexity:.3f}")
        if verdict := compare_with_counting(config, trainer, score, baselines["bigram"]):
            say(f"  {verdict}")
        unknown = _corpus.count_unknown(held_out, codec)
        if unknown:
            say(
                f"  {_corpus.share(unknown, len(held_out))} of these {token}s are <unk>, not in the training part's "
                "vocabulary: compare perplexities of one vocabulary alone"
            )
        summary |= {
            "best_step": best,
            "held_out_loss": score.loss,
            "held_out_perplexity": score.perplexity if math.isfinite(score.perplexity) else None,
            "bits_per_token": score.bits_per_token,
            "tokens_scored": score.num_tokens,
            "unknown_share": unknown / len(held_out),
            "state_carried": score.carried,
            "baselines": baselines,
        }
    run.save_results(summary, draw_curves(run.rows(), baselines) if can_plot() else None)
    prompt = _corpus.default_prompt(codec)
    say("sample:")
    drawn = generate(trainer.model, codec, prompt, 300, temperature=0.8, seed=config.run.seed)
    text = visible("".join(chain([prompt], drawn)))
    for line in text.strip("\n").split("\n"):
        for part in textwrap.wrap(line, _SAMPLE_WIDTH, replace_whitespace=False) or [""]:
            say(f"  | {part}")
    if can_plot():
        say(f"curves: {run.curves}")
    else:
        say(f"curves: not drawn, since matplotlib is missing; {how_to_install('plot')}")
    say(f"run folder: {run.path}{os.sep}")
    say(f'next: {program()} generate {run.path} --prompt "..."')


def _other_way(trainer: "Trainer") -> str:
    """Say why the evaluations of the steps gave another number than the measure at the end."""
    if not trainer.carries_state:
        return ""
    return f", read as one stream (step lines cut it into {trainer.evaluation_rows} rows, for speed)"
