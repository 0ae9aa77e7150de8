"""The configuration of a sweep: a file of options in which some have a range or a choice in the place of a value."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rondeau.train._config_file import line_of, read_options, read_plain_value
from rondeau.train._options import NAMES, ModelOptions, TrainingOptions
from rondeau.train._request import Config, NewRun, parse_train
from rondeau.train._showing import one_visible_line
from rondeau.train._sweep.space import Choice, Range, parse_entry
from rondeau.train._usage_error import UsageError

_VARIED = {field.name for group in (ModelOptions, TrainingOptions) for field in fields(group)} - {"init_from"}
_OF_THE_MACHINE = {"corpus", "output", "threads"}
_NULL = {"", "~", "null", "Null", "NULL"}
_DEFAULT_IS_NULL = {"corpus", "output", "init_from", "pattern", "normalise"}


class SweepConfig(NamedTuple):
    """What a file holds: options as they are written there, and the space."""

    path: Path
    fixed: dict[str, str]
    space: dict[str, Range | Choice]

    def definition(self) -> dict[str, str]:
        """Return what all processes of a sweep have in common, whatever the machine."""
        return {name: text for name, text in self.fixed.items() if name not in _OF_THE_MACHINE}

    def run(self, values: Mapping[str, Any], output: Path | None = None) -> Config:
        """Return the options of the run with these values, as ``rondeau train`` would understand them.

        Raises
        ------
        UsageError
            If they are wrong.
        """
        texts = self.fixed | {name: _text(value) for name, value in values.items()}
        if output is not None:
            texts["output"] = str(output)
        corpus = [texts.pop("corpus")] if "corpus" in texts else []
        request = parse_train([*(f"--{name}={text}" for name, text in texts.items()), *corpus])
        assert isinstance(request, NewRun)
        return request.config

    def first_run(self) -> Config:
        """Return the options of the run with the first of every choice, and the lowest number of every range.

        Raises
        ------
        UsageError
            As `run`.
        """
        return self.run({name: _ends(entry)[0] for name, entry in self.space.items()})


def read_sweep_config(path: Path) -> SweepConfig:
    """Read a configuration, and try the ends of every range and each of the choices.

    Raises
    ------
    UsageError
        If it cannot be read or understood; the message names the file, the line and the key.
    """
    fixed: dict[str, str] = {}
    space: dict[str, Range | Choice] = {}
    lines: dict[str, int] = {}
    for line, name, value in read_options(path, NAMES, _read_value):
        lines[name] = line
        if isinstance(value, yaml.ScalarEvent):
            is_null = value.value in _NULL and value.style is None
            if not (is_null and name in _DEFAULT_IS_NULL):
                fixed[name] = "null" if is_null else value.value
        else:
            space[name] = value
    config = SweepConfig(path, fixed, space)
    for name, entry in space.items():
        space[name] = _tried(config, name, entry, lines[name])
    try:
        first = config.first_run()
    except UsageError as error:
        name, _, message = str(error).removeprefix("--").partition(": ")
        where = f"line {lines[name]}: {name}: {message}" if name in lines else str(error)
        raise UsageError(f"{path}{', ' if name in lines else ': '}{where}") from error
    if not first.text.held_out:
        raise UsageError(f"{path}: held_out: a sweep compares held-out losses; give a fraction above 0")
    return config


def _read_value(path: Path, name: str, value: yaml.Event, rest: Iterator[yaml.Event]) -> Any:
    """Return a plain value as its event, and ``{kind: [value, ...]}`` as a range or a choice."""
    if isinstance(value, yaml.SequenceStartEvent) and not value.tag:
        raise UsageError(
            f"{path}, line {line_of(value)}: {name:.80}: expected one value, a range such as {{log: [1e-4, 1e-2]}}, or "
            "{choice: [...]}, got a list"
        )
    if not isinstance(value, yaml.MappingStartEvent):
        return read_plain_value(path, name, value, rest)
    where = f"{path}, line {line_of(value)}: {name}"
    if name in NAMES and name not in _VARIED:
        why = "its losses could not be compared" if name != "seed" else "--seeds trains several"
        raise UsageError(f"{where}: expected one value for all trials, since {why}")
    entry: dict[str, list[Any]] = {}
    while not isinstance(kind := next(rest), yaml.MappingEndEvent):
        values = next(rest)
        if (
            not isinstance(kind, yaml.ScalarEvent)
            or not isinstance(values, yaml.SequenceStartEvent)
            or any(event.tag or event.anchor for event in (value, kind, values))
        ):
            raise UsageError(f"{where}: expected {{kind: [value, ...]}}, such as {{log: [1e-4, 1e-2]}}")
        if kind.value in entry:
            raise UsageError(f"{where}: {kind.value} is there twice")
        entry[kind.value] = []
        while not isinstance(item := next(rest), yaml.SequenceEndEvent):
            entry[kind.value].append(_item(read_plain_value(path, name, item, rest)))
    try:
        return parse_entry(entry)
    except ValueError as error:
        raise UsageError(one_visible_line(f"{where}: {error}")) from None


def _item(event: yaml.ScalarEvent) -> Any:
    """Return what an item of a list stands for: YAML 1.1 would take 1e-4 for a text."""
    text = event.value
    if event.style is not None:
        return text
    if text in _NULL:
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _tried(config: SweepConfig, name: str, entry: Range | Choice, line: int) -> Range | Choice:
    """Return an entry with its values as the option has them, each of which was tried as the only one that is given."""
    alone = SweepConfig(config.path, {}, {})
    where = f"{config.path}, line {line}: {name}"
    values = []
    for value in _ends(entry):
        try:
            run = alone.run({name: value})
            if name == "cell":
                from rondeau.train._recipe import check_cell

                check_cell(run.model)
        except UsageError as error:
            message = str(error).removeprefix(f"--{name}: ")
            if isinstance(entry, Range) and not entry.is_integer and "whole number, got" in message:
                message = f"{entry.kind}: this option takes a range that is integer or log_integer"
            raise UsageError(f"{where}: {message}") from error
        values.append(getattr(run.model if hasattr(run.model, name) else run.training, name))
    if isinstance(entry, Choice):
        return Choice(tuple(values))
    if entry.is_integer and not all(isinstance(value, int) for value in values):
        raise UsageError(f"{where}: {entry.kind}: this option takes a range that is linear or log")
    return entry


def _ends(entry: Range | Choice) -> Sequence[Any]:
    return entry.values if isinstance(entry, Choice) else (entry.low, entry.high)


def _text(value: Any) -> str:
    """Return how a value is given on a command line."""
    if value is None:
        return "null"
    if value in (math.inf, -math.inf):
        return ".inf" if value > 0 else "-.inf"  # as YAML has it
    return str(value).lower() if isinstance(value, bool) else str(value)
