"""What a command line asks of ``rondeau train``: a new run, or the continuation of one."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]  # exported, but not by name

from rondeau.train._config_file import check_config_file
from rondeau.train._options import (
    CORPUS_HELP,
    GROUPS,
    NAMES,
    ModelOptions,
    RunOptions,
    TextOptions,
    TrainingOptions,
    pick,
)
from rondeau.train._origin import ADAPTABLE, Origin
from rondeau.train._parser import CommandParser
from rondeau.train._usage_error import UsageError


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
        return parse_config(self.yaml, values)


class NewRun(NamedTuple):
    """What a command line asks of ``rondeau train``: a new run."""

    config: Config
    overwrite: bool
    parallel: str | None = None


class Resume(NamedTuple):
    """What a command line asks of ``rondeau train``: the continuation of a run.

    `corpus` is where the run's text is now, if that is elsewhere than before; `threads` and `device` are those of the
    run unless they are given; `parallel` says whose ranks share it; `limits` are the options of `LIMITS` that were
    given, the others stay as they were.
    """

    folder: Path
    checkpoint: str = "latest"
    corpus: str | None = None
    threads: int | None = None
    device: str | None = None
    parallel: str | None = None
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


PARALLEL = ("mpi",)
"""What a run can be shared by."""

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
        "--threads, --device and --parallel may be given, and CORPUS, where its text has another path now",
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
    text.add_argument(
        "--parallel",
        choices=PARALLEL,
        help="mpi: share every batch among the ranks of the MPI job that started this command (extra mpi): "
        "mpirun --bind-to none -n 2 rondeau train --parallel mpi",
        **orders,
    )
    parser.add_argument(
        "--config",
        action=ActionConfigFile,
        help="a YAML file of options, such as a run's config.yaml; flags win over it",
    )
    parser.explain("--print_config", "print every option with its value, as a file for --config, and end")
    for group in GROUPS:
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
        check_config_file(Path(file), NAMES)
    spelled = [*(f"--config={file}" for file in files), *_with_one_log(flags)]
    taken = _taken_over(spelled)
    for options in taken.values():
        parser.set_defaults(options)
    namespace = parser.parse(spelled)
    for origin, options in taken.items():
        _check_taken_over(namespace, origin, options)
    if checkpoint := parser.orders.get("--checkpoint"):
        if namespace.init_from is None:
            raise UsageError("--checkpoint: goes with --resume or --init_from, which name a run")
        namespace.init_from = Origin.parse(namespace.init_from).path(checkpoint)
    return NewRun(_config(parser, namespace), "--overwrite" in parser.orders, parser.orders.get("--parallel"))


def _taken_over(argv: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the options that a command line takes over, which are its defaults then, by where they are from."""
    quiet = [argument for argument in argv if not argument.startswith("--print")]
    namespace = train_parser().parse(quiet)
    taken = {}
    if namespace.corpus is not None and os.path.isdir(corpus := str(namespace.corpus)):
        taken[corpus] = _options_of_tokens(corpus)
    if namespace.init_from is not None:
        taken[f"--init_from {namespace.init_from}"] = _options_of_run(namespace.init_from)
    return taken


def _options_of_tokens(folder: str) -> dict[str, Any]:
    """Return the options that a corpus of tokens was built with; none of another folder, which reading it says."""
    from rondeau.data import TokenCorpus
    from rondeau.train._corpora import open_built, options_of

    return options_of(open_built(folder, verify=False)) if TokenCorpus.is_at(folder) else {}


def _options_of_run(init_from: str) -> dict[str, Any]:
    """Return the options that a run takes over from the one that it begins with."""
    path = Origin.parse(init_from).run / "config.yaml"
    if not path.is_file():
        raise UsageError(f"--init_from: {path.parent} is not a run: it has no config.yaml")
    config = read_config(path)
    return {
        field.name: getattr(group, field.name)
        for group in (config.text, config.model)
        for field in fields(group)
        if field.name not in ADAPTABLE
    }


def _check_taken_over(namespace: Any, origin: str, taken: Mapping[str, Any]) -> None:
    what = "tokens and model" if origin.startswith("--") else "tokens"
    for name, value in taken.items():
        if namespace[name] != value:
            raise UsageError(
                f"--{name}: got {namespace[name]}, but {origin} has {value}: a run takes its {what} over; leave the "
                "option out"
            )


def read_config(path: Path) -> Config:
    """Read the config.yaml of a run.

    Raises
    ------
    UsageError
        If it cannot be read or understood; the message names the file.
    """
    check_config_file(path, NAMES)
    parser = train_parser()
    try:
        return _config(parser, parser.parse([f"--config={path}"]))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def parse_config(yaml: str, values: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """Return the options of a `Config`'s text, with other values for some of them, by name."""
    parser = train_parser()
    namespace = parser.parse_string(yaml)
    for name, value in values.items():
        namespace[name] = value
    return _config(parser, namespace)


def _parse_resume(argv: Sequence[str]) -> Resume:
    if "--help" in argv or "-h" in argv:
        train_parser().print_help()
        raise SystemExit(0)
    parser = CommandParser("train", "--resume RUN", "Continue a run.")
    parser.add_argument("corpus", nargs="?", action=_Corpus, default=None)
    parser.add_argument("--resume", type=str)
    parser.add_argument("--checkpoint", type=str, default="latest")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", type=Literal["cpu", "cuda"] | None, default=None)
    parser.add_argument("--parallel", choices=PARALLEL, default=None)
    for name, kind in LIMITS.items():
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS)
    flags = ["--checkpoint", *(f"--{name}" for name in LIMITS), "--threads", "--device", "--parallel"]
    for argument in argv:
        name = argument.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if argument.startswith("--") and name not in ("--resume", *flags):
            raise UsageError(
                f"--resume: beside it go {', '.join(flags)}, got {argument}: all else is in the run's config.yaml"
            )
    arguments = parser.parse(argv)
    limits = {name: arguments[name] for name in LIMITS if name in arguments}
    corpus = None if arguments.corpus is None else str(arguments.corpus)
    return Resume(
        Path(arguments.resume),
        arguments.checkpoint,
        corpus,
        arguments.threads,
        arguments.device,
        arguments.parallel,
        limits,
    )


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


def _with_one_log(flags: Sequence[str]) -> list[str]:
    """Make one value of --log, where it is given for each log: of other options, the last value counts.

    >>> _with_one_log(["--log", "csv", "--seed=3", "--log=tensorboard"])
    ['--seed=3', '--log=both']
    """
    values, others, rest = [], [], list(flags)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name == "--log" and (equals or rest):
            values += (value if equals else rest.pop(0)).split(",")
        else:
            others.append(name + equals + value)
    if values:
        joined = ",".join(sorted(set(values)))
        others.append("--log=" + ("both" if joined == "csv,tensorboard" else joined))
    return others


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
