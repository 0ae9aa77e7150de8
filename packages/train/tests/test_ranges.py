"""Every number of every command has a range, and what is beyond it is one clear line before anything is done."""

import importlib
import re
from typing import get_args

import pytest

from rondeau.train import _recipe, cli
from rondeau.train._ranges import RANGES
from rondeau.train._request import train_parser
from rondeau.train._usage_error import UsageError

PARSERS = {
    command: importlib.import_module(f"rondeau.train._commands.{command}")._parser()
    for command in ("generate", "evaluate", "corpus", "sweep", "_corpus_build")
} | {"train": train_parser()}


def numbers():
    for command, parser in PARSERS.items():
        for action in parser._actions:
            kind = getattr(action, "_typehint", None) or action.type
            kinds = set(get_args(kind) or [kind])
            if kinds & {int, float}:
                yield command, action.dest, float in kinds


NUMBERS = list(numbers())
WRONG = ["nan", "inf", "-.inf", ".nan", "-1" + "0" * 400, "9" * 5000, "many", ""]
WRONG_WHOLE = ["1" + "0" * 30, "1.5", "1e3", "true", "-1"]
WRONG_FLOAT = ["-1e400", "1e400", "1" + "0" * 400]
UNBOUNDED = {"clip_norm", "max_minutes"}  # infinity is a bound that is never reached


def refusal(command, name, value):
    needed = [] if command in ("train", "corpus") else ["nowhere"]
    needed += ["--output=nowhere"] if command == "_corpus_build" else []
    with pytest.raises(UsageError) as refused:
        PARSERS[command].parse([*needed, f"--{name}={value}"])
    return str(refused.value)


def test_the_table_is_complete():
    assert {name for _, name, _ in NUMBERS} == set(RANGES)
    assert {command for command, _, _ in NUMBERS} == set(PARSERS)


@pytest.mark.parametrize(("command", "name", "is_float"), NUMBERS, ids=str)
def test_numbers_beyond_their_range(command, name, is_float):
    for value in WRONG + (WRONG_FLOAT if is_float else WRONG_WHOLE):
        if name in UNBOUNDED and value == "1e400":
            continue
        line = refusal(command, name, value)
        assert re.match(rf"--{name}: expected an? [\w ]+", line), line
        assert len(line) < 250


def test_they_are_refused_before_anything_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--threads=1000000000"]) == 2
    said = "rondeau train: --threads: expected a whole number from 1 to 1,024, got 1000000000\n"
    assert capsys.readouterr().err == said
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_no_memory_holds(tmp_path, monkeypatch, capsys):
    def refuse(options, vocab_size):
        raise MemoryError("Unable to allocate 10.9 TiB for an array with shape (3000000, 1000000)")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_recipe, "make_model", refuse)
    assert cli.main(["train", "--hidden_size=1000000"]) == 1
    assert capsys.readouterr().err == (
        "rondeau train: the memory does not suffice: Unable to allocate 10.9 TiB for an array with shape "
        "(3000000, 1000000); give a smaller model, --batch_size or --num_steps\n"
    )
    assert list(tmp_path.iterdir()) == []
