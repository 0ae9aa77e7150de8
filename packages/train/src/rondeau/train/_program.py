"""What a user types to run this command again."""

import os
import shutil
import sys


def program() -> str:
    """Return the command as it was called: ``rondeau``, ``.venv/bin/rondeau`` or ``python -m rondeau.train``."""
    called = sys.argv[0]
    name = os.path.basename(called)
    if os.path.abspath(called) == os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py"):
        return f"{_typed(sys.executable)} -m rondeau.train"
    return _typed(called) if os.path.splitext(name)[0] == "rondeau" else "rondeau"


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
