"""Files of options: read and checked here before the parser of the command line sees them.

Such a file is one flat mapping, an option a line. YAML can say more than that, and some of it is dangerous in a file
from elsewhere: aliases that expand to gigabytes, nesting deeper than any stack, tags that name Python objects.
"""

import difflib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from rondeau.train._usage_error import UsageError, in_words

_MOST_BYTES = 1 << 20  # options of a run take about 1,000
_LONGEST_VALUE = 4096  # characters: a path; Python reads no number of more than 4,300 digits


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
    seen: set[str] = set()
    for line, name in _names(path, _read(path)):
        if name not in options:
            near = difflib.get_close_matches(name, options, n=1, cutoff=0.7)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{path}, line {line}: there is no option {name!r:.80}{hint}")
        if name in seen:
            raise UsageError(f"{path}, line {line}: the option {name} is there twice; leave one of them out")
        seen.add(name)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the options: {in_words(error)}") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path} is no file of options: it has more than {_MOST_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start:,}"
        ) from None


def _names(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each option; events, not objects, so that nothing is ever expanded or built."""
    events = _events(path, text)
    for kind in (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.MappingStartEvent):
        if not isinstance(event := next(events), kind):
            raise _other_than_options(path, event)
    while isinstance(name := next(events), yaml.ScalarEvent):
        value = next(events)
        if not isinstance(value, yaml.ScalarEvent) or name.tag or value.tag:
            raise _other_than_options(path, value)
        if len(value.value) > _LONGEST_VALUE:
            raise UsageError(
                f"{path}, line {_line(value.start_mark)}: {name.value:.80}: expected a value of at most "
                f"{_LONGEST_VALUE:,} characters, got {len(value.value):,}"
            )
        yield _line(name.start_mark), name.value
    ends = [name, next(events)]
    if [type(event) for event in ends] != [yaml.MappingEndEvent, yaml.DocumentEndEvent]:
        raise _other_than_options(path, name)
    if not isinstance(event := next(events), yaml.StreamEndEvent):
        raise _other_than_options(path, event)


def _events(path: Path, text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise UsageError(f"{path}, line {_line(error.problem_mark)}: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line, code = text.count("\n", 0, error.position) + 1, ord(text[error.position])
        raise UsageError(f"{path}, line {line}: a file of options holds no U+{code:04X}") from None


def _line(mark: Any) -> int:
    return int(mark.line) + 1


def _other_than_options(path: Path, event: yaml.Event) -> UsageError:
    return UsageError(
        f"{path}, line {_line(event.start_mark)}: expected a YAML file of options, one a line, such as 'lr: 0.01'"
    )
