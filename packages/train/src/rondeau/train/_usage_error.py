"""What is wrong with a command line."""


class UsageError(Exception):
    """A command line, or what it names, that cannot be used; told in one line, with exit status 2."""
