"""Checkpoints: folders of safetensors and one JSON manifest, whole after a kill at any moment.

    checkpoints/
        latest                  {"checkpoint": "step-200", ...}; swapped in one step once that is whole
        step-200/
            manifest.json       the step, the state that is not an array, and the SHA-256 of every other file
            weights.safetensors
            optimizer.safetensors
            ...

`latest` and the manifests are sealed (`rondeau.train._sealed`), so any damage is found on loading. What is damaged is
never deleted: a run that goes on from another checkpoint gives it the name ``aside-step-200``.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.runtime.caller import warn_caller
from rondeau.tensor.files import durable
from rondeau.tensor.files.arrays import decode, encode
from rondeau.train._checks import check_integer, check_is, checked_list
from rondeau.train._errors import CheckpointError, RunWarning
from rondeau.train._sealed import parse_json, seal, unseal

_FORMAT = 3
_NAME = re.compile(r"step-(0|[1-9][0-9]{0,17})")
_UNFINISHED = re.compile(r"\.(step-[0-9]+\.(writing|removing)|latest\.writing)")
_ARRAYS = re.compile(r"[A-Za-z0-9_]+\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Snapshot(NamedTuple):
    """All that training needs to continue.

    Attributes
    ----------
    arrays : dict of dict of ndarray
        File name without its ending -> array name -> array.
    state : dict
        Everything else; what JSON can hold.
    path : Path or None
        The folder that it was read from.

    Examples
    --------
    >>> snapshot = Snapshot({"weights": {"w": np.arange(2.0)}}, {"epoch": 1})
    >>> snapshot.state["epoch"]
    1
    """

    arrays: Mapping[str, Mapping[str, NDArray[Any]]]
    state: dict[str, Any]
    path: Path | None = None

    @property
    def evaluated_weights(self) -> Mapping[str, NDArray[Any]]:
        """The weights that the run evaluates, made for its model's `load_state_dict`: averaged ones, if it has them."""
        if "averaged" not in self.arrays:
            return self.arrays["weights"]
        averaged = self.arrays["averaged"].items()
        return {name.removeprefix("module."): array for name, array in averaged if name.startswith("module.")}


class _FormatError(CheckpointError):
    """A checkpoint of another version."""


class Found(NamedTuple):
    """A whole checkpoint, and what is to be said about the way to it.

    Attributes
    ----------
    step : int
    snapshot : Snapshot
    damaged : dict of int to str
        The steps of checkpoints that cannot be read -> what is wrong with each.
    instead_of_latest : str or None
        What is wrong with the latest checkpoint, if that is why this one was taken.
    """

    step: int
    snapshot: Snapshot
    damaged: Mapping[int, str]
    instead_of_latest: str | None

    def told(self) -> tuple[Any, ...]:
        """Return what other ranks are told, as plain values."""
        arrays = {name: dict(of_file) for name, of_file in self.snapshot.arrays.items()}
        path = None if self.snapshot.path is None else str(self.snapshot.path)
        return self.step, (arrays, self.snapshot.state, path), dict(self.damaged), self.instead_of_latest

    @classmethod
    def of(cls, told: tuple[Any, ...]) -> "Found":
        """Return what rank 0 has told."""
        step, (arrays, state, path), damaged, instead_of_latest = told
        snapshot = Snapshot(arrays, state, None if path is None else Path(path))
        return cls(step, snapshot, damaged, instead_of_latest)


class CheckpointFolder:
    """The checkpoints of one run.

    Parameters
    ----------
    folder : path-like
        Made by the first `save`.
    keep : int
        How many of the last checkpoints remain.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoints = CheckpointFolder(Path(folder))
    ...     _ = checkpoints.save(3, Snapshot({"weights": {"w": np.arange(2.0)}}, {"epoch": 1}))
    ...     snapshot = checkpoints.load("latest")
    >>> snapshot.arrays["weights"]["w"], snapshot.state
    (array([0., 1.]), {'epoch': 1})
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3) -> None:
        check_is("folder", folder, str, os.PathLike)
        check_integer("keep", keep, 1, " checkpoint to remain")
        self.folder = Path(folder)
        self.keep = keep

    # ------------------------------------------------------------------------------------------------------ reading

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints that are there, ascending."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def exists(self) -> bool:
        """Return whether a checkpoint was written here, whatever has become of it."""
        return (self.folder / "latest").exists() or bool(self.steps())

    def published_step(self) -> int | None:
        """Return the step that `latest` names, or None if it names none."""
        try:
            return _step(self._latest(self._read_latest()))
        except CheckpointError:
            return None

    def load(self, name: str = "latest") -> Snapshot:
        """Read a checkpoint and verify every byte of it.

        Parameters
        ----------
        name : str
            ``"latest"``, or the name of a checkpoint's folder, such as ``"step-200"``. Where the latest one is damaged,
            it is the newest whole one, with a warning.

        Raises
        ------
        CheckpointError
            If it is not there or damaged; the message names the file.
        """
        check_is("name", name, str)
        if name != "latest":
            return self._load(name)
        step, snapshot, problem = self._newest_whole()
        if problem is not None:
            warn_caller(f"{problem}; step-{step} is taken in its place", RunWarning)
        return snapshot

    def find(self, name: str = "latest") -> Found:
        """Read a checkpoint as `load` does, and look at all the others; `rewind` then goes back to it.

        Raises
        ------
        CheckpointError
            If it is not there or damaged; the message names the file.
        OSError
            If one of them cannot be read for now. By its name, a checkpoint is found even if others cannot.
        """
        check_is("name", name, str)
        if name == "latest":
            step, snapshot, problem = self._newest_whole()
        else:
            snapshot, problem = self._load(name), None
            step = _step(name)
        damaged = {}
        for other in self.steps():
            try:
                if other != step:
                    self._load(f"step-{other}")
            except CheckpointError as error:
                damaged[other] = str(error)
            except OSError as error:
                if name == "latest":
                    raise
                damaged[other] = f"{error.filename} cannot be read: {error.strerror}"
        return Found(step, snapshot, damaged, problem)

    def _newest_whole(self) -> tuple[int, Snapshot, str | None]:
        """Return the latest checkpoint, or else the newest whole one and what is wrong with the latest."""
        while True:
            named = self._read_latest()
            try:
                name = self._latest(named)
                return _step(name), self._load(name), None
            except _FormatError:
                raise
            except CheckpointError as error:
                if self._read_latest() == named:
                    problem = str(error)
                    break
            # A run that is going on has published another checkpoint meanwhile, and removed this one.
        steps = self.steps()
        for step in reversed(steps):
            try:
                return step, self._load(f"step-{step}"), problem
            except CheckpointError:
                continue
        if steps:
            problem += f"; of the checkpoints there ({_names(steps)}) none is whole"
        raise CheckpointError(problem)

    def _load(self, name: str) -> Snapshot:
        folder = self.folder / name
        match = _NAME.fullmatch(name)
        if not match or not folder.is_dir():
            raise CheckpointError(f"there is no checkpoint {folder}; there: {_names(self.steps())}")
        files, state = _read_manifest(folder / "manifest.json", int(match[1]))
        arrays = {}
        for file, digest in files.items():
            content = _read(folder / file)
            found = hashlib.sha256(content).hexdigest()
            if found != digest:
                raise _damaged(folder / file, f"has SHA-256 {found[:12]}..., expected {digest[:12]}...")
            arrays[file.removesuffix(".safetensors")] = _parse_arrays(folder / file, content)
        return Snapshot(arrays, state, folder)

    def _read_latest(self) -> bytes | None:
        try:
            return durable.read_file(self.folder / "latest")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def _latest(self, content: bytes | None) -> str:
        """Return the name of the checkpoint that the content of `latest` names."""
        path = self.folder / "latest"
        if content is None:
            if self.steps():
                raise CheckpointError(f"{path} is missing")
            raise CheckpointError(
                f"{self.folder} holds no checkpoint: the run ended before its first one was written"
            )
        name = _unseal(path, content, "does not name a checkpoint").get("checkpoint")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _damaged(path, "does not name a checkpoint")
        return name

    # ------------------------------------------------------------------------------------------------------ writing

    def save(self, step: int, snapshot: Snapshot, also_keep: Collection[int] = ()) -> Path:
        """Write the checkpoint of `step`, make it the latest, and remove old ones.

        Parameters
        ----------
        step : int
            Later than that of every checkpoint that a resumed run has not dropped: an unpublished folder of this
            step, left by a killed run, is replaced.
        snapshot : Snapshot
        also_keep : collection of int
            Steps whose checkpoints remain, however old.

        Returns
        -------
        Path
            The checkpoint's folder.

        Raises
        ------
        TypeError
            If the snapshot holds something else than arrays, and what JSON can hold. Nothing has been written then.
        CheckpointError
            If the latest checkpoint is of this step.
        """
        check_integer("step", step, 0)
        check_is("snapshot", snapshot, Snapshot)
        kept = checked_list("also_keep", also_keep, "steps")
        for i, other in enumerate(kept):
            check_integer(f"also_keep[{i}]", other, 0)
        _check_content(snapshot)
        durable.make_folder(self.folder)
        name = f"step-{step}"
        if self.published_step() == step:
            raise CheckpointError(
                f"{self.folder / name} is the latest checkpoint already and is not written twice"
            )
        self.clean()
        final = self.folder / name
        beside = durable.unfinished(final)
        durable.make_folder(beside)
        files = {}
        for stem, arrays in snapshot.arrays.items():
            content = encode({name: np.asarray(array) for name, array in arrays.items()})
            durable.write_file(beside / f"{stem}.safetensors", content)
            files[f"{stem}.safetensors"] = hashlib.sha256(content).hexdigest()
        manifest = {"format": _FORMAT, "step": step, "files": files, "state": snapshot.state}
        durable.write_file(beside / "manifest.json", seal(manifest))
        durable.sync_folder(beside)
        if final.exists():
            self._make_way(step)
        durable.rename(beside, final)
        self._publish(name)
        self._remove_old({step, *kept})
        return final

    def rewind(self, found: Found, also_keep: Collection[int] = ()) -> None:
        """Make the checkpoint that was found the latest one: what comes after it is removed, what is damaged set aside.

        Parameters
        ----------
        found : Found
        also_keep : collection of int
            Steps whose checkpoints remain, however old.
        """
        self.clean()
        for step in found.damaged:
            self._set_aside(step)
        if self.published_step() != found.step:
            self._publish(f"step-{found.step}")
        # After the swap: a kill in between leaves later checkpoints than the latest, which the next rewind removes.
        self._clear(step for step in self.steps() if step > found.step)
        self._remove_old({found.step, *also_keep})

    def clean(self) -> None:
        """Remove what a killed run was writing or removing."""
        if self.folder.is_dir():
            self._remove(path for path in self.folder.iterdir() if _UNFINISHED.fullmatch(path.name))

    def remove(self) -> None:
        """Remove all checkpoints, and the folder where nothing else is in it."""
        if not self.folder.is_dir():
            return
        durable.remove_file(self.folder / "latest")
        durable.sync_folder(self.folder)  # before anything else goes: nothing here is a run's latest any more
        self.clean()
        self._clear(self.steps())
        durable.remove_folder_if_empty(self.folder)

    def _publish(self, name: str) -> None:
        durable.replace_file(self.folder / "latest", seal({"format": _FORMAT, "checkpoint": name}))

    def _remove_old(self, kept: set[int]) -> None:
        steps = self.steps()
        kept |= set(sorted(step for step in steps if step <= max(kept))[-self.keep :])
        self._remove(self.folder / f"step-{step}" for step in steps if step not in kept)

    def _make_way(self, step: int) -> None:
        try:
            self._load(f"step-{step}")
        except CheckpointError:
            self._set_aside(step)
        else:
            self._clear([step])

    def _clear(self, steps: Iterable[int]) -> None:
        """Remove checkpoints that are no longer part of the run; where somebody put something else, set them aside."""
        for step in list(steps):
            self._remove([self.folder / f"step-{step}"])
            if (self.folder / f"step-{step}").exists():
                self._set_aside(step)

    def name_aside(self, step: int) -> Path:
        """Return where the checkpoint of a step is set aside by `rewind`, so that it is in nobody's way."""
        aside, number = self.folder / f"aside-step-{step}", 1
        while aside.exists():
            number += 1
            aside = self.folder / f"aside-step-{step}-{number}"
        return aside

    def _set_aside(self, step: int) -> None:
        durable.rename(self.folder / f"step-{step}", self.name_aside(step))

    def _remove(self, paths: Iterable[Path]) -> None:
        """Remove files and folders of ours; a folder in which somebody put something else stays."""
        for path in list(paths):
            if not path.is_dir():
                durable.remove_file(path)
                continue
            doomed = path
            if not path.name.startswith("."):
                if not all(map(_is_ours, path.iterdir())):
                    continue
                # Renamed first: a removal that is cut short leaves nothing that looks like a checkpoint.
                doomed = path.with_name(f".{path.name}.removing")
                durable.rename(path, doomed)
            for file in filter(_is_ours, list(doomed.iterdir())):
                durable.remove_file(file)
            durable.remove_folder_if_empty(doomed)


def _is_ours(path: Path) -> bool:
    is_named_so = path.name == "manifest.json" or _ARRAYS.fullmatch(path.name)
    return bool(is_named_so) and not path.is_dir()


def _step(name: str) -> int:
    return int(name.removeprefix("step-"))


def _names(steps: Iterable[int]) -> str:
    return ", ".join(f"step-{step}" for step in steps) or "none"


def _check_content(snapshot: Snapshot) -> None:
    """Refuse what cannot be written, before anything is."""
    check_is("arrays of a snapshot", snapshot.arrays, Mapping)
    check_is("state of a snapshot", snapshot.state, dict)
    for stem, arrays in snapshot.arrays.items():
        if not isinstance(stem, str) or not _ARRAYS.fullmatch(f"{stem}.safetensors"):
            raise TypeError(f"arrays of a snapshot: expected names of letters, digits and _, got {stem!r}")
        check_is(f"arrays of a snapshot, {stem!r}", arrays, Mapping)
        for name, array in arrays.items():
            check_is(f"arrays of a snapshot, {stem!r}, {name!r}", array, np.ndarray, np.generic)
    try:
        json.dumps(snapshot.state)
    except (TypeError, ValueError) as error:
        raise TypeError(f"state of a snapshot: expected what JSON can hold, but {error}") from None


def _read_manifest(path: Path, step: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the digests of the files beside a manifest, and the state that it holds."""
    manifest = _unseal(path, _read(path), "is not a whole manifest")
    files, state = manifest.get("files"), manifest.get("state")
    if manifest.get("step") != step or isinstance(manifest["step"], bool):
        raise _damaged(path, f"is of step {manifest.get('step')!r:.20}, not of {step}")
    if not isinstance(state, dict):
        raise _damaged(path, "holds no state")
    if not isinstance(files, dict) or not all(map(_is_entry, files.items())):
        raise _damaged(path, "does not name the files beside it")
    return files, state


def _is_entry(entry: tuple[str, Any]) -> bool:
    file, digest = entry
    return bool(_ARRAYS.fullmatch(file)) and isinstance(digest, str) and bool(_SHA256.fullmatch(digest))


def _unseal(path: Path, content: bytes, what: str) -> dict[str, Any]:
    """Return what a sealed file of this format holds; `what` is what it else fails to do."""
    try:
        fields = unseal(content)
    except ValueError as error:
        version = _other_format(content)
        if version is None:
            raise _damaged(path, f"{what}: {error}") from None
    else:
        version = fields.get("format")
        if version == _FORMAT:
            return fields
    raise _FormatError(
        f"{path} has format {version!r:.20}; this version of rondeau reads format {_FORMAT}: train again, or give "
        "the safetensors files to load_state_dict of a model"
    )


def _other_format(content: bytes) -> int | None:
    """Return the format of a file that is not sealed, as those of the first format, or None if it is damaged."""
    try:
        fields = parse_json(content)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    version = 1 if fields.keys() == {"checkpoint", "sha256"} else fields.get("format")
    return version if isinstance(version, int) and version != _FORMAT else None


def _parse_arrays(path: Path, content: bytes) -> dict[str, NDArray[Any]]:
    try:
        entries, _ = decode(content)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    arrays = {}
    for name, entry in entries.items():
        array = entry.array()
        if array is None:
            raise _damaged(path, f"holds {name!r:.60} of {entry.dtype}, which NumPy lacks")
        arrays[name] = array
    return arrays


def _read(path: Path) -> bytes:
    try:
        return durable.read_file(path)
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except (IsADirectoryError, NotADirectoryError):
        raise _damaged(path, "is not a file") from None


def _damaged(path: Path, how: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint is damaged: {path} {how}")
