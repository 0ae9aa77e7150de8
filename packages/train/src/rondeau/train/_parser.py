"""The parser of every command: one clear line for a mistake, in the place of a page of usage."""

import argparse
import re
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

_WORDS = {
    "a typing.Literal[": "one of [",
    "typing.Literal[": "one of [",
    "a one of": "one of",
    "<class 'int'>": "whole number",
    "<class 'float'>": "number",
    "<class 'NoneType'>": "null",
}


class UsageError(Exception):
    """A command line, or what it names, that cannot be used; told in one line, with exit status 2."""


class _HelpFormatter(DefaultHelpFormatter):
    """Tells a default where there is one, and no Python types."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.default in (None, argparse.SUPPRESS) or action.nargs == 0:
            return text
        return f"{text} (default: {action.default})"


class CommandParser(ArgumentParser):
    """A jsonargparse parser whose errors are `UsageError`.

    Parameters
    ----------
    command : str
        The command's name.
    arguments : str
        Its positional arguments, as the usage line shows them.
    description : str
        What the command does.
    """

    def __init__(self, command: str, arguments: str, description: str) -> None:
        super().__init__(
            prog=f"rondeau {command}",
            usage=f"rondeau {command} {arguments} [options]",
            description=description,
            formatter_class=_HelpFormatter,
        )
        self.orders: dict[str, Any] = {}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `UsageError` with the message as one line that names the flag."""
        raise UsageError(_one_line(message))


def _one_line(message: str) -> str:
    """Put what jsonargparse says of a value into words for a user: flags, not keys; kinds of numbers, not classes."""
    line = re.sub(r'Parser key "(\w+)":\s*', r"--\1: ", " ".join(message.split()))
    union = re.fullmatch(
        r"(--\w+: )Does not validate .* Errors: - (.*) Given value type: .* Given value: (.*)", line
    )
    if union:
        flag, errors, value = union.groups()
        kinds = [error.removeprefix("Expected a ").removeprefix("Expected ") for error in errors.split(" - ")]
        line = f"{flag}Expected a {' or '.join(kinds)}. Got value: {value}"
    for found, said in _WORDS.items():
        line = line.replace(found, said)
    return line
