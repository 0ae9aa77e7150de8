"""``rondeau export``."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rondeau.train._commands._held_out import held_out_part
from rondeau.train._commands._named_run import load_named_run
from rondeau.train._extras import how_to_install
from rondeau.train._parser import CommandParser
from rondeau.train._program import python
from rondeau.train._showing import say
from rondeau.train._usage_error import UsageError

if TYPE_CHECKING:
    from rondeau.train._trained import Trained


def _parser() -> CommandParser:
    parser = CommandParser(
        "export",
        "RUN",
        "Write a trained model as what runs without this library: C99, ONNX or NumPy, with a check of its own.",
    )
    parser.add_argument("run", metavar="RUN", type=str, help="the folder of a run")
    parser.add_argument("--to", type=Literal["c", "onnx", "numpy"], default="c", help="the format")
    parser.add_argument("--output", type=str, help="the folder of the files; by default RUN/export")
    parser.add_argument(
        "--name", type=str, default="model", help="the name of the files, and of what is in them"
    )
    parser.add_argument(
        "--form",
        type=Literal["step", "sequence"],
        default="step",
        help="ONNX only: one step of any cell, or whole sequences of RNN, GRU and LSTM",
    )
    parser.add_argument(
        "--weights",
        type=Literal["float32", "int8"],
        default="float32",
        help="C only: int8 keeps the matrices in a quarter of the memory, rounded with a scale for each row",
    )
    parser.add_argument(
        "--weights_in_file",
        action="store_true",
        help="C only: write the weights to a file of their own, to be read or mapped, instead of into the source",
    )
    parser.add_argument(
        "--checkpoint", type=str, default="best", help="best, latest, or a name such as step-200"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    return parser


def run(argv: Sequence[str]) -> int:
    """Write the files, and say how to check them; return the exit status."""
    arguments = _parser().parse(argv)
    _check(arguments)
    from rondeau import export

    trained = load_named_run(arguments.run, arguments.checkpoint)
    folder = Path(arguments.run) / "export" if arguments.output is None else Path(arguments.output)
    vocab = trained.codec.vocab
    options: dict[str, Any] = {
        "tokens": [vocab.token(index) for index in range(len(vocab))],
        "overwrite": arguments.overwrite,
    }
    options |= {name: getattr(arguments, name) for name in _OPTIONS.get(arguments.to, ())}
    writers: dict[str, Any] = {"c": export.to_c, "onnx": export.to_onnx, "numpy": export.to_numpy}
    try:
        exported = writers[arguments.to](trained.model, folder, arguments.name, **options)
    except FileExistsError as error:
        raise UsageError(str(error).replace("pass overwrite=True", "give --overwrite")) from error
    except export.ExportError as error:
        if isinstance(error.__cause__, ImportError):
            raise UsageError(
                f"--to {arguments.to} needs packages that are missing; {how_to_install('onnx')}"
            ) from error
        raise UsageError(str(error).replace('form="step"', "--form step")) from error
    for path in exported.files:
        say(str(path))
    code = _code_size(trained, options) if arguments.to == "c" else ""
    say(f"{code}weights {exported.weight_bytes:,} bytes, state and work area {exported.state_bytes:,} bytes")
    if arguments.weights == "int8":
        say(_cost_of_int8(trained))
    say(f"to check it: {_check_command(arguments.to, folder, arguments.name, arguments.weights_in_file)}")
    return 0


_OPTIONS: dict[str, dict[str, Any]] = {
    "c": {"weights": "float32", "weights_in_file": False},
    "onnx": {"form": "step"},
}
"""The options that one format alone has, and their defaults."""


def _check(arguments: Any) -> None:
    """Refuse an option of another format."""
    for format, options in _OPTIONS.items():
        for name, default in options.items():
            if format != arguments.to and getattr(arguments, name) != default:
                raise UsageError(f"--{name} is not an option of --to {arguments.to}")


def _code_size(trained: Trained, options: dict[str, Any]) -> str:
    """Return what the code, its tokens and its check take without the weights, where a compiler is there to tell."""
    from rondeau import export

    if not shutil.which("cc") or not shutil.which("size"):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        files = export.to_c(trained.model, folder, **(options | {"weights_in_file": True})).files
        source = str(next(path for path in files if path.suffix == ".c"))
        compiled = f"{source}.o"
        for command in (["cc", "-std=c99", "-Os", "-c", source, "-o", compiled], ["size", compiled]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                return ""
    return f"code {int(done.stdout.splitlines()[1].split()[0]):,} bytes (cc -Os), "


def _cost_of_int8(trained: Trained) -> str:
    """Return what rounding the weights does to the score of the held-out part, in words."""
    from rondeau import export
    from rondeau import tensor as rt
    from rondeau.train._evaluate import evaluate

    try:
        what, stream = held_out_part(trained, None)
        if len(stream) < 2:
            raise UsageError(f"{what} has {len(stream)} tokens, and a score needs 2")
    except UsageError as error:
        return f"what rounding costs was not measured: {error}"
    scores = []
    for model in (trained.model, export.rounded_to_int8(trained.model)):
        rt.manual_seed(trained.config.run.seed)  # of the noise, where the cell draws any
        scores.append(evaluate(model, stream, num_steps=1024).perplexity)
    loss = round(100 * (scores[1] / scores[0] - 1), 2) + 0.0  # no "-0.00"
    return f"{what}: perplexity {scores[0]:.3f} with the weights as they are, {scores[1]:.3f} in int8 ({loss:+.2f} %)"


def _check_command(format: str, folder: Path, name: str, has_file: bool) -> str:
    """Return what a shell runs to check the files, wherever they are."""
    # A path without a folder would be looked for among the commands, and one that begins with a hyphen be an option.
    path = folder / name if folder.is_absolute() else f"./{folder / name}"
    source, program, data = [shlex.quote(f"{path}{ending}") for ending in (".c", "", ".bin")]
    if format == "onnx":
        return f"{python()} -m rondeau.export.check {shlex.quote(f'{path}.onnx')}"
    if format == "numpy":
        return f"{python()} {shlex.quote(f'{path}.py')}"
    return f"cc -O2 -D{name.upper()}_MAIN {source} -o {program} -lm && {program}{f' {data}' * has_file}"
