"""Files of a run are damaged: generate, evaluate and resume name the file, or are not touched by it; never silently."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from rondeau.train._log import fingerprint
from rondeau.train._sealed import seal, unseal

from .disk import FaultyDisk
from .report import Report
from .scene import OPTIONS, Outcome, command, contents, copy, differences, said

COMMANDS = {
    "generate": ("generate", "RUN", "--length=20", "--seed=0"),
    "evaluate": ("evaluate", "RUN"),
    "resume": ("train", "--resume", "RUN"),
}

_FREE = ("rondeau.lock", "metrics.csv")
"""What says nothing of the run, or nothing more than another file: it is written again by every process."""

_GROWING = ("metrics.jsonl", "samples.txt")
"""What a resume cuts back to its checkpoint: damage behind it is dropped."""


def flip(content: bytes, random_: random.Random) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def cut(content: bytes, random_: random.Random) -> bytes:
    """Leave the first part."""
    return content[: random_.randrange(1, len(content))]


def zero(content: bytes, random_: random.Random) -> bytes:
    """Overwrite with zeros, as some file systems do after a power cut, from some place on."""
    start = random_.randrange(len(content))
    return content[:start] + bytes(len(content) - start)


def junk(content: bytes, random_: random.Random) -> bytes:
    """Replace by as many random bytes."""
    return random_.randbytes(len(content))


def empty(content: bytes, random_: random.Random) -> bytes:
    """Leave nothing."""
    return b""


Damage = Callable[[bytes, random.Random], bytes]
DAMAGES: tuple[Damage, ...] = (flip, cut, zero, junk, empty)


class Subject(NamedTuple):
    """A run that is damaged, and what the commands do with it undamaged."""

    name: str
    folder: Path
    outcomes: dict[str, Outcome]
    contents: dict[str, Any]
    """Of the folder after the resume."""


def make_subjects(room: Path, corpus: Path) -> list[Subject]:
    """Make an unfinished and a finished run in `room`, and a copy of each that is resumed undamaged."""
    finished, unfinished = room / "finished", room / "unfinished"
    disk = FaultyDisk()
    command("train", str(corpus), *OPTIONS, f"--output={finished}", disk=disk)
    command(
        "train", str(corpus), *OPTIONS, f"--output={unfinished}", disk=FaultyDisk(2 * len(disk.calls) // 3)
    )
    subjects = []
    for folder in (unfinished, finished):
        run = copy(folder, room / "run")
        outcomes = give(run)
        assert all(outcome.status == 0 for outcome in outcomes.values()), said(list(outcomes.values()))
        subjects.append(Subject(folder.name, folder, outcomes, contents(run)))
    return subjects


def give(run: Path) -> dict[str, Outcome]:
    """Give all commands in a run's folder, in turn."""
    return {
        name: command(*(word.replace("RUN", str(run)) for word in words)) for name, words in COMMANDS.items()
    }


def files(folder: Path) -> list[str]:
    """Return all files of a run, relative to its folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def judge(subject: Subject, name: str, run: Path, outcomes: dict[str, Outcome]) -> tuple[str, str | None]:
    """Return what came of the damage of a file, in a word, and what is wrong with that, if anything is."""
    names_it = {command: str(run / name) in outcome.err for command, outcome in outcomes.items()}
    for which, outcome in outcomes.items():
        undisturbed = subject.outcomes[which]
        if outcome.traceback:
            return "traceback", f"{which} ended in a traceback\n{said([outcome])}"
        if outcome.status != 0 and not (names_it[which] and outcome.is_one_line_about(str(run / name))):
            return "unclear", f"{which} failed without naming {name}\n{said([outcome])}"
        if (
            outcome.status == 0
            and which != "resume"
            and outcome.out != undisturbed.out
            and not names_it[which]
        ):
            return "silent", f"{which} gave something else\n{said([outcome, undisturbed])}"
    if outcomes["resume"].status == 0:
        found = contents(run)
        names = [n for n in differences(found, subject.contents) if not _is_set_aside(n, found)]
        if names:
            return (
                "silent",
                f"{', '.join(names)}: not as in the undamaged run\n{said(list(outcomes.values()))}",
            )
    if any(names_it.values()):
        return "named", None
    if name in _FREE or (name in _GROWING and subject.name == "unfinished"):
        return "of no effect, since it is written again", None
    return "silent", f"nothing named {name}\n{said(list(outcomes.values()))}"


def _is_set_aside(name: str, found: dict[str, Any]) -> bool:
    """Return whether a file of a damaged checkpoint was given another name, and not trained again."""
    home, _, rest = name.partition("/")
    checkpoint = rest.partition("/")[0]
    aside = f"{home}/aside-{checkpoint}" in found and f"{home}/{checkpoint}" not in found
    return checkpoint.startswith("aside-") or aside


def storm(
    room: Path,
    corpus: Path,
    report: Report,
    *,
    rounds: int = 300,
    seed: int = 0,
    first: int = 0,
    only: str | None = None,
) -> None:
    """Damage files of an unfinished and of a finished run, every file in every way before any comes again.

    Parameters
    ----------
    room : Path
        An empty folder.
    corpus : Path
        A text file.
    report : Report
    rounds : int
        How many damages, each followed by all commands.
    seed, first : int
        Of what is drawn, and the number of the first round.
    only : str, optional
        This file alone, by its name.
    """
    subjects = make_subjects(room, corpus)
    every = [
        (subject, name, damage)
        for damage in DAMAGES
        for subject in subjects
        for name in files(subject.folder)
        if only in (None, Path(name).name)
    ]
    for number in range(first, first + rounds):
        subject, name, damage = every[number % len(every)]
        which = f" --only {only}" if only else ""
        where = f"damages --seed {seed} --first {number}{which}: {damage.__name__} of {name} ({subject.name})"
        run = copy(subject.folder, room / "run")
        path = run / name
        before = path.read_bytes()
        path.write_bytes(after := damage(before, random.Random(f"{seed} {number}")))
        if before == after:  # as one that was empty, or all zeros
            report.count("without a change")
            continue
        _try(report, subject, name, run, where)


def _try(report: Report, subject: Subject, name: str, run: Path, where: str) -> None:
    outcomes = give(run)
    for which, outcome in outcomes.items():
        report.time(which if outcome.status == 0 else f"{which}, refused,", outcome.seconds, where)
    verdict, problem = judge(subject, name, run, outcomes)
    report.count(verdict)
    if problem:
        report.find(where, problem)


# --------------------------------------------------------------------------------------------------------- forgeries


def forge(
    room: Path, corpus: Path, report: Report, *, rounds: int = 300, seed: int = 0, first: int = 0
) -> None:
    """Write something else under right hashes: nobody can notice all of it, but no command may crash or hang."""
    subject = make_subjects(room, corpus)[0]
    texts: dict[int, tuple[str, bytes]] = dict(enumerate(_forged_texts()))
    for number in range(first, first + rounds):
        random_ = random.Random(f"{seed} {number}")
        run = copy(subject.folder, room / "run")
        if number in texts:
            name, content = texts[number]
            what = f"{name} = {content[:40]!r}"
            _forge_file(run, name, content)
        elif random_.random() < 0.3:
            what = f"arrays: {_forge_array(run, random_)}"
        else:
            what = f"manifest.json: {_forge_manifest(run, random_)}"
        where = f"forgeries --seed {seed} --first {number}: {what}"
        outcomes = give(run)
        for which, outcome in outcomes.items():
            report.time(which if outcome.status == 0 else f"{which}, refused,", outcome.seconds, where)
            report.count("accepted" if outcome.status == 0 else "refused")
            ended_well = outcome.status == 0 or outcome.is_one_line_about(str(run), *_DIVERGED)
            if outcome.traceback or not ended_well:
                report.find(where, said([outcome]))


def _forged_texts() -> Iterator[tuple[str, bytes]]:
    bomb = b"a0: &a0 [x, x]\n" + b"".join(
        b"a%d: &a%d [*a%d, *a%d]\n" % (i, i, i - 1, i - 1) for i in range(1, 40)
    )
    for content in (b"", b"\xff", bomb, b"[" * 9999, b"{", b"lr: {}", b"lr: x", b"lr: " + b"9" * 9999):
        yield "config.yaml", content
    vocab = {"tokens": ["<unk>"], "unk_token": "<unk>", "counts": [0]}
    tokenizers: tuple[Any, ...] = (
        {"tokenizer": "characters"},
        {"tokenizer": "no such"},
        {"tokenizer": "bpe", "model": 3},
        3,
    )
    vocabularies: tuple[Any, ...] = (
        vocab,
        {},
        [],
        {**vocab, "tokens": []},
        {**vocab, "counts": ["a"]},
        {**vocab, "tokens": [3]},
    )
    for tokenizer, fields in product(tokenizers, vocabularies):
        yield "vocab.json", json.dumps({"tokenizer": tokenizer, "vocab": fields}).encode()
    for content in (b"", b"{}", b"[" * 9999, b"\xff", b"null", b"9" * 9999):
        yield "vocab.json", content
    yield "metrics.jsonl", b"[" * 9999 + b"\n"


def _forge_file(run: Path, name: str, content: bytes) -> None:
    """Replace a file, and what every checkpoint holds of it."""
    (run / name).write_bytes(content)
    for path in run.glob("checkpoints/step-*/manifest.json"):
        manifest = unseal(path.read_bytes())
        manifest["state"]["files"][name] = fingerprint(content)
        path.write_bytes(seal(manifest))


_DIVERGED = ("training diverged", "lower the rate")
"""What a run says that goes on from infinity: the same as of any other run."""

_JUNK: tuple[Any, ...] = (
    *(None, True, 0, -3, 2**63, 10**30, 1e400, float("nan")),
    *("x", "../../x", "9" * 5000, [], [[]], {}, {"a": 1}),
)


def _forge_manifest(run: Path, random_: random.Random) -> str:
    """Change one place of the latest checkpoint's manifest; return what was done."""
    name = json.loads((run / "checkpoints" / "latest").read_bytes())["checkpoint"]
    path = run / "checkpoints" / name / "manifest.json"
    manifest = unseal(path.read_bytes())
    places = [
        way for way in _places(manifest, ()) if "limits" not in way
    ]  # a run may well be told to last for ever
    *way, last = random_.choice(places)
    home: Any = manifest
    for key in way:
        home = home[key]
    if random_.random() < 0.2:
        del home[last]
        done = "without"
    else:
        home[last] = random_.choice(_JUNK)
        done = f"{home[last]!r:.20} at"
    path.write_bytes(seal(manifest))
    return f"{done} {'.'.join(map(str, (*way, last)))}"


def _forge_array(run: Path, random_: random.Random) -> str:
    """Change one array of the latest checkpoint; return what was done."""
    name = json.loads((run / "checkpoints" / "latest").read_bytes())["checkpoint"]
    folder = run / "checkpoints" / name
    path = random_.choice(sorted(folder.glob("*.safetensors")))
    arrays = safetensors.numpy.load(path.read_bytes())
    key = random_.choice(sorted(arrays))
    array = arrays.pop(key)
    done, changed = random_.choice(
        [
            ("without", None),
            ("longer", np.concatenate([np.atleast_1d(array)] * 2)),
            ("flat", array.reshape(-1)),
            ("float64", array.astype(np.float64)),
            ("integers", array.astype(np.int64)),
            ("infinite", np.full(array.shape, np.inf, np.result_type(array, np.float32))),
            ("empty", np.atleast_1d(array)[:0]),
        ]
    )
    if changed is not None:
        arrays[key] = changed
    path.write_bytes(safetensors.numpy.save(arrays))
    manifest = unseal((folder / "manifest.json").read_bytes())
    manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_bytes(seal(manifest))
    return f"{done} {key} of {path.name}"


def _places(node: Any, way: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield (*way, key)
        yield from _places(value, (*way, key))
