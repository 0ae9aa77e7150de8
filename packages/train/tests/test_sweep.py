"""Sweeps in Python: what is drawn, who trains it, and what comes out."""

import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("optuna", reason="needs the extra sweep")

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._base import BaseJournalSnapshot

from comparing import assert_close
from rondeau import data, nn, train
from rondeau.train import RunError, SweepFolder
from rondeau.train._sweep import folder as sweep_folder
from rondeau.train._sweep.shared_lock import SharedLock
from rondeau.train._sweep.student import quantile, spread_of
from rondeau.train._sweep.sweep import make_pruner

from .sweeping import SPACE, begin, claim, pretend_good_trials, told, weights

needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

TOKENS = data.TokenStream([0, 1, 2, 1] * 30)
EVERY = 5


def make_trainer(values, steps=15):
    model = nn.LanguageModel(3, "gru", hidden_size=4)
    optimizer = train.optim.Adam(model.parameters(), lr=values["lr"])
    batches = data.SequentialBatches(TOKENS, 2, 5)
    return train.Trainer(model, optimizer, batches, held_out=TOKENS, max_steps=steps, evaluate_every=EVERY)


def sweep(folder, trials=3, **options):
    return train.sweep(make_trainer, {"lr": {"log": [1e-3, 1e-1]}}, folder, trials=trials, **options)


# ---------------------------------------------------------------------------------------------- who trains what


def test_processes_share_the_trials_and_take_over_what_was_left(tmp_path):
    # Two objects have descriptors, and so locks, of their own, as two processes do.
    one, other = begin(tmp_path / "s"), begin(tmp_path / "s")
    first, second, third = claim(one), claim(other), claim(one)
    assert [trial.number for trial in (first, second, third)] == [0, 1, 2]
    second.release()  # as a kill does
    again = claim(one)
    assert (again.number, again.values) == (1, second.values)
    again.finish(1.5)
    assert claim(other, most=3) is None  # before its lock is given back
    again.release()
    assert claim(other, most=3) is None  # and after
    third.release()
    assert claim(other, most=3).number == 2
    assert [trial.outcome for trial in one.trials] == ["unfinished", "finished", "unfinished"]


def test_a_kill_between_the_draws_of_a_trial_changes_none(tmp_path, monkeypatch):
    undisturbed = [claim(begin(tmp_path / "whole"), kind=kind).values for kind in ("random",)]
    for count in range(len(SPACE) + 1):
        sweep = begin(tmp_path / str(count))
        appended, append = 0, sweep_folder.Journal.append_logs

        def stop_after(self, logs, count=count, append=append):
            nonlocal appended
            appended += logs[0]["op_code"] == 5
            if appended > count:
                raise KeyboardInterrupt
            append(self, logs)

        with monkeypatch.context() as patch:
            patch.setattr(sweep_folder.Journal, "append_logs", stop_after)
            if count < len(SPACE):
                with pytest.raises(KeyboardInterrupt):
                    claim(sweep)
        assert [claim(begin(tmp_path / str(count))).values] == undisturbed


def test_draws_depend_on_the_number_of_the_trial_and_not_on_who_asks(tmp_path):
    alone, shared = begin(tmp_path / "alone"), [begin(tmp_path / "shared") for _ in range(3)]
    for kind in ("random", "tpe"):  # of which the first ten are drawn at random
        expected = [claim(alone, kind=kind) for _ in range(4)]
        got = [claim(shared[i % 3], kind=kind) for i in range(4)]
        assert len({trial.values["lr"] for trial in expected}) == 4
        assert [(trial.number, trial.values) for trial in got] == [(t.number, t.values) for t in expected]


def test_a_line_that_was_cut_is_dropped_before_the_next_one(tmp_path):
    sweep = begin(tmp_path / "s")
    claim(sweep).release()
    with sweep.journal.open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"killed while wri')
    assert len(SweepFolder(sweep.path).trials) == 1
    claim(sweep).finish(1.0)
    assert [trial.outcome for trial in SweepFolder(sweep.path).trials] == ["finished"]


def test_a_damaged_journal_is_named(tmp_path):
    sweep = begin(tmp_path / "s")
    claim(sweep)
    lines = sweep.journal.read_bytes().splitlines(keepends=True)
    for damage in (
        b"[1]\n",
        b"{\n",
        b'{"op_code":99}\n',
        b"[" * 100_000 + b"\n",
        b'{"op_code":6,"trial_id":"x"}\n',
    ):
        sweep.journal.write_bytes(b"".join([*lines[:-1], damage, lines[-1]]))
        with pytest.raises(RunError, match=r"journal\.log is damaged: .*; restore it from a copy"):
            _ = SweepFolder(sweep.path).trials


def test_nothing_is_ever_unpickled(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a pickle was read")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for number in range(14):  # of which those from the tenth on are drawn from what came out
        with claim(begin(tmp_path / "s"), 14, kind="tpe", pruner=make_pruner(True)) as trial:
            trial.report(1, float(number))
            assert not trial.is_unpromising(1)
            trial.finish(float(number))
    assert SweepFolder(tmp_path / "s").importances().keys() == SPACE.keys()
    assert not issubclass(JournalFileBackend, BaseJournalSnapshot), "which are pickles"


def test_the_lock_is_waited_for(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from rondeau.train._lock import FolderLock\n"
        "from rondeau.train._sweep.shared_lock import SharedLock\n"
        "path = Path(sys.argv[1])\n"
        "print('held' if not FolderLock(path).try_acquire() else 'free', flush=True)\n"
        "SharedLock(path).acquire(); print('has it', flush=True)"
    )
    lock = SharedLock(tmp_path / "lock")
    with lock.held():
        other = subprocess.Popen([sys.executable, "-c", code, lock.path], stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "held\n"
    assert other.communicate()[0] == "has it\n"


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("rondeau.train._sweep.shared_lock.wait_for", refuse)
    with pytest.raises(
        RunError, match=r"cannot be locked \(Function not implemented\), and two processes might"
    ):
        begin(tmp_path / "s")


def test_what_is_no_sweep_or_another_one(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(RunError, match="mine holds files that are not of a sweep; choose another folder"):
        begin(tmp_path / "mine")
    with pytest.raises(RunError, match=r"file is a file; choose another folder"):
        begin(tmp_path / "mine" / "file")
    begin(tmp_path / "s")
    with pytest.raises(
        RunError, match=r"another hidden: was {'integer': \[2, 4\]}, is {'integer': \[2, 5\]}"
    ):
        begin(tmp_path / "s", SPACE | {"hidden": {"integer": [2, 5]}})
    with pytest.raises(RunError, match=r"another cell: was .*, is 'absent'"):
        begin(tmp_path / "s", {name: SPACE[name] for name in ("lr", "hidden")})


# ------------------------------------------------------------------------------------- what comes out, in Python


def test_a_sweep_of_trainers(tmp_path):
    found = sweep(tmp_path / "s", 4)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert found.best.loss == min(trial.loss for trial in found.trials)
    for trial in found.trials:
        rows = trial.run.rows()
        assert trial.loss == min(row["held_out_loss"] for row in rows if "held_out_loss" in row)
    before = found.journal.read_bytes()
    assert sweep(tmp_path / "s", 4).best == found.best or found.journal.read_bytes() == before
    assert len(sweep(tmp_path / "s", 5).trials) == 5  # more trials: it goes on


@pytest.mark.parametrize("at", ["finish", "report", "on_evaluate"])
def test_an_interrupted_trial_ends_as_if_it_had_not_been(at, tmp_path, monkeypatch):
    whole = sweep(tmp_path / "whole", 1)
    owner = train.Recorder if at == "on_evaluate" else sweep_folder.ClaimedTrial
    calls, original = 0, getattr(owner, at)

    def interrupted(self, *arguments):
        nonlocal calls
        calls += 1
        if calls == (1 if at == "finish" else 2):
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, at, interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep(tmp_path / "s", 1)
    resumed = sweep(tmp_path / "s", 1)
    assert [(t.values, t.loss) for t in resumed.trials] == [(t.values, t.loss) for t in whole.trials]
    assert weights(resumed.run(0)) == weights(whole.run(0))
    assert told(resumed.journal) == {0: 1}


def test_an_unpromising_trial_is_stopped_at_its_second_evaluation(tmp_path, monkeypatch):
    pretend_good_trials(tmp_path / "s")
    with monkeypatch.context() as patch:  # killed when it was stopped, and the journal not told
        patch.setattr(sweep_folder.ClaimedTrial, "stop", lambda self: sys.exit("killed"))
        with pytest.raises(SystemExit):
            sweep(tmp_path / "s", 6)
    for _ in range(2):
        trial = sweep(tmp_path / "s", 6).trials[5]
        assert trial.outcome == "stopped"
        assert trial.run.checkpoints.steps()[-1] == 2 * EVERY
        assert trial.loss == min(row["held_out_loss"] for row in trial.run.rows())
    pretend_good_trials(tmp_path / "patient")
    assert sweep(tmp_path / "patient", 6, stop_early=False).trials[5].outcome == "finished"


def test_the_first_evaluation_stops_none_and_neither_do_few_trials(tmp_path):
    pretend_good_trials(tmp_path / "five")
    pretend_good_trials(tmp_path / "four", 4)
    for name, expected in (("five", [False, True]), ("four", [False, False])):
        trial = claim(SweepFolder(tmp_path / name), pruner=make_pruner(True))
        got = []
        for evaluation in (1, 2):
            trial.report(evaluation, 2.0)
            got.append(trial.is_unpromising(evaluation))
        assert got == expected


def test_a_trial_that_diverges(tmp_path):
    def make(values):
        trainer = make_trainer(values)
        if values["lr"] > 0.5:
            next(trainer.model.parameters()).data.fill_(float("nan"))
        return trainer

    found = train.sweep(make, {"lr": {"choice": [0.01, 1.0]}}, tmp_path / "s", trials=6, sampler="random")
    outcomes = {trial.values["lr"]: (trial.outcome, trial.reason) for trial in found.trials}
    assert outcomes[0.01] == ("finished", None)
    assert outcomes[1.0][0] == "diverged"
    assert "nan" in outcomes[1.0][1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {}}, "space: expected at least one name"),
        ({"space": {"lr": [1, 2]}}, r"space: lr: expected one of {log: \[low, high\]}"),
        ({"space": {"lr": {"integer": [1, 2.5]}}}, "space: lr: integer: expected whole numbers"),
        ({"space": {"lr": {"linear": [0, float("inf")]}}}, "space: lr: linear: expected finite numbers"),
        ({"space": {"lr": {"linear": [0, 1, 2]}}}, "space: lr: linear: expected two numbers"),
        (
            {"space": {"lr": {"log_integer": [0, 3]}}},
            "space: lr: a logarithmic range of integers begins at 1",
        ),
        ({"space": {"lr": {"choice": [(1, 2)]}}}, "space: lr: choice: expected numbers, texts"),
        ({"space": {3: {"choice": [1]}}}, "space: expected names, got int: 3"),
        ({"trials": 0}, "trials: expected at least 1, got 0"),
        ({"sampler": "grid"}, "sampler: expected 'tpe' or 'random', got 'grid'"),
        ({"make_trainer": 3}, "make_trainer: expected a function, got int"),
    ],
)
def test_wrong_arguments(change, message, tmp_path):
    arguments = {"make_trainer": make_trainer, "space": SPACE, "folder": tmp_path / "s", "trials": 1} | change
    with pytest.raises((TypeError, ValueError), match=message):
        train.sweep(**arguments)
    assert not (tmp_path / "s").exists()


def test_wrong_trainers(tmp_path):
    space = {"lr": {"choice": [0.1]}}

    def without(values):
        trainer = make_trainer(values)
        trainer.held_out = None
        return trainer

    with pytest.raises(ValueError, match="give the trainer held_out"):
        train.sweep(without, space, tmp_path / "s", trials=1)
    with pytest.raises(TypeError, match="what make_trainer returns: expected Trainer, got NoneType"):
        train.sweep(lambda values: None, space, tmp_path / "s", trials=1)
    assert train.sweep(make_trainer, space, tmp_path / "s", trials=1).best.number == 0  # mended: it goes on


# ------------------------------------------------------------------------------------------------ Student's t


def test_quantiles_of_students_t():
    # Abramowitz and Stegun, table 26.10
    for degrees, expected in {
        1: 12.706,
        2: 4.303,
        3: 3.182,
        4: 2.776,
        9: 2.262,
        30: 2.042,
        120: 1.980,
    }.items():
        assert round(quantile(0.975, degrees), 3) == expected
    assert quantile(0.5, 7) == 0
    stats = pytest.importorskip("scipy.stats", reason="the oracle of other degrees comes with scikit-learn")
    for degrees in range(1, 40):
        assert_close(quantile(0.995, degrees), float(stats.t.ppf(0.995, degrees)), rtol=1e-12)
    values = np.random.default_rng(0).standard_normal(7)
    low, high = stats.t.interval(0.95, 6, values.mean(), values.std(ddof=1) / 7**0.5)
    expected = [values.mean(), values.std(ddof=1), low, high]
    assert_close(np.array(spread_of(list(values))), expected, rtol=1e-12)
