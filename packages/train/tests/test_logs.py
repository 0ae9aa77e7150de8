"""Logs of metrics besides a run's own: as a table, and for TensorBoard."""

import csv
import math
import struct
import sys

import numpy as np
import pytest

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.train import cli
from rondeau.train._commands import _telling
from rondeau.train._request import parse_train
from rondeau.train._usage_error import UsageError

X = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
SAMPLES = data.TensorDataset(X, X.sum(1, keepdims=True))


def make(*callbacks, **options):
    rt.manual_seed(0)
    model = nn.Linear(3, 1)
    return train.Trainer(
        model,
        train.optim.SGD(model.parameters(), lr=0.05),
        data.DataLoader(SAMPLES, 4, shuffle=True, seed=1),
        task=train.Supervised(nn.functional.mse_loss),
        held_out=data.DataLoader(SAMPLES, 12),
        callbacks=callbacks,
        **{"max_epochs": 3, "log_every": 2, "clip_norm": 1.0} | options,
    )


class Plants(train.Callback):
    """Puts values of its own into rows."""

    def __init__(self, **values):
        self.values = values

    def on_row(self, trainer, row):
        row |= self.values


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if v and k != "seconds"} for row in csv.DictReader(file)]


def expected_table(rows):
    return [{k: str(v) for k, v in row.items() if k != "seconds"} for row in rows]


def whole_run(**options):
    history = train.History()
    make(history, **options).fit()
    return history.rows


# --------------------------------------------------------------------------------------------------------------- CSV


def test_a_table_has_every_row_and_every_column(tmp_path):
    path = tmp_path / "new" / "log.csv"
    history = train.History()
    make(history, train.CSVLog(path)).fit()
    assert table(path) == expected_table(history.rows)
    assert [row["step"] for row in table(path)] == ["2", "3", "4", "6", "8", "9"]
    columns = path.read_text().splitlines()[0].split(",")
    assert columns == [
        *("step", "epoch", "samples", "train_loss", "lr", "grad_norm", "seconds"),
        "held_out_loss",  # which the first row does not have
    ]
    assert float(table(path)[1]["held_out_loss"]) == history.rows[1]["held_out_loss"]
    numbers = np.genfromtxt(path, delimiter=",", names=True)
    assert np.isnan(numbers["held_out_loss"]).sum() == 3


@pytest.mark.parametrize("cut_at", [None, -5])
@pytest.mark.parametrize("steps", [0, 3, 5])
def test_a_resumed_training_goes_on_in_the_table(tmp_path, steps, cut_at):
    """Behind the checkpoint there are rows that are written again, and half a line of a kill."""
    path = tmp_path / "log.csv"
    first = make(train.CSVLog(path), max_epochs=None, max_steps=max(steps, 1))
    snapshot = first.snapshot() if steps == 0 else None
    first.fit()
    snapshot = snapshot or first.snapshot()
    later = make(train.CSVLog(path))
    later.restore(snapshot)
    later.fit()
    path.write_bytes(path.read_bytes()[:cut_at])
    resumed = make(train.CSVLog(path))
    resumed.restore(snapshot)
    resumed.fit()
    assert [int(row["step"]) for row in table(path)] == sorted(
        {row["step"] for row in whole_run()} | {steps} - {0}
    )
    assert [row["held_out_loss"] for row in table(path) if "held_out_loss" in row][-1] == str(
        resumed.evaluation.loss
    )


def test_a_training_that_writes_no_row_still_drops_later_ones(tmp_path):
    path = tmp_path / "log.csv"
    first = make(max_epochs=1)
    first.fit()
    again = make(train.CSVLog(path))
    again.restore(first.snapshot())
    again.fit()
    done = make(train.CSVLog(path), max_epochs=1)
    done.restore(first.snapshot())
    before = path.read_bytes()
    done.callbacks[0].on_begin(done)
    assert path.read_bytes() == before, "nothing is changed before there is something to write"
    done.fit()
    assert not path.exists()


def test_values_of_other_callbacks(tmp_path):
    path = tmp_path / "log.csv"
    plants = Plants(a=math.nan, b=-math.inf, c='two\nlines, "quoted"', d=None, e=np.float32(0.1))
    make(plants, train.CSVLog(path), max_epochs=1).fit()
    for row in table(path):
        planted = {name: row[name] for name in "abce"}
        assert planted == {"a": "nan", "b": "-inf", "c": 'two lines, "quoted"', "e": "0.1"}
        assert "d" not in row
    again = make(Plants(z=1), train.CSVLog(path), max_epochs=2)
    again.fit()
    assert {*table(path)[-1]} >= {"z", "step"}
    assert "a" not in table(path)[-1], "a training from step 0 starts a new file"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a letter", "its first line should name its columns, with step among them"),
        (b"a letter\nof two lines\n", "its first line should name its columns, with step among them"),
        (b"step,lr\n1,0.1\n2\n", "line 3 should have a step, and as many cells as the first line"),
        (b"step,lr\nx,0.1\n", "line 2 should have a step"),
        (b"step,lr\n1,\xff\n", "can't decode byte 0xff"),
    ],
)
def test_another_file_is_left_alone(tmp_path, content, message):
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(train.RunError, match=rf"file\.csv is not a log of metrics: .*{message}"):
        make(train.CSVLog(path)).fit()
    assert path.read_bytes() == content


# ------------------------------------------------------------------------------------------------------- TensorBoard


def events(folder):
    """The events of each file, in the order of their names; the framing and the checksums are checked."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    files = []
    for path in sorted(folder.iterdir()):
        content, found = path.read_bytes(), []
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            body = content[12 : 12 + length]
            assert struct.unpack("<I", content[8:12]) == (masked_crc32c(content[:8]),)
            assert struct.unpack("<I", content[12 + length : 16 + length]) == (masked_crc32c(body),)
            found.append(Event.FromString(body))
            content = content[16 + length :]
        files.append(found)
    return files


def scalars(folder):
    """What TensorBoard shows, by its rule for files of this version: a session's start hides events of later steps."""
    from tensorboardX.proto.event_pb2 import SessionLog

    shown = []
    for file in events(folder):
        assert file[0].file_version == "brain.Event:2"
        for event in file[1:]:
            if event.session_log.status == SessionLog.START:
                shown = [entry for entry in shown if entry[0] < event.step]
            shown += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return shown


def expected_scalars(rows):
    return [
        (row["step"], name, struct.unpack("f", struct.pack("f", value))[0])
        for row in rows
        for name, value in row.items()
        if name != "step"
    ]


def without_seconds(entries):
    return [entry for entry in entries if entry[1] != "seconds"]


def test_tensorboard_has_every_number_of_every_row(tmp_path):
    pytest.importorskip("tensorboardX")
    history = train.History()
    make(history, train.TensorBoard(tmp_path / "new" / "events")).fit()
    assert scalars(tmp_path / "new" / "events") == expected_scalars(history.rows)
    assert {tag for _, tag, _ in scalars(tmp_path / "new" / "events")} == {
        *("epoch", "samples", "train_loss", "lr", "grad_norm", "seconds", "held_out_loss")
    }


def interrupted_and_resumed(folder, cut=0):
    """Train beyond a checkpoint of step 5, whose rows are then written again."""
    first = make(train.TensorBoard(folder), max_epochs=None, max_steps=5, evaluate_every=4)
    first.fit()
    later = make(train.TensorBoard(folder), evaluate_every=4)
    later.restore(first.snapshot())
    later.fit()
    newest = max(folder.iterdir())
    newest.write_bytes(newest.read_bytes()[: -cut or None])
    history = train.History()
    resumed = make(history, train.TensorBoard(folder), evaluate_every=4)
    resumed.restore(first.snapshot())
    resumed.fit()
    return history.rows


def test_a_resumed_training_shows_no_step_twice(tmp_path):
    pytest.importorskip("tensorboardX")
    rows = interrupted_and_resumed(tmp_path)
    assert len(events(tmp_path)) == 3
    shown = without_seconds(scalars(tmp_path))
    assert [step for step, tag, _ in shown if tag == "lr"] == [2, 4, 5, 6, 8, 9]
    assert shown[-len(without_seconds(expected_scalars(rows))) :] == without_seconds(expected_scalars(rows))
    make(train.TensorBoard(tmp_path), max_steps=2).fit()
    assert [step for step, tag, _ in scalars(tmp_path) if tag == "lr"] == [2], (
        "another one from the beginning"
    )


def test_numbers_that_are_not_finite_are_kept(tmp_path):
    pytest.importorskip("tensorboardX")
    make(Plants(a=math.nan, b=-math.inf, c=1e300, d="text"), train.TensorBoard(tmp_path), max_steps=2).fit()
    found = {tag: value for _, tag, value in scalars(tmp_path)}
    assert math.isnan(found["a"])
    assert (found["b"], found["c"]) == (-math.inf, math.inf)  # scalars are of float32
    assert "d" not in found


@pytest.mark.parametrize("cut", [0, 7])
def test_tensorboards_own_reader(tmp_path, cut):
    """Also where a kill cut the last event of a file short."""
    pytest.importorskip("tensorboardX")
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    rows = interrupted_and_resumed(tmp_path, cut)
    accumulator = reader.EventAccumulator(str(tmp_path), size_guidance={reader.SCALARS: 0})
    accumulator.Reload()
    assert set(accumulator.Tags()["scalars"]) == {tag for _, tag, _ in expected_scalars(rows)}
    for tag in accumulator.Tags()["scalars"]:
        shown = accumulator.Scalars(tag)
        steps = [2, 4, 5, 6, 8, 9] if tag != "held_out_loss" else [4, 5, 8, 9]
        assert [event.step for event in shown] == steps, tag
        expected = [(step, value) for step, name, value in expected_scalars(rows) if name == tag]
        assert [(event.step, event.value) for event in shown if event.step > 5] == expected


def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs the package tensorboardX; .*"\.\[tensorboard\]"'):
        train.TensorBoard(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("a rose is a rose\n" * 40)
    assert cli.main(["train", str(text), "--log=tensorboard", f"--output={tmp_path / 'run'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rondeau train: --log: TensorBoard needs the package tensorboardX; ")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------------- the command


def command(*arguments):
    assert cli.main(["train", *map(str, arguments)]) == 0


def test_the_command_writes_them_and_goes_on_in_them(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    monkeypatch.setattr(_telling, "can_plot", lambda: False)
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("a rose is a rose is a thorn\n" * 20)
    flags = ["--hidden_size=4", "--batch_size=4", "--num_steps=8", "--log_every=1", f"--output={run}"]
    command(text, *flags, "--max_steps=2", "--log", "csv", "--log", "tensorboard")
    rows = train.RunFolder(run).rows()
    assert table(run / "metrics.csv") == expected_table(rows)
    (run / "metrics.csv").write_text("damaged")
    command("--resume", run, "--max_steps=4")
    rows = train.RunFolder(run).rows()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert table(run / "metrics.csv") == expected_table(rows)
    assert scalars(run / "tensorboard") == expected_scalars(rows)
    command(text, *flags, "--max_steps=1", "--overwrite")
    assert not (run / "metrics.csv").exists()
    assert not (run / "tensorboard").exists()


@pytest.mark.parametrize(
    ("flags", "log"),
    [
        ([], None),
        (["--log", "none"], None),
        (["--log=csv", "--log", "csv"], "csv"),
        (["--log=tensorboard", "--log", "csv"], "both"),
        (["--log", "csv,tensorboard"], "both"),
        (["--log=both"], "both"),
    ],
)
def test_which_logs_are_asked_for(flags, log):
    assert parse_train(flags).config.run.log == log


@pytest.mark.parametrize("flags", [["--log=txt"], ["--log=csv", "--log=txt"], ["--log"], ["--log="]])
def test_another_kind_of_log_is_refused(flags):
    with pytest.raises(UsageError, match="--log: expected "):
        parse_train(flags)
