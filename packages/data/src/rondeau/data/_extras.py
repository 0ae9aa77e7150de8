"""What is said where a package is missing that only an extra installs."""

from __future__ import annotations


def missing_package(what: str, package: str, extra: str) -> ModuleNotFoundError:
    """Return the error.

    Parameters
    ----------
    what : str
        What needs the package.
    package, extra : str

    Examples
    --------
    >>> print(missing_package("byte-pair encoding", "tokenizers", "bpe"))
    byte-pair encoding needs the package tokenizers; in the clone of rondeau: python -m pip install -e ".[bpe]"
    """
    return ModuleNotFoundError(
        f'{what} needs the package {package}; in the clone of rondeau: python -m pip install -e ".[{extra}]"'
    )
