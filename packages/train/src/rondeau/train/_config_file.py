"""Files of options: read and checked here before the parser of the command line sees them.

Such a file is one flat mapping, an option a line. YAML can say more than that, and some of it is dangerous in a file
from elsewhere: aliases that expand to gigabytes, nesting deeper than any stack, tags that name Python objects.
"""

import difflib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from rondeau.train._options import OTHER_NAMES
from rondeau.train._usage_error import UsageError, in_words

_MOST_BYTES = 1 << 20  # options of a run take about 1,000
_LONGEST_VALUE = 4096  # characters: a path; Python reads no number of more than 4,300 digits

_Value = TypeVar("_Value")


def check_config_file(path: Path, options: Collection[str]) -> None:
    """Refuse a file that does not hold options, each once, each with one plain value.

    Parameters
    ----------
    path : Path
    options : collection of str
        The names that may stand there.

    Raises
    ------
    UsageError
        If it cannot be read, or holds something else; the message names the file and the line.
    """
    for _ in read_options(path, options, read_plain_value):
        pass


def read_options(
    path: Path,
    options: Collection[str],
    read_value: Callable[[Path, str, yaml.Event, Iterator[yaml.Event]], _Value],
) -> Iterator[tuple[int, str, _Value]]:
    """Yield line, name and value of each option.

    Parameters
    ----------
    path : Path
    options : collection of str
        The names that may stand there.
    read_value : callable
        Makes a value of the path, the name, the first event, and those after it, of which it takes what belongs to the
        value.

    Raises
    ------
    UsageError
        As `check_config_file`.
    """
    seen: set[str] = set()
    for line, name, value in _entries(path, _read(path), read_value):
        if name not in options:
            other = [OTHER_NAMES[name]] if OTHER_NAMES.get(name) in options else []
            near = other or difflib.get_close_matches(name, options, n=1, cutoff=0.7)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{path}, line {line}: there is no option {name!r:.80}{hint}")
        if name in seen:
            raise UsageError(f"{path}, line {line}: the option {name} is there twice; leave one of them out")
        seen.add(name)
        yield line, name, value


def read_plain_value(
    path: Path, name: str, value: yaml.Event, rest: Iterator[yaml.Event]
) -> yaml.ScalarEvent:
    """Return one plain value of an option.

    Raises
    ------
    UsageError
        If it is something else, or too long.
    """
    if isinstance(value, yaml.SequenceStartEvent | yaml.MappingStartEvent) and not value.tag:
        what = "a list" if isinstance(value, yaml.SequenceStartEvent) else "a mapping"
        raise UsageError(
            f"{path}, line {line_of(value)}: {name:.80}: expected one value, got {what}; a file with ranges or "
            "choices, such as 'lr: {log: [1e-4, 1e-2]}', is for `rondeau sweep`"
        )
    if not isinstance(value, yaml.ScalarEvent) or value.tag:
        raise other_than_options(path, value)
    if len(value.value) > _LONGEST_VALUE:
        raise UsageError(
            f"{path}, line {line_of(value)}: {name:.80}: expected a value of at most {_LONGEST_VALUE:,} characters, "
            f"got {len(value.value):,}"
        )
    return value


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the options: {in_words(error)}") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path} is not a file of options: it has more than {_MOST_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start:,}"
        ) from None


def _entries(
    path: Path, text: str, read_value: Callable[[Path, str, yaml.Event, Iterator[yaml.Event]], _Value]
) -> Iterator[tuple[int, str, _Value]]:
    """Yield each option; of events, not objects, so that nothing is ever expanded or built."""
    events = _events(path, text)
    for kind in (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.MappingStartEvent):
        if not isinstance(event := next(events), kind):
            raise other_than_options(path, event)
    while isinstance(name := next(events), yaml.ScalarEvent):
        if name.tag:
            raise other_than_options(path, name)
        yield line_of(name), name.value, read_value(path, name.value, next(events), events)
    ends = [name, next(events)]
    if [type(event) for event in ends] != [yaml.MappingEndEvent, yaml.DocumentEndEvent]:
        raise other_than_options(path, name)
    if not isinstance(event := next(events), yaml.StreamEndEvent):
        raise other_than_options(path, event)


def _events(path: Path, text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise UsageError(f"{path}, line {_line(error.problem_mark)}: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line, code = text.count("\n", 0, error.position) + 1, ord(text[error.position])
        raise UsageError(f"{path}, line {line}: a file of options holds no U+{code:04X}") from None


def line_of(event: yaml.Event) -> int:
    """Return the line where an event begins."""
    return _line(event.start_mark)


def _line(mark: Any) -> int:
    return int(mark.line) + 1


def other_than_options(path: Path, event: yaml.Event) -> UsageError:
    """Return the error that says what such a file holds."""
    return UsageError(
        f"{path}, line {line_of(event)}: expected a YAML file of options, one a line, such as 'lr: 0.01'"
    )
