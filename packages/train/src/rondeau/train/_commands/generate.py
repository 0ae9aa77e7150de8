"""``rondeau generate``."""

import re
import sys
from collections.abc import Sequence
from itertools import chain
from typing import Literal

from rondeau.train._commands._named_run import DEVICE_HELP, load_named_run
from rondeau.train._parser import CommandParser
from rondeau.train._showing import visible, write
from rondeau.train._usage_error import UsageError


def _parser() -> CommandParser:
    parser = CommandParser(
        "generate",
        "RUN",
        "Let a trained model continue a text. It reads the prompt, then its own draws.",
    )
    parser.add_argument("run", metavar="RUN", type=str, help="the folder of a run")
    parser.add_argument("--prompt", type=str, help="what the text begins with; by default a line end")
    parser.add_argument("--length", type=int, default=400, help="how many tokens to draw")
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        help="below 1 the text is safer, above 1 wilder; 0 takes the likeliest token each time",
    )
    parser.add_argument("--top_k", type=int | None, help="draw from this many of the likeliest tokens only")
    parser.add_argument(
        "--top_p",
        type=float | None,
        help="draw from the likeliest tokens only, as few as have this probability together",
    )
    parser.add_argument(
        "--seed",
        type=int | None,
        help="the same seed draws the same text; by default it is random",
    )
    parser.add_argument(
        "--checkpoint", type=str, default="best", help="best, latest, or a name such as step-200"
    )
    parser.add_argument(
        "--unknown_as_unk",
        action="store_true",
        help="read what the vocabulary lacks as <unk>",
    )
    parser.add_argument(
        "--weights",
        type=Literal["float32", "int8"],
        default="float32",
        help="int8: round the weights, which is faster with large layers; float32: the weights as they are",
    )
    parser.add_argument("--device", type=Literal["cpu", "cuda"], default="cpu", help=DEVICE_HELP)
    return parser


def run(argv: Sequence[str]) -> int:
    """Print the prompt and its continuation; return the exit status."""
    arguments = _parser().parse(argv)
    from rondeau.train._corpus import default_prompt
    from rondeau.train._diverged import DivergedError
    from rondeau.train._generate import generate

    trained = load_named_run(arguments.run, arguments.checkpoint, arguments.device)
    prompt = default_prompt(trained.codec) if arguments.prompt is None else arguments.prompt
    try:
        pieces = generate(
            trained.model,
            trained.codec,
            prompt,
            arguments.length,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            seed=arguments.seed,
            on_unknown="unk" if arguments.unknown_as_unk else "error",
            weights=arguments.weights,
        )
    except ValueError as error:
        raise UsageError(_in_flags(str(error))) from error
    on_terminal = sys.stdout is not None and sys.stdout.isatty()  # a file or a pipe gets the text as it is
    joint = trained.codec.decode_stream(trained.codec.encode(prompt).tolist())
    try:
        for piece in chain([prompt if arguments.prompt is not None else "".join(joint)], pieces, "\n"):
            write(visible(piece) if on_terminal else piece)
    except DivergedError as error:
        print(f"\nrondeau generate: {error}", file=sys.stderr)
        return 1
    return 0


def _in_flags(message: str) -> str:
    """Name flags where `generate` names its arguments."""
    message = re.sub(r"^(?=(length|temperature|top_k|top_p|weights): )", "--", message)
    message = re.sub(r"^the prompt (?=holds )", "--prompt: it ", message)
    return re.sub(r"(?<=, or let them be )(\S+)$", r"\1 with --unknown_as_unk", message)
