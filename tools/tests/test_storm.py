"""The storm: a short one of each kind, and that it notices what is planted for it to find."""

import faulthandler
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tools.storm import damages, kills, pairs  # noqa: E402
from tools.storm.__main__ import ROUNDS, main  # noqa: E402
from tools.storm.disk import FaultyDisk, How, KilledError, installed  # noqa: E402
from tools.storm.report import Report  # noqa: E402
from tools.storm.scene import OPTIONS, command, write_corpus  # noqa: E402

from rondeau.tensor.files import durable  # noqa: E402
from rondeau.train import _run, cli  # noqa: E402
from rondeau.train._commands import _telling  # noqa: E402


@pytest.fixture(autouse=True)
def hang_guard() -> Iterator[None]:
    """End a process that hangs, and show where."""
    faulthandler.dump_traceback_later(900, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """An empty folder but for a corpus."""
    write_corpus(tmp_path / "corpus.txt")
    return tmp_path


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no curves, which takes half of the time of such runs."""
    monkeypatch.setattr(_telling, "can_plot", lambda: False)


@pytest.fixture
def report() -> Report:
    return Report(io.StringIO())


# ---------------------------------------------------------------------------------------------------------- the disk


def test_a_killed_process_writes_half_and_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with installed(FaultyDisk(1)) as disk:
        for attempt in (path, tmp_path / "another"):
            with pytest.raises(KilledError):
                durable.write_file(attempt, b"content")
    assert path.read_bytes() == b"con"
    assert (disk.reached, list(tmp_path.iterdir())) == ("write", [path])


def test_what_was_not_synced_goes_with_the_power(tmp_path: Path) -> None:
    log, file = tmp_path / "log", tmp_path / "file"
    log.write_bytes(b"one ")
    with installed(FaultyDisk(2, "power")), pytest.raises(KilledError):
        durable.append_file(log, b"two ")
    assert log.read_bytes() == b"one "
    with installed(FaultyDisk(5, "power")):
        durable.append_file(log, b"two ")
        with pytest.raises(KilledError):
            durable.write_file(file, b"content")
    assert (log.read_bytes(), file.read_bytes()) == (b"one two ", b"")


@pytest.mark.parametrize(
    ("at", "how", "reached", "left"),
    [
        (2, "fail", "fsync", b"content"),
        (0, "full", "open", None),
        (1, "full", "write", b"con"),
        (3, "fail", None, b"content"),
    ],
)
def test_a_failing_disk(tmp_path: Path, at: int, how: How, reached: str | None, left: bytes | None) -> None:
    path = tmp_path / "file"
    with installed(FaultyDisk(at, how)) as disk:
        if reached is None:
            durable.write_file(path, b"content")
        else:
            with pytest.raises(OSError, match=r"Input/output error|No space left") as caught:
                durable.write_file(path, b"content")
            assert caught.value.filename == str(path)
    assert disk.reached == reached
    assert (path.read_bytes() if path.exists() else None) == left
    durable.write_file(path, b"the real disk again")


# ------------------------------------------------------------------------------------------------------------- short


@pytest.mark.usefixtures("no_curves")
def test_kills_and_failures(room: Path, report: Report) -> None:
    kills.storm(room, room / "corpus.txt", report, rounds=2)
    assert report.findings == []
    assert sum(report.rounds.values()) == 2 * len(kills.WAYS)


@pytest.mark.usefixtures("no_curves")
def test_damages(room: Path, report: Report) -> None:
    damages.storm(room, room / "corpus.txt", report, rounds=8, seed=1, first=3)
    assert report.findings == []
    assert report.rounds["named"] > 4


@pytest.mark.usefixtures("no_curves")
def test_forgeries(room: Path, report: Report) -> None:
    damages.forge(room, room / "corpus.txt", report, rounds=6, first=36)
    assert report.findings == []
    assert report.rounds["refused"] > 3


def test_a_pair_of_processes(room: Path, report: Report) -> None:
    pairs.storm(room, room / "corpus.txt", report, rounds=1)
    assert report.findings == []


@pytest.mark.usefixtures("no_curves")
def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kills", "--how", "kill", "--only", "train longer", "--at", "3"]) == 0
    out = capsys.readouterr().out
    assert "1  kill: train longer (" in out
    assert "0 findings" in out
    with pytest.raises(SystemExit):
        main(["hail"])
    assert "the storms are kills, damages, forgeries, pairs" in capsys.readouterr().err


def test_ctrl_c_ends_the_storm_and_not_a_command_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "main", lambda arguments: 130)
    with pytest.raises(KeyboardInterrupt):
        command("train")


# -------------------------------------------------------------------------------------------------- planted, to find


@pytest.mark.usefixtures("no_curves")
def test_a_file_that_is_written_in_place_is_found(
    room: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "replace_file", durable.write_file)
    disk = FaultyDisk()
    command("train", str(room / "corpus.txt"), *OPTIONS, f"--output={room / 'run'}", disk=disk)
    config = disk.calls.index("write", disk.calls.index("write") + 1)  # the first writes who holds the lock
    kills.storm(room, room / "corpus.txt", report, ways=["kill"], rounds=None, only="begin", at=config)
    (found,) = report.findings
    assert f"kills --how kill --only 'begin' --at {config}: " in found


@pytest.mark.usefixtures("no_curves")
def test_damage_that_nobody_looks_for_is_found(
    room: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_run, "_fits", lambda name, content, expected: True)
    damages.storm(room, room / "corpus.txt", report, rounds=2, only="samples.txt")
    assert report.rounds["silent"] == len(report.findings) == 2


@pytest.mark.long
def test_two_processes_that_train_in_one_folder_are_found(
    room: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked = "from rondeau.train import _lock\n_lock._take = lambda descriptor: None\n"
    monkeypatch.setattr(pairs, "_CHILD", unlocked + pairs._CHILD)
    pairs.storm(room, room / "corpus.txt", report, rounds=1)
    assert len(report.findings) == 1


@pytest.mark.long
@pytest.mark.parametrize("storm", ROUNDS)
def test_a_whole_storm(storm: str) -> None:
    faulthandler.cancel_dump_traceback_later()
    assert main([storm]) == 0
