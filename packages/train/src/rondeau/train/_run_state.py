"""What every checkpoint of a run holds of the run, besides what its trainer needs; checked before it is believed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rondeau.train._checkpoint import Snapshot
from rondeau.train._errors import CheckpointError

LOGS = ("metrics.jsonl", "samples.txt")
"""Files beside the checkpoints that grow; a checkpoint vouches for what they held when it was written."""


class Limits(NamedTuple):
    """Where a run ends, as of a checkpoint: at first as in config.yaml, later as the last resume said.

    Attributes
    ----------
    epochs, max_steps : int or None
    max_minutes : float or None
    """

    epochs: int | None
    max_steps: int | None
    max_minutes: float | None


def check_run_state(snapshot: Snapshot) -> None:
    """Raise CheckpointError unless a snapshot holds weights, and its state what a run keeps there."""
    state = snapshot.state
    step, best = state.get("step"), state.get("best_step")
    limits = state.get("limits")
    if "weights" not in snapshot.arrays:
        raise CheckpointError(f"the checkpoint is damaged: {_where(snapshot)}: it names no weights")
    for name, wanted, is_right in (
        ("step", "that of its folder", _is_count(step) and _is_of(snapshot.path, step)),
        ("best_step", "a count or null", "best_step" in state and (best is None or _is_count(best))),
        ("corpus", "an object", isinstance(state.get("corpus"), dict)),
        ("files", "a size and a SHA-256 of each file", _are_fingerprints(state.get("files"))),
        ("limits", "counts and minutes", isinstance(limits, dict) and _are_limits(limits)),
    ):
        if not is_right:
            raise CheckpointError(
                f"the checkpoint is damaged: {_where(snapshot)}: {name}: expected {wanted}, got {state.get(name)!r:.80}"
            )


def _where(snapshot: Snapshot) -> str:
    return "the state of a run" if snapshot.path is None else str(snapshot.path / "manifest.json")


def _is_of(path: Path | None, step: Any) -> bool:
    return path is None or path.name == f"step-{step}"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number_above_0(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _are_fingerprints(value: Any) -> bool:
    if not isinstance(value, dict) or not value.keys() >= set(LOGS):
        return False
    return all(
        isinstance(entry, dict)
        and entry.keys() == {"bytes", "sha256"}
        and _is_count(entry["bytes"])
        and isinstance(entry["sha256"], str)
        and re.fullmatch("[0-9a-f]{64}", entry["sha256"])
        for entry in value.values()
    )


def _are_limits(value: Mapping[str, Any]) -> bool:
    if value.keys() != set(Limits._fields):
        return False
    counts = (value["epochs"], value["max_steps"])
    return all(count is None or (_is_count(count) and count > 0) for count in counts) and (
        value["max_minutes"] is None or _is_number_above_0(value["max_minutes"])
    )
