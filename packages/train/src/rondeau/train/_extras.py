"""How to install what is optional."""

from rondeau.train._program import python


def how_to_install(extra: str) -> str:
    """Return what to type for an extra; rondeau is not on a package index, so that it is installed from a clone.

    >>> how_to_install("plot").replace(python(), "python")
    'in the clone of rondeau: python -m pip install -e ".[plot]"'
    """
    return f'in the clone of rondeau: {python()} -m pip install -e ".[{extra}]"'
