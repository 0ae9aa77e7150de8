"""The command ``rondeau``: finds the command's module, and turns mistakes into one line and an exit status."""

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from rondeau.train._program import program

COMMANDS = {
    "train": "train a language model on a text, or continue a run",
    "generate": "let a trained model write",
    "evaluate": "measure a trained model on a text",
    "corpus": "count what a text holds: tokens, n-grams, Zipf's law",
}

_OVERVIEW = """\
usage: rondeau COMMAND ...

Train recurrent language models (RNN, GRU, LSTM) and let them write.

commands:
{commands}

A first run, of one to three minutes, needs no text:

  {program} train --output runs/first
  {program} generate runs/first --prompt "The "

`{program} COMMAND --help` tells a command's options.
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
        130 after Ctrl-C, and for training whose output nobody reads any more.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(
            _OVERVIEW.format(
                commands="\n".join(f"  {name:10}{line}" for name, line in COMMANDS.items()), program=program()
            ),
            end="",
        )
        return 0
    if argv[0] == "--version":
        from rondeau.train import __version__

        print(f"rondeau {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        return _fail("rondeau", f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}", 2)
    from rondeau.train._parser import UsageError

    try:
        status: int = importlib.import_module(f"rondeau.train._commands.{name}").run(argv[1:])
        sys.stdout.flush()
    except UsageError as error:
        return _fail(f"rondeau {name}", str(error), 2)
    except KeyboardInterrupt:
        return _fail(f"rondeau {name}", "interrupted", 130)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone: nothing more to say, to anyone.
        for stream in (sys.stdout, sys.stderr):
            with suppress(BrokenPipeError):
                stream.flush()
                continue
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 130 if name == "train" else 0
    except OSError as error:  # a full disk, a folder that cannot be written: what was kept before stays whole
        return _fail(f"rondeau {name}", f"{error}; free space there, or choose another --output", 1)
    return status


def _fail(who: str, message: str, status: int) -> int:
    print(f"{who}: {message}", file=sys.stderr)
    return status
