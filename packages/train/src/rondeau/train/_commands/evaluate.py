"""``rondeau evaluate``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rondeau.train._commands._held_out import held_out_part
from rondeau.train._commands._named_run import DEVICE_HELP, load_named_run
from rondeau.train._origin import lessons_of
from rondeau.train._parser import CommandParser
from rondeau.train._showing import counted, say
from rondeau.train._usage_error import UsageError

if TYPE_CHECKING:
    from rondeau.data import TokenStream
    from rondeau.train._trained import Trained


def _parser() -> CommandParser:
    parser = CommandParser(
        "evaluate",
        "RUN [CORPUS]",
        "Measure how well a trained model predicts: the held-out part of its own text, or the whole of "
        "another one.",
    )
    parser.add_argument("run", metavar="RUN", type=str, help="the folder of a run")
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        nargs="?",
        help="a UTF-8 text file, a data set such as timemachine, or a folder of tokens, to score as a whole; by "
        "default the held-out part of the text that the model was trained on",
    )
    parser.add_argument(
        "--held_out_part",
        action="store_true",
        help="CORPUS is the text that the model was trained on, at another path: score the part that was held out",
    )
    parser.add_argument(
        "--checkpoint", type=str, default="best", help="best, latest, or a name such as step-200"
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        default=1,
        help="cut the text into this many rows and read them side by side, which is faster; 1 gives the exact score",
    )
    parser.add_argument(
        "--windows",
        type=int | None,
        help="reset the state every WINDOWS tokens, instead of carrying it through the whole text",
    )
    parser.add_argument("--threads", type=int | None, help="cores to use; by default all")
    parser.add_argument("--device", type=Literal["cpu", "cuda"], default="cpu", help=DEVICE_HELP)
    return parser


def run(argv: Sequence[str]) -> int:
    """Print the score; return the exit status."""
    arguments = _parser().parse(argv)
    from rondeau import tensor as rt
    from rondeau.train._corpus import TOKEN_NAMES, count_unknown, share
    from rondeau.train._evaluate import evaluate

    if arguments.threads is not None:
        rt.set_num_threads(arguments.threads)
    trained = load_named_run(arguments.run, arguments.checkpoint, arguments.device)
    rt.manual_seed(trained.config.run.seed)  # of the noise, where the cell draws any
    token = TOKEN_NAMES[trained.config.text.tokens]
    if arguments.corpus is None or arguments.held_out_part:
        what, stream = held_out_part(trained, arguments.corpus)
    else:
        what, stream = _whole(arguments.run, trained, arguments.corpus)
    if len(stream) < 2:
        raise UsageError(
            f"{what} has {counted(len(stream), token)}; expected at least 2, one to read and one to predict"
        )
    if arguments.windows is None:
        score = evaluate(trained.model, stream, batch_size=arguments.batch_size, num_steps=1024)
    else:
        score = evaluate(
            trained.model,
            stream,
            batch_size=arguments.batch_size,
            num_steps=arguments.windows,
            carry_state=False,
        )
    say(f"{what}, by the model of step {trained.step:,}:")
    say(score.describe(token))
    unknown = count_unknown(stream, trained.codec)
    if unknown:
        say(
            f"{counted(unknown, token)} ({share(unknown, len(stream))}) "
            f"{'is' if unknown == 1 else 'are'} not in the model's vocabulary, and counted as <unk>"
        )
    return 0


def _whole(run: str, trained: Trained, path: str) -> tuple[str, TokenStream]:
    """Return a text, in words that say what of it the model has seen, and as tokens."""
    from rondeau.train._corpora import load_corpus

    corpus = load_corpus(path)
    seen = ""
    parts = [1 - held_out for _, learned, held_out in lessons_of(run, trained) if learned == corpus.identity]
    if parts:
        seen = f", the first {100 * max(parts):g} % of which it was trained on"
    elif trained.config.corpus in (path, os.path.abspath(path)):
        seen = ", which has changed since the model was trained on it"
    return f"all of {corpus.name}{seen}", corpus.whole(trained.codec)
