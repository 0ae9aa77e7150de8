"""What is wrong with a command line, or with what it names, in words."""


class UsageError(Exception):
    """A command line, or what it names, that cannot be used; told in one line, with exit status 2."""

    status = 2


class RunFailedError(UsageError):
    """A run that failed by itself, as when its loss diverged; told in one line, with exit status 1."""

    status = 1


def in_words(error: OSError) -> str:
    """Return what the system, or a check in its stead, refused, without its number.

    >>> in_words(FileNotFoundError(2, "No such file or directory", "runs/x"))
    'runs/x: No such file or directory'
    >>> in_words(FileNotFoundError("there is no file x"))
    'there is no file x'
    """
    if error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
