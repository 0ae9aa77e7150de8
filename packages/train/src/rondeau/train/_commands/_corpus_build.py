"""``rondeau corpus build``: text that does not fit in memory, to tokens that ``rondeau train`` reads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rondeau.train._options import TextOptions, pick
from rondeau.train._parser import CommandParser
from rondeau.train._program import command_line
from rondeau.train._showing import counted, say
from rondeau.train._usage_error import RunFailedError, UsageError, in_words

if TYPE_CHECKING:
    from rondeau.data import Codec

_SOME = 1 << 20  # bytes
_STAGES = {"read": "reading", "count": "counting", "encode": "encoding"}


def _parser() -> CommandParser:
    parser = CommandParser(
        "corpus build",
        "TEXT... --output FOLDER",
        "Encode text that does not fit in memory, and write its tokens to a folder, which `rondeau train FOLDER` "
        "reads. Interrupted, the same command goes on where it was. What is written does not depend on --workers or "
        "--scheduler.",
    )
    parser.add_argument(
        "texts",
        metavar="TEXT",
        nargs="+",
        help="UTF-8 text files, one after the other; names that end with .gz or .zst (extra zstd) are decompressed",
    )
    parser.add_argument("--output", type=str, required=True, help="the folder of the tokens")
    parser.add_argument(
        "--vocabulary",
        type=str | None,
        metavar="FOLDER",
        help="encode with the tokens and the vocabulary of this run, for `rondeau train --init_from`, or of this "
        "folder of tokens; by default, they are made of the text",
    )
    parser.add_argument("--workers", type=int | None, help="processes; by default one for each core")
    parser.add_argument(
        "--scheduler",
        type=str | None,
        help="address of a dask scheduler (extra dask), whose workers take the place of processes: tcp://HOST:8786",
    )
    parser.add_class_arguments(TextOptions, as_group=True)
    return parser


class _Vocabulary(NamedTuple):
    """What a run, or another corpus, made of its own text."""

    codec: Codec
    options: dict[str, Any]
    """Of `TextOptions`, how it was made."""


def _read_vocabulary(folder: str) -> _Vocabulary:
    """Read the vocabulary of a run, or of a folder of tokens.

    Raises
    ------
    UsageError
        If it cannot be read.
    """
    from rondeau.data import TokenCorpus
    from rondeau.train._corpora import open_built, options_of
    from rondeau.train._errors import RunError
    from rondeau.train._request import read_config
    from rondeau.train._run import RunFolder

    if TokenCorpus.is_at(folder):
        tokens = open_built(folder, verify=False)
        codec, options = tokens.codec, options_of(tokens)
    else:
        run = RunFolder(folder)
        if not run.config.is_file():
            raise UsageError(f"--vocabulary: {folder} is neither a run nor a folder of tokens")
        options = asdict(read_config(run.config).text)
        try:
            codec = run.load_codec()
        except RunError as error:
            raise UsageError(f"--vocabulary: {error}") from error
    del options["held_out"]
    return _Vocabulary(codec, options)


def _parse(argv: Sequence[str]) -> tuple[Any, Codec | None]:
    """Return the arguments, and the vocabulary that they name, whose options are then the defaults."""
    arguments = _parser().parse(argv)
    if arguments.vocabulary is None:
        return arguments, None
    codec, options = _read_vocabulary(arguments.vocabulary)
    parser = _parser()
    parser.set_defaults(options)
    arguments = parser.parse(argv)
    for name, value in options.items():
        if arguments[name] != value:
            raise UsageError(
                f"--{name}: got {arguments[name]}, but {arguments.vocabulary} has {value}, and so has what is encoded "
                "with its vocabulary; leave the option out"
            )
    return arguments, codec


def run(argv: Sequence[str]) -> int:
    """Build the corpus; return the exit status."""
    arguments, codec = _parse(argv)
    from rondeau.data import build_corpus
    from rondeau.train._corpus import (
        TOKEN_NAMES,
        check_options,
        check_spaces,
        count_unknown,
        share,
        tokenizer_of,
    )
    from rondeau.train._errors import RunError
    from rondeau.train._interruption import Signals
    from rondeau.train._lock import FolderLock

    options = pick(TextOptions, arguments)
    check_options(options)
    if Path(arguments.output).is_file():
        raise UsageError(f"--output: {arguments.output} is a file; choose another folder")
    is_bpe = options.tokens == "bpe"
    signals = Signals()
    signals.remedy = "the same command goes on where it was"
    try:
        if options.tokens == "words" and options.normalise is None:
            check_spaces(_start(arguments.texts[0]))
        tokenizer = None if is_bpe or codec is not None else tokenizer_of(options)
        lock = FolderLock(Path(arguments.output) / "rondeau.lock")
        with signals.handled(), lock.held(), _Told() as told:
            corpus = build_corpus(
                arguments.texts,
                arguments.output,
                tokenizer,
                bpe_size=options.bpe_size if is_bpe else None,
                codec=codec,
                min_freq=options.min_freq,
                held_out=options.held_out,
                workers=arguments.workers,
                scheduler=arguments.scheduler,
                on_progress=told.show,
            )
    except RuntimeError as error:
        raise (UsageError if isinstance(error, RunError) else RunFailedError)(str(error)) from error
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise UsageError(in_words(error) if isinstance(error, OSError) else str(error)) from error
    token = TOKEN_NAMES[options.tokens]
    if codec is None:
        # From the counts: reading the tokens again would bring all of them into memory.
        vocab = corpus.codec.vocab
        unknown = len(corpus.train) - sum(
            vocab.counts[name] for name in vocab if name != vocab.tokens[vocab.unk or 0]
        )
    else:
        unknown = count_unknown(corpus.train, codec)
    unknown_share = f" ({share(unknown, len(corpus.train))} <unk>)" if unknown else ""
    say(f"text     {counted(corpus.manifest.characters, 'character')}")
    say(
        f"tokens   {counted(len(corpus.train), token)} to train on{unknown_share}, {len(corpus.held_out):,} held out"
        f"; vocabulary of {len(corpus.codec):,}"
    )
    say(f"next: {command_line('train', arguments.output)}")
    return 0


def _start(path: str) -> str:
    """Return some of the text of a file that is there and not compressed."""
    if path.endswith((".gz", ".zst")) or not Path(path).is_file():
        return ""
    with open(path, "rb") as file:
        return file.read(_SOME).decode(errors="ignore")


class _Told:
    """Progress on a terminal, a bar for each stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        from tqdm import tqdm

        if stage != self._stage:
            self.__exit__()
            self._stage = stage
            self._bar = tqdm(
                total=total or None,
                desc=_STAGES[stage],
                unit="char",
                unit_scale=True,
                disable=not sys.stderr.isatty(),
            )
        self._bar.update(done - self._bar.n)
