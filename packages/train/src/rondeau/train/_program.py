"""What a user types to run this command again."""

import os
import shlex
import shutil
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_MODULES = {
    os.path.join(os.path.dirname(_HERE), "__main__.py"): "rondeau",
    os.path.join(_HERE, "__main__.py"): "rondeau.train",
}


def command_line(*arguments: str | os.PathLike[str]) -> str:
    """Return what to type for a command of rondeau, with quotes where a path needs them.

    >>> command_line("train", "--resume", "runs/my first").partition(" ")[2]
    "train --resume 'runs/my first'"
    """
    return f"{program()} {shlex.join(os.fspath(argument) for argument in arguments)}"


def program() -> str:
    """Return the command as it was called: ``rondeau``, ``.venv/bin/rondeau`` or ``python -m rondeau``."""
    called = sys.argv[0]
    if module := _MODULES.get(os.path.abspath(called)):
        return f"{python()} -m {module}"
    is_rondeau = os.path.splitext(os.path.basename(called))[0] == "rondeau"
    return shlex.quote(_typed(called)) if is_rondeau else "rondeau"


def python() -> str:
    """Return what to type for the Python that runs."""
    return shlex.quote(_typed(sys.executable))


def _typed(path: str) -> str:
    """Return the shortest that names a program here: its name where that is found, or its path from here."""
    name = os.path.basename(path)
    found = shutil.which(name)
    # Not by samefile: the Python of a virtual environment is a link to another one, which lacks its packages.
    if found is not None and os.path.abspath(found) == os.path.abspath(path):
        return name
    try:
        relative = os.path.relpath(path)
    except ValueError:  # on another drive
        return path
    return path if relative.startswith(os.pardir) else relative
