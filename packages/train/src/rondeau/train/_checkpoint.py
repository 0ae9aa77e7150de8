"""Checkpoints: folders of safetensors and one JSON manifest, whole after a kill at any moment.

    checkpoints/
        latest                  {"checkpoint": "step-200", "sha256": ...}: swapped in one step once that is whole
        step-200/
            manifest.json       the step, the state that is no array, and the SHA-256 of every other file
            weights.safetensors
            optimizer.safetensors
            ...

`latest` holds the SHA-256 of the manifest, and the manifest those of the files, so any damage is found on loading.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from rondeau.train._checks import check_integer, check_is, checked_list
from rondeau.train._durable import replace_file, sync_folder, write_file

_FORMAT = 1
_NAME = re.compile(r"step-(\d+)")


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another model.

    Examples
    --------
    >>> CheckpointFolder("no_such_run").load("step-200")
    Traceback (most recent call last):
    ...
    rondeau.train._checkpoint.CheckpointError: there is no checkpoint no_such_run/step-200; there: none
    """


class Snapshot(NamedTuple):
    """All that training needs to continue.

    Attributes
    ----------
    arrays : dict of dict of ndarray
        File name without its ending -> array name -> array.
    state : dict
        Everything else; what JSON can hold.

    Examples
    --------
    >>> snapshot = Snapshot({"weights": {"w": np.arange(2.0)}}, {"epoch": 1})
    >>> snapshot.state["epoch"]
    1
    """

    arrays: Mapping[str, Mapping[str, NDArray[Any]]]
    state: dict[str, Any]


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
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"step-{step}"
        if self._published() == name:
            raise CheckpointError(
                f"{self.folder / name} is the latest checkpoint already and is not written twice"
            )
        self._remove(leftover for leftover in self.folder.iterdir() if leftover.name.startswith(".step-"))
        beside = self.folder / f".{name}.writing"
        beside.mkdir()
        files = {}
        for stem, arrays in snapshot.arrays.items():
            # safetensors writes memory as it lies, so any order but C would be garbage (its issue 825).
            content = safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in arrays.items()})
            write_file(beside / f"{stem}.safetensors", content)
            files[f"{stem}.safetensors"] = hashlib.sha256(content).hexdigest()
        manifest = {"format": _FORMAT, "step": step, "files": files, "state": snapshot.state}
        content = (json.dumps(manifest, indent=1) + "\n").encode()
        write_file(beside / "manifest.json", content)
        sync_folder(beside)
        final = self.folder / name
        if final.exists():
            self._remove([final])
        os.replace(beside, final)
        sync_folder(self.folder)
        latest = {"checkpoint": name, "sha256": hashlib.sha256(content).hexdigest()}
        replace_file(self.folder / "latest", (json.dumps(latest) + "\n").encode())
        self._remove_old({step, *kept})
        return final

    def exists(self) -> bool:
        """Return whether there is a latest checkpoint."""
        return (self.folder / "latest").exists()

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints that are there, ascending."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def load(self, name: str = "latest") -> Snapshot:
        """Read a checkpoint and verify every byte of it.

        Parameters
        ----------
        name : str
            ``"latest"``, or the name of a checkpoint's folder, such as ``"step-200"``.

        Raises
        ------
        CheckpointError
            If it is not there or damaged; the message names the file.
        """
        check_is("name", name, str)
        expected = None
        if name == "latest":
            name, expected = self._latest()
        folder = self.folder / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            there = ", ".join(f"step-{step}" for step in self.steps()) or "none"
            raise CheckpointError(f"there is no checkpoint {folder}; there: {there}")
        content = _read(folder / "manifest.json", expected)
        try:
            manifest = json.loads(content)
            files, state, version = manifest["files"], manifest["state"], manifest["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(folder / "manifest.json", "is not a whole manifest") from error
        if version != _FORMAT:
            raise CheckpointError(f"{folder} has format {version}; this version reads format {_FORMAT}")
        arrays = {}
        for file, digest in files.items():
            arrays[file.removesuffix(".safetensors")] = safetensors.numpy.load(_read(folder / file, digest))
        return Snapshot(arrays, state)

    def _latest(self) -> tuple[str, str]:
        path = self.folder / "latest"
        if not path.exists():
            raise CheckpointError(
                f"{self.folder} holds no checkpoint: the run ended before its first one was written"
            )
        try:
            latest = json.loads(path.read_bytes())
            return str(latest["checkpoint"]), str(latest["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, "does not name a checkpoint") from error

    def _published(self) -> str | None:
        return self._latest()[0] if self.exists() else None

    def _remove_old(self, kept: set[int]) -> None:
        steps = self.steps()
        kept |= set(sorted(step for step in steps if step <= max(kept))[-self.keep :])
        self._remove(self.folder / f"step-{step}" for step in steps if step not in kept)

    def _remove(self, folders: Any) -> None:
        # Renamed first: a removal that is cut short leaves nothing that looks like a checkpoint.
        for folder in list(folders):
            doomed = folder
            if not folder.name.startswith("."):
                doomed = folder.with_name(f".{folder.name}.removing")
                os.replace(folder, doomed)
            shutil.rmtree(doomed)


def _check_content(snapshot: Snapshot) -> None:
    """Refuse what cannot be written, before anything is."""
    check_is("arrays of a snapshot", snapshot.arrays, Mapping)
    check_is("state of a snapshot", snapshot.state, dict)
    for stem, arrays in snapshot.arrays.items():
        check_is(f"arrays of a snapshot, {stem!r}", arrays, Mapping)
        for name, array in arrays.items():
            check_is(f"arrays of a snapshot, {stem!r}, {name!r}", array, np.ndarray, np.generic)
    try:
        json.dumps(snapshot.state)
    except (TypeError, ValueError) as error:
        raise TypeError(f"state of a snapshot: expected what JSON can hold, but {error}") from None


def _read(path: Path, digest: str | None) -> bytes:
    """Return a file's content, or raise unless it has the SHA-256 `digest`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    found = hashlib.sha256(content).hexdigest()
    if digest is not None and found != digest:
        raise _damaged(path, f"has SHA-256 {found[:12]}..., expected {digest[:12]}...")
    return content


def _damaged(path: Path, how: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint is damaged: {path} {how}; use another checkpoint, or train anew")
