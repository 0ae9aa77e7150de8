"""The parser of every command: one clear line for a mistake, in the place of a page of usage."""

import argparse
import difflib
import re
from collections.abc import Sequence
from types import NoneType
from typing import Any, NoReturn, get_args

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from rondeau.train._options import OTHER_NAMES
from rondeau.train._program import program
from rondeau.train._ranges import check_ranges
from rondeau.train._usage_error import UsageError

_LONGEST_VALUE = 80  # characters of a wrong value that are repeated

_KINDS = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "int too large to convert to float": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "a text",
    "<class 'NoneType'>": "none",
}


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

    def parse(self, argv: Sequence[str]) -> Any:
        """Parse a command line, in which hyphens may stand for the underscores of an option's name.

        An option of type bool may stand alone, and is then true. One that may be switched off is so by "none", which is
        what YAML calls null.

        Raises
        ------
        UsageError
            If it cannot be understood, or a number is out of its range.
        """
        self._refuse_unknown(spelled := [self._spelled(argument) for argument in argv])
        for i, argument in enumerate(spelled):
            follows = spelled[i + 1].lower() if i + 1 < len(spelled) else ""
            name, equals, value = argument.partition("=")
            if self._is_switch(argument) and follows not in ("true", "false", "yes", "no"):
                spelled[i] += "=true"
            elif self._can_be_off(name) and equals and value.lower() == "none":
                spelled[i] = f"{name}=null"
            elif self._can_be_off(argument) and follows == "none":
                spelled[i + 1] = "null"
        try:
            namespace = self.parse_args(spelled)
        except OverflowError:  # a whole number where jsonargparse makes a float
            number = re.search(r"(--\w+)[= ]-?\d{300,}", " ".join(spelled))
            where = f"{number[1]}: " if number else ""
            raise UsageError(f"{where}expected a number, got one of more than 308 digits") from None
        check_ranges(dict(namespace.items()))
        return namespace

    def explain(self, option: str, text: str) -> None:
        """Say in our words what an option does that jsonargparse adds."""
        action = self._option_string_actions[option]
        action.help, action.metavar = text, ""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `UsageError` with the message as one line that names the flag."""
        raise UsageError(one_line(message))

    def _spelled(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        known = _underscored(name)
        is_option = name.startswith("--") and known in self._option_string_actions
        return known + equals + value if is_option else argument

    def _is_switch(self, argument: str) -> bool:
        return getattr(self._option_string_actions.get(argument), "_typehint", None) is bool

    def _can_be_off(self, option: str) -> bool:
        kinds = get_args(getattr(self._option_string_actions.get(option), "_typehint", None))
        return NoneType in kinds and str not in kinds  # where any text will do, "none" is one

    def _refuse_unknown(self, argv: Sequence[str]) -> None:
        for argument in argv:
            name = argument.partition("=")[0]
            if re.fullmatch(r"--?[A-Za-z][\w-]*", name) and name not in self._option_string_actions:
                near = self._nearest(_underscored(name))
                hint = f"did you mean {' or '.join(near)}?" if near else f"`{self.prog} --help` lists them"
                raise UsageError(f"{name}: there is no such option; {hint}")

    def _nearest(self, name: str) -> list[str]:
        options = [option for option in self._option_string_actions if option.startswith("--")]
        if (other := f"--{OTHER_NAMES.get(name.removeprefix('--'))}") in options:
            return [other]
        return difflib.get_close_matches(name, options, n=2, cutoff=0.7) or [
            option for option in options if option.startswith(name) and len(name) > len("--x")
        ]


def _underscored(option: str) -> str:
    return "--" + option.removeprefix("--").replace("-", "_")


def one_line(message: str) -> str:
    """Put what a parser says of a value into words for a user: flags, not keys; kinds of numbers, not classes."""
    line = re.sub(r'^(?:Parser key "(\w+)"|argument --(\w+)):\s*', r"--\1\2: ", " ".join(message.split()))
    line = re.sub(r"^unrecognized arguments: (.*)", r"expected no further arguments, got \1", line)
    if required := re.fullmatch(r"the following arguments are required: (.*)", line):
        return "; ".join(_missing(name) for name in required[1].split(", "))
    line = re.sub(r'^Invalid option "(.*)" for (--\w+)$', r"\2: there is no option \1 of it", line)
    line = re.sub(r"^Option '(\w+)' is not accepted$", r"--config: there is no option \1", line)
    line = re.sub(
        r"^Unexpected config: .*", "--config: expected a YAML file of options, got another text", line
    )
    line = re.sub(r"^(--\w+: )invalid int value: '(.*)'$", r"\1expected a whole number, got \2", line)
    union = re.fullmatch(
        r"(--\w+: )Does not validate .* Errors: - (.*) Given value type: .* Given value: ?(.*)", line
    )
    single = re.fullmatch(r"(--\w+: )(Expected an? .*)\. Got value: ?(.*)", line)
    too_long = re.fullmatch(r"(--\w+: )(Exceeds the limit) \(.*(value has \d+ digits); .*", line)
    if too_long:
        return f"{too_long[1]}expected a number, got one of too many digits: its {too_long[3]}"
    if found := union or single:
        flag, errors, value = found.groups()
        kinds = dict.fromkeys(map(_kind, errors.split(" - ")))
        line = f"{flag}expected {_alternatives(list(kinds))}, got {_shortened(value)}"
    return line


def _missing(name: str) -> str:
    """Say what an argument is that must be given, by its name in the parser."""
    return {
        "run": f"RUN is missing: the folder of a run, as `{program()} train` names it at its end",
        "config": f"CONFIG is missing: a YAML file of options, as `{program()} train --print_config` prints it",
        "texts": "TEXT is missing: the files to read",
        "output": "--output is missing: the folder to write to",
    }.get(name, f"{name} is missing")


def _alternatives(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _shortened(value: str) -> str:
    if not value:
        return "nothing"
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."


def _kind(error: str) -> str:
    """Say in words what is expected by "Expected a <class 'int'>" or "Expected a typing.Literal['x', 'y', 'z']".

    >>> _kind("Expected a typing.Literal['x', 'y', 'z']")
    'x, y or z'
    """
    kind = re.sub(r"^Expected (an? )?|\. Got value: .*$", "", error)
    if literal := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
        return _alternatives([word.strip("' ") for word in literal[1].split(",")])
    return _KINDS.get(kind, kind)
