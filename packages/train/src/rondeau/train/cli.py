"""The command ``rondeau``: finds the command's module, and turns mistakes into one line and an exit status."""

import difflib
import errno
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rondeau.train._errors import RunWarning
from rondeau.train._program import command_line, program
from rondeau.train._showing import one_visible_line
from rondeau.train._usage_error import UsageError, in_words

COMMANDS = {
    "train": "train a language model on a text, or continue a run",
    "sweep": "train with many values or seeds, and compare",
    "generate": "let a trained model write",
    "evaluate": "measure a trained model on a text",
    "export": "write a trained model as C, ONNX or NumPy code",
    "warm": "compile the kernels of cells ahead of time",
    "corpus": "count what a text holds, or encode one that does not fit in memory",
}

FORESEEN = (UsageError, KeyboardInterrupt, OSError, MemoryError)
"""What ends a command with a line, and not with a traceback."""

_OVERVIEW = """\
usage: rondeau COMMAND ...

Train recurrent language models (RNN, GRU, LSTM) and let them write.

commands:
{commands}

A first run, of one to three minutes, needs no text:

  {program} train --output runs/first
  {program} generate runs/first --prompt "The "

`{program} COMMAND --help` lists the options of a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: the process's arguments.

    Returns
    -------
    int
        Exit status: 0; 1 if the run itself failed, as when the loss diverged; 2 for input that cannot be used;
        130 after Ctrl-C, and for training whose output nobody reads any more; 143 and 138 after SIGTERM and SIGUSR1 in
        training.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = argv[0] if argv else "--help"
    who = f"rondeau {name}" if name in COMMANDS else "rondeau"
    try:
        try:
            with _warnings_as_lines(who):
                return _run(name, argv[1:])
        finally:  # help ends by SystemExit, and what it printed may still find no reader
            print(end="", flush=True)
    except FORESEEN as error:
        return tell(error, name, argv)


def tell(error: BaseException, name: str, argv: Sequence[str]) -> int:
    """Tell in a line what ended a command, if it is one of `FORESEEN`; return the exit status.

    Parameters
    ----------
    error : BaseException
    name : str
        The command.
    argv : sequence of str
        All arguments.
    """
    who = f"rondeau {name}" if name in COMMANDS else "rondeau"
    match error:
        case UsageError():
            return _fail(who, str(error), error.status)
        case KeyboardInterrupt():
            return _fail(who, str(error) or "interrupted", getattr(error, "status", 130))
        case BrokenPipeError():
            # The reader of our output, such as `head`, has gone: nothing more to say, to anyone.
            for stream in filter(None, (sys.stdout, sys.stderr)):
                with suppress(BrokenPipeError):
                    stream.flush()
                    continue
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return 130 if name in ("train", "sweep") else 0
        case OSError():  # a full disk, a folder that cannot be written: what was kept before stays whole
            return _fail(who, _with_advice(error, argv), 1)
        case MemoryError():
            remedy = (
                "give a smaller model, --batch_size or --num_steps"
                if name == "train"
                else "give less at a time"
            )
            return _fail(who, f"the memory does not suffice: {error or 'nothing is left'}; {remedy}", 1)
    raise error


def _run(name: str, argv: Sequence[str]) -> int:
    if name == "help" and argv:
        name, argv = argv[0], ["--help"]
    if name in ("-h", "--help", "help"):
        commands = "\n".join(f"  {command:10}{line}" for command, line in COMMANDS.items())
        print(_OVERVIEW.format(commands=commands, program=program()), end="")
        return 0
    if name in ("-V", "--version"):
        from rondeau.train import __version__

        print(f"rondeau {__version__}")
        return 0
    if name not in COMMANDS:
        if name.startswith("-"):
            raise UsageError(f"there is no option {name!r}; `{program()} --help` lists what there is")
        raise UsageError(f"there is no command {name!r}; {_meant(name)}")
    status: int = importlib.import_module(f"rondeau.train._commands.{name}").run(argv)
    return status


def _meant(name: str) -> str:
    if near := difflib.get_close_matches(name.lower(), COMMANDS, n=1):
        return f"did you mean {near[0]}?"
    if os.path.exists(name):
        return f"did you mean `{command_line('train', name)}`?"
    return f"the commands are {', '.join(COMMANDS)}"


@contextmanager
def _warnings_as_lines(who: str) -> Iterator[None]:
    """Tell what was found in a run's folder as errors are told: in a line on standard error."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_line(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, RunWarning):
                print(one_visible_line(f"{who}: {message}"), file=sys.stderr)
            else:
                show(message, category, *where, **more)

        warnings.simplefilter("always", RunWarning)
        warnings.showwarning = show_line
        yield


def _with_advice(error: OSError, argv: Sequence[str]) -> str:
    """Say what the system refused, and what may help."""
    is_resumed = any(argument.startswith("--resume") for argument in argv)
    makes_a_folder = argv[:1] == ["export"] or (argv[:1] == ["train"] and not is_resumed)
    remedies = ["free space there"] if error.errno in (errno.ENOSPC, errno.EDQUOT) else []
    remedies += ["choose another --output"] if makes_a_folder else []
    return "; ".join([in_words(error), *([" or ".join(remedies)] if remedies else [])])


def _fail(who: str, message: str, status: int) -> int:
    print(one_visible_line(f"{who}: {message}"), file=sys.stderr)
    return status
