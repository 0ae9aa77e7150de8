"""What ``rondeau train`` tells of a run: what it is at the beginning, and at the end what came out."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from rondeau import tensor as rt
from rondeau.train._commands._material import Material
from rondeau.train._corpora import TextCorpus
from rondeau.train._corpus import count_unknown, default_prompt, share
from rondeau.train._evaluate import Evaluation, evaluate
from rondeau.train._extras import how_to_install
from rondeau.train._generate import generate
from rondeau.train._origin import Origin, describe_unknown
from rondeau.train._plots import can_plot, draw_curves
from rondeau.train._program import command_line
from rondeau.train._showing import counted, say, visible
from rondeau.train._sizes import LONG_TEXT, Sizes
from rondeau.train._tasks.task import device_of
from rondeau.train._verdict import compare_with_counting

if TYPE_CHECKING:
    from rondeau.data import Codec, TokenStream
    from rondeau.train._options import TrainingOptions
    from rondeau.train._request import Config
    from rondeau.train._run import RunFolder
    from rondeau.train._tasks.language import LanguageModelling
    from rondeau.train._trainer import Trainer

_HEADINGS = ("corpus", "tokens", "unknown", "model", "weights", "device", "batches", "run")
_SAMPLE_WIDTH = 76  # of 80 columns


def describe_text(material: Material) -> dict[str, str]:
    """Return what to tell of the text, by its heading.

    Raises
    ------
    UsageError
        If the vocabulary that the run takes over cannot stand for the text.
    """
    corpus, codec, train, held_out, token, origin = material
    parts = (
        f"{counted(len(train), token)} to train on{_unknown_in(train, codec)}",
        f"{len(held_out):,} held out{_unknown_in(held_out, codec)}",
    )
    lines = {
        "corpus": f"{corpus.name}: {counted(corpus.characters, 'character')}",
        "tokens": f"{', '.join(parts)}; vocabulary of {len(codec):,}",
    }
    # Tokens on disk were built with the origin's vocabulary.
    if origin is not None and isinstance(corpus, TextCorpus):
        unknown = describe_unknown(corpus.text, codec, token)
        if unknown is not None:
            lines["unknown"] = unknown
    return lines


def describe_model(config: Config, material: Material, trainer: Trainer) -> dict[str, str]:
    """Return kind and size of the model, the number of steps, where the first weights come from, and the GPU."""
    options = config.model
    size = sum(parameter.numel() for parameter in trainer.model.parameters())
    entry = "one-hot input" if options.embedding_size is None else f"embeddings of {options.embedding_size}"
    steps = "" if trainer.total_steps is None else f", {counted(trainer.total_steps, 'step')}"
    lines = {
        "model": f"{options.cell}, {counted(options.num_layers, 'layer')} of {options.hidden_size} units, {entry}: "
        f"{size:,} parameters{steps}"
    }
    if material.origin is not None and options.init_from is not None:
        lines["weights"] = f"of step {material.origin.step:,} of {Origin.parse(options.init_from).run}"
    if device_of(trainer.model).type == "cuda":
        lines["device"] = rt.cuda.get_device_name()
    return lines


def describe_sizes(sizes: Sizes, options: TrainingOptions, token: str) -> dict[str, str]:
    """Return the sizes that were chosen for the length of the text, if they are not those of a long one."""
    chosen = [name for name, size in sizes._asdict().items() if size not in (None, getattr(options, name))]
    if not chosen or sizes == LONG_TEXT:
        return {}
    epochs = "" if sizes.epochs is None else f", {counted(sizes.epochs, 'epoch')}"
    flags = ", ".join(f"--{name}" for name in chosen)
    return {
        "batches": f"{counted(sizes.batch_size, 'row')} of {counted(sizes.num_steps, token)}{epochs}: "
        f"chosen for the length of this text (to change: {flags})"
    }


def tell_the_beginning(lines: Mapping[str, str]) -> None:
    """Print what was described, in a fixed order."""
    for heading in _HEADINGS:
        if heading in lines:
            say(f"{heading:9}{lines[heading]}")


def _unknown_in(stream: TokenStream, codec: Codec) -> str:
    unknown = count_unknown(stream, codec)
    return f" ({share(unknown, len(stream))} <unk>)" if unknown else ""


def tell_the_end(
    config: Config, run: RunFolder, material: Material, trainer: Trainer, baselines: Mapping[str, float]
) -> None:
    """Measure the best weights, and tell and keep what came out."""
    say(f"ended: {trainer.stopped_by}, in {counted(round(trainer.seconds), 'second')} of training")
    summary: dict[str, Any] = {
        "stopped_by": trainer.stopped_by,
        "steps": trainer.step,
        "train_seconds": round(trainer.seconds, 3),
    }
    if len(material.held_out):
        summary |= _tell_score(config, run, material, trainer, baselines)
    run.results.save(summary, draw_curves(run.rows(), baselines) if can_plot() else None)
    _tell_sample(trainer, material.codec, config.run.seed)
    if can_plot():
        say(f"curves: {run.results.curves}")
    else:
        say(f"curves: not drawn, since matplotlib is missing; {how_to_install('plot')}")
    say(f"run folder: {run.path}{os.sep}")
    say(f'next: {command_line("generate", run.path)} --prompt "..."')


def _tell_score(
    config: Config, run: RunFolder, material: Material, trainer: Trainer, baselines: Mapping[str, float]
) -> dict[str, Any]:
    """Measure the best weights on the held-out part; tell the score, and return what a summary keeps of it."""
    held_out, token = material.held_out, material.token
    best = trainer.step if trainer.best_step is None else trainer.best_step
    if best != trainer.step:
        trainer.evaluated_model.load_state_dict(run.load_checkpoint("best").evaluated_weights)
    task = cast("LanguageModelling", trainer.task)
    steps = 1024 if task.carry_state else task.num_steps
    score = evaluate(trainer.evaluated_model, held_out, num_steps=steps, carry_state=task.carry_state)
    say(f"held out, with the weights of step {best:,}{_other_way(trainer)}:")
    say(f"  this model  {score.describe(token)}")
    for name, loss in baselines.items():
        say(f"  {name:10}  perplexity {Evaluation(loss, score.num_tokens, True).perplexity:.3f}")
    if verdict := compare_with_counting(config, trainer, score, baselines["bigram"]):
        say(f"  {verdict}")
    unknown = count_unknown(held_out, material.codec)
    if unknown:
        say(
            f"  {share(unknown, len(held_out))} of these {token}s are <unk>, not in the vocabulary: compare "
            "perplexities of one vocabulary alone"
        )
    return {
        "best_step": best,
        "held_out_loss": score.loss,
        "held_out_perplexity": score.perplexity if math.isfinite(score.perplexity) else None,
        "bits_per_token": score.bits_per_token,
        "tokens_scored": score.num_tokens,
        "unknown_share": unknown / len(held_out),
        "state_carried": score.carried,
        "baselines": dict(baselines),
    }


def _tell_sample(trainer: Trainer, codec: Codec, seed: int) -> None:
    prompt = default_prompt(codec)
    drawn = generate(trainer.evaluated_model, codec, prompt, 300, temperature=0.8, seed=seed)
    text = visible("".join(chain([prompt], drawn)))
    say("sample:")
    for line in text.strip("\n").split("\n"):
        for part in textwrap.wrap(line, _SAMPLE_WIDTH, replace_whitespace=False) or [""]:
            say(f"  | {part}")


def _other_way(trainer: Trainer) -> str:
    """Say why the evaluations of the steps gave another number than the measure at the end."""
    task = cast("LanguageModelling", trainer.task)
    if not task.carry_state:
        return ""
    return f", read as one stream (step lines cut it into {task.evaluation_rows} rows, for speed)"
