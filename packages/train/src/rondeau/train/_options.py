"""What a training run can be told: the options of ``rondeau train``, and of its ``config.yaml``.

Nothing heavy is imported here: ``--help`` and ``--print_config`` need this file alone.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]  # exported, but not by name

from rondeau.train._config_file import check_config_file
from rondeau.train._origin import ADAPTABLE, Origin
from rondeau.train._parser import CommandParser
from rondeau.train._usage_error import UsageError


@dataclass(frozen=True)
class TextOptions:
    """The text and its tokens.

    Parameters
    ----------
    tokens
        What the model reads and writes: characters, words, the matches of --pattern, or byte pairs (BPE).
    normalise
        d2l: reduce the text to lower-case letters and single spaces first, as the book "Dive into Deep Learning" does.
        Of --tokens characters and words.
    pattern
        The regular expression of --tokens regex. By default words and signs, with the spaces before them.
    bpe_size
        Size of the vocabulary of --tokens bpe.
    min_freq
        Tokens that the text holds less often (without its held-out part) become the unknown token.
    held_out
        The last part of the text, as a fraction, is never trained on: it measures the model. The vocabulary is made
        without it.
    """

    tokens: Literal["characters", "words", "regex", "bpe"] = "characters"
    normalise: Literal["d2l"] | None = None
    pattern: str | None = None
    bpe_size: int = 1000
    min_freq: int = 0
    held_out: float = 0.1


@dataclass(frozen=True)
class ModelOptions:
    """The model.

    Parameters
    ----------
    init_from
        Begin with the weights and the vocabulary of this run, to go on learning on another text. Options of tokens and
        model are that run's; of those, only dropout and the like may be given. --checkpoint chooses the weights.
    cell
        The recurrent cell: rnn, gru, lstm; gru_layer_norm, gru_original, indrnn, li_gru, linear_rnn, lstm_coupled,
        lstm_layer_norm, lstm_peephole, mgu, mlstm, rnn_relu, rnn_tanh (the same as rnn) or slstm, as rondeau.nn.cells
        describes them.
    hidden_size
        Hidden units of a layer.
    num_layers
        Recurrent layers.
    embedding_size
        Tokens enter as learned vectors of this size; by default as one-hot vectors.
    dropout
        Probability of dropping an element of the embeddings, or of the output of a layer, in training.
    tie_weights
        The output layer uses the embedding's weights, so that --embedding_size is --hidden_size.
    forget_bias
        What the forget gates of an LSTM start with; other cells keep theirs.
    zoneout
        Probability of a hidden unit keeping its old state at a step, in training.
    recurrent_dropout
        Probability of hiding a unit from the recurrent matrices, the same units at every step, in training.
    weight_dropout
        Probability of dropping an element of the recurrent matrices, in training.
    """

    init_from: str | None = None
    cell: str = "gru"
    hidden_size: int = 256
    num_layers: int = 1
    embedding_size: int | None = None
    dropout: float = 0.0
    tie_weights: bool = False
    forget_bias: float = 1.0
    zoneout: float = 0.0
    recurrent_dropout: float = 0.0
    weight_dropout: float = 0.0


@dataclass(frozen=True)
class TrainingOptions:
    """The training.

    Parameters
    ----------
    sampling
        sequential: each batch continues the one before, and the hidden state is carried. random: it does not.
    batch_size
        Rows of a batch, read side by side. auto: 32, and fewer for a short text.
    num_steps
        Tokens of a row, over which gradients are propagated back. auto: 64, and fewer for a short text.
    epochs
        Passes through the text. The run ends with the first of --epochs, --max_steps and --max_minutes. auto: 10, more
        for a very short text, and no limit where --max_steps is given.
    max_steps
        Batches.
    max_minutes
        Minutes of training.
    optimizer
        Its other options have the defaults of rondeau.train.optim.
    lr
        Learning rate.
    momentum
        Of sgd and rmsprop.
    weight_decay
        An L2 penalty; for adamw, decoupled from the gradient.
    schedule
        How the rate falls over the run; plateau: to a tenth whenever two evaluations in a row were no better.
    final_lr
        Where cosine, linear and exponential end, as a fraction of --lr.
    warmup_steps
        Steps over which the rate first rises to --lr.
    clip_norm
        Gradients whose joint norm is larger are scaled down to it; none: they stay as they are.
    patience
        End the run after this many evaluations in a row without a new best.
    """

    sampling: Literal["sequential", "random"] = "sequential"
    batch_size: int | Literal["auto"] = "auto"
    num_steps: int | Literal["auto"] = "auto"
    epochs: int | Literal["auto"] | None = "auto"
    max_steps: int | None = None
    max_minutes: float | None = None
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad"] = "adam"
    lr: float = 4e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "linear", "exponential", "plateau"] = "cosine"
    final_lr: float = 0.05
    warmup_steps: int = 0
    clip_norm: float | None = 5.0
    patience: int | None = None


@dataclass(frozen=True)
class RunOptions:
    """The run.

    Parameters
    ----------
    output
        The run's folder; by default a new one under runs/.
    seed
        Of the initial weights, the batches and dropout: with the same seed, the same bits.
    threads
        Cores to use; by default all. The results do not depend on it.
    log_every
        Steps from one line of metrics.jsonl to the next.
    evaluate_every
        Steps from one evaluation on the held-out part, sample and checkpoint to the next; by default an epoch.
    checkpoint_every
        Steps from one checkpoint file to the next, beside those of evaluations. Only about files: what a layer calls
        checkpoint_every, states computed again to save memory, is no option of this command.
    keep
        How many of the last checkpoints to keep; the best one is always kept.
    """

    output: str | None = None
    seed: int = 0
    threads: int | None = None
    log_every: int = 50
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    keep: int = 3


CORPUS_HELP = (
    "a UTF-8 text file, or a data set: tinyshakespeare, timemachine, names; by default Python's own text"
)


class Config(NamedTuple):
    """All options of a run; `yaml` is how they are printed and kept."""

    corpus: str | None
    text: TextOptions
    model: ModelOptions
    training: TrainingOptions
    run: RunOptions
    yaml: str

    def with_values(self, values: Mapping[str, Any]) -> "Config":
        """Return these options with other values for some of them, by name."""
        parser = train_parser()
        namespace = parser.parse_string(self.yaml)
        for name, value in values.items():
            namespace[name] = value
        return _config(parser, namespace)


class NewRun(NamedTuple):
    """What a command line asks of ``rondeau train``: a new run."""

    config: Config
    overwrite: bool


class Resume(NamedTuple):
    """What a command line asks of ``rondeau train``: the continuation of a run.

    `corpus` is where the run's text is now, if that is elsewhere than before; `limits` are the options of `LIMITS` that
    were given, the others stay as they were.
    """

    folder: Path
    checkpoint: str = "latest"
    corpus: str | None = None
    threads: int | None = None
    limits: Mapping[str, Any] = MappingProxyType({})


class _Corpus(argparse.Action):
    """The positional corpus: a path, kept as an absolute one so that config.yaml works from any folder, or a name.

    A path wins over a data set of that name. What is neither is kept as it is: reading it says so.
    """

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values is not None:  # argparse calls this with None where the argument is absent
            path = os.path.abspath(os.path.expanduser(values))
            could_be_a_name = os.path.basename(values) == values and not os.path.splitext(values)[1]
            namespace.corpus = values if could_be_a_name and not os.path.exists(path) else path


class _Order(argparse.Action):
    """An option that says what to do, not what the run is: it stays out of the configuration."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        parser.orders[self.option_strings[0]] = values


LIMITS: Mapping[str, Any] = {"epochs": int | None, "max_steps": int | None, "max_minutes": float | None}
"""Options that say where a run ends, and may be changed when it is continued."""


def train_parser() -> CommandParser:
    """Return the parser of ``rondeau train``."""
    parser = CommandParser(
        "train",
        "[CORPUS]",
        "Train a language model on a text: it learns to predict the next token (by default, the next "
        "character). Without arguments it reads the language reference that ships inside Python, and ends in one "
        "to three minutes on two cores. It leaves a folder with checkpoints, metrics, curves and samples, and an "
        "interrupted run continues where it was with --resume. An option without a default is off, or chosen by the "
        "command, until it is given; one that may be off is switched off by the word none (in a YAML file: null).",
    )
    text = parser.add_argument_group("What to do")
    text.add_argument(
        "corpus",
        metavar="CORPUS",
        nargs="?",
        action=_Corpus,
        default=None,
        help=CORPUS_HELP,
    )
    orders: dict[str, Any] = {"dest": argparse.SUPPRESS, "default": argparse.SUPPRESS, "action": _Order}
    text.add_argument(
        "--resume",
        metavar="RUN",
        help="continue a run: from its latest checkpoint, or another one with --checkpoint; with --epochs, --max_steps "
        "or --max_minutes to another end, the learning rate being held where its schedule ends; beside these, only "
        "--threads may be given, and CORPUS, where its text has another path now",
        **orders,
    )
    text.add_argument(
        "--checkpoint",
        metavar="NAME",
        help="the checkpoint for --resume (default: latest) or --init_from (default: best): best, latest, or a name "
        "such as step-200",
        **orders,
    )
    text.add_argument("--overwrite", nargs=0, help="replace the run that --output holds", **orders)
    parser.add_argument(
        "--config",
        action=ActionConfigFile,
        help="a YAML file of options, such as a run's config.yaml; flags win over it",
    )
    parser.explain("--print_config", "print every option with its value, as a file for --config, and end")
    for group in _GROUPS:
        parser.add_class_arguments(group, as_group=True)
    return parser


def parse_train(argv: Sequence[str]) -> NewRun | Resume:
    """Parse the command line of ``rondeau train``.

    Raises
    ------
    UsageError
        If it cannot be understood.
    """
    if any(argument == "--resume" or argument.startswith("--resume=") for argument in argv):
        return _parse_resume(argv)
    parser = train_parser()
    files, flags = _config_files_and_flags(argv)
    for file in files:
        check_config_file(Path(file), _NAMES)
    spelled = [*(f"--config={file}" for file in files), *flags]
    taken = _taken_over(spelled)
    parser.set_defaults(taken)
    namespace = parser.parse(spelled)
    _check_taken_over(namespace, taken)
    if checkpoint := parser.orders.get("--checkpoint"):
        if namespace.init_from is None:
            raise UsageError("--checkpoint: goes with --resume or --init_from, which name a run")
        namespace.init_from = Origin.parse(namespace.init_from).path(checkpoint)
    return NewRun(_config(parser, namespace), "--overwrite" in parser.orders)


def _taken_over(argv: Sequence[str]) -> dict[str, Any]:
    """Return the options that a command line takes over from the run of --init_from, which are its defaults then."""
    quiet = [argument for argument in argv if not argument.startswith("--print")]
    init_from = train_parser().parse(quiet).init_from
    if init_from is None:
        return {}
    path = Origin.parse(init_from).run / "config.yaml"
    if not path.is_file():
        raise UsageError(f"--init_from: {path.parent} is no run: it holds no config.yaml")
    config = read_config(path)
    return {
        field.name: getattr(group, field.name)
        for group in (config.text, config.model)
        for field in fields(group)
        if field.name not in ADAPTABLE
    }


def _check_taken_over(namespace: Any, taken: Mapping[str, Any]) -> None:
    for name, value in taken.items():
        if namespace[name] != value:
            raise UsageError(
                f"--{name}: got {namespace[name]}, but --init_from {namespace.init_from} has {value}: a run takes its "
                "tokens and model over; leave the option out"
            )


def read_config(path: Path) -> Config:
    """Read the config.yaml of a run.

    Raises
    ------
    UsageError
        If it cannot be read or understood; the message names the file.
    """
    check_config_file(path, _NAMES)
    parser = train_parser()
    try:
        return _config(parser, parser.parse([f"--config={path}"]))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _parse_resume(argv: Sequence[str]) -> Resume:
    if "--help" in argv or "-h" in argv:
        train_parser().print_help()
        raise SystemExit(0)
    parser = CommandParser("train", "--resume RUN", "Continue a run.")
    parser.add_argument("corpus", nargs="?", action=_Corpus, default=None)
    parser.add_argument("--resume", type=str)
    parser.add_argument("--checkpoint", type=str, default="latest")
    parser.add_argument("--threads", type=int, default=None)
    for name, kind in LIMITS.items():
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS)
    flags = ["--checkpoint", *(f"--{name}" for name in LIMITS), "--threads"]
    for argument in argv:
        name = argument.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if argument.startswith("--") and name not in ("--resume", *flags):
            raise UsageError(
                f"--resume: beside it go {', '.join(flags)}, got {argument}: all else is in the run's config.yaml"
            )
    arguments = parser.parse(argv)
    limits = {name: arguments[name] for name in LIMITS if name in arguments}
    corpus = None if arguments.corpus is None else str(arguments.corpus)
    return Resume(Path(arguments.resume), arguments.checkpoint, corpus, arguments.threads, limits)


def _config_files_and_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take what --config names out of a command line: it comes first, so that flags win wherever they stand.

    A --config that names no file is left, for the parser to say so.
    """
    files, flags, rest = [], [], list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if name == "--config" and (equals or rest):
            files.append(value if equals else rest.pop(0))
        else:
            flags.append(argument)
    return files, flags


_Options = TypeVar("_Options", TextOptions, ModelOptions, TrainingOptions, RunOptions)
_GROUPS = (TextOptions, ModelOptions, TrainingOptions, RunOptions)
_NAMES = {"corpus", *(field.name for group in _GROUPS for field in fields(group))}


def pick(options: type[_Options], namespace: Any) -> _Options:
    """Make a group of options from what was parsed; what the parser left out keeps its default."""
    return options(
        **{field.name: namespace[field.name] for field in fields(options) if field.name in namespace}
    )


def _config(parser: CommandParser, namespace: Any) -> Config:
    if namespace.tie_weights and namespace.embedding_size is None:
        namespace.embedding_size = namespace.hidden_size
    if namespace.output is not None:
        namespace.output = os.path.expanduser(namespace.output)  # no shell does it in --output=~/runs
    if namespace.init_from is not None:
        namespace.init_from = os.path.abspath(os.path.expanduser(namespace.init_from))
    if namespace.corpus is not None:
        namespace.corpus = str(namespace.corpus)  # a file may be called 3, which YAML takes for a number
    for name in ("corpus", "output", "init_from"):
        _check_path(name, namespace[name])
    # Unset options are printed too, as --print_config does. By position: jsonargparse 4.49 renamed the argument.
    yaml = parser.dump(namespace, "parser_mode", False)
    return Config(
        namespace.corpus,
        pick(TextOptions, namespace),
        pick(ModelOptions, namespace),
        pick(TrainingOptions, namespace),
        pick(RunOptions, namespace),
        yaml,
    )


def _check_path(name: str, path: str | None) -> None:
    if path == "":
        raise UsageError(f"--{name}: expected a path, got nothing")
    try:
        (path or "").encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"the path {path!r} is not UTF-8, and cannot be kept in config.yaml; rename it"
        ) from None
