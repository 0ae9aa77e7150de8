"""How to install what is optional."""


def how_to_install(extra: str) -> str:
    """Return what to type for an extra; rondeau is not on a package index, so that it is installed from a clone.

    >>> how_to_install("plot")
    'in the clone of rondeau: python -m pip install -e ".[plot]"'
    """
    return f'in the clone of rondeau: python -m pip install -e ".[{extra}]"'
