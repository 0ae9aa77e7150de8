"""Sweeps: what is drawn, who trains it, what is kept of it after a kill, and what comes out."""

import json
import math
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optuna", reason="needs the extra sweep")

from optuna.pruners import NopPruner
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._base import BaseJournalSnapshot

from comparing import assert_close
from rondeau import data, nn, train
from rondeau.train import RunError, SweepFolder, cli
from rondeau.train._sweep import folder as sweep_folder
from rondeau.train._sweep.configuration import read_sweep_config
from rondeau.train._sweep.reporting import Reporting
from rondeau.train._sweep.sampling import SeededSampler
from rondeau.train._sweep.shared_lock import SharedLock
from rondeau.train._sweep.space import parse_space
from rondeau.train._sweep.student import quantile, spread_of
from rondeau.train._sweep.sweep import make_pruner
from rondeau.train._usage_error import UsageError

needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

SPACE = {"lr": {"log": [1e-3, 1e-1]}, "hidden": {"integer": [2, 4]}, "cell": {"choice": ["gru", "rnn"]}}
TOKENS = data.TokenStream([0, 1, 2, 1] * 30)
EVERY = 5


def make_trainer(values, steps=15):
    model = nn.LanguageModel(3, "gru", hidden_size=4)
    optimizer = train.optim.Adam(model.parameters(), lr=values["lr"])
    batches = data.SequentialBatches(TOKENS, 2, 5)
    return train.Trainer(model, optimizer, batches, held_out=TOKENS, max_steps=steps, evaluate_every=EVERY)


def sweep(folder, trials=3, **options):
    return train.sweep(make_trainer, {"lr": {"log": [1e-3, 1e-1]}}, folder, trials=trials, **options)


def begin(folder, space=SPACE):
    return SweepFolder.begin(folder, parse_space(space), {"seed": 0})


def claim(sweep, most=10, kind="random", pruner=None):
    return sweep.claim(most, SeededSampler(kind, 0), pruner or NopPruner())


def told(journal):
    """How often the end of each trial was written in a journal."""
    lines = map(json.loads, journal.read_text().splitlines())
    ends = [line["trial_id"] for line in lines if line["op_code"] == 6]
    return {number: ends.count(number) for number in ends}


def weights(run):
    return {name: array.tobytes() for name, array in run.load_checkpoint().arrays["weights"].items()}


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


def pretend_good_trials(folder, count=5):
    """Write in a journal what better trials than any would have come to."""
    sweep = SweepFolder.begin(folder, parse_space({"lr": {"log": [1e-3, 1e-1]}}), {"seed": 0})
    for _ in range(count):
        with claim(sweep) as trial:
            for evaluation in (1, 2, 3):
                trial.report(evaluation, 1e-6)
            trial.finish(1e-6)


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


# ------------------------------------------------------------------------------------------------ the command

SMALL = "hidden_size: 4\nbatch_size: 2\nnum_steps: 8\nmax_steps: 12\nevaluate_every: 4\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = random.Random(0)
    words = ["to", "be", "or", "not", "that", "is", "the", "question", "\n"]
    path = tmp_path_factory.mktemp("corpus") / "hamlet.txt"
    path.write_text(" ".join(rng.choice(words) for _ in range(200)), encoding="utf-8")
    return path


@pytest.fixture
def config(corpus, tmp_path):
    """Write a configuration, with the space that is given."""

    def write(space, more=SMALL):
        path = tmp_path / "mine.yaml"
        path.write_text(f"corpus: {corpus}\noutput: {tmp_path / 'sweep'}\n{more}{space}\n", encoding="utf-8")
        return str(path)

    return write


def test_the_command_trains_reports_and_goes_on(config, tmp_path, capsys):
    path = config("lr: {log: [1e-3, 1e-1]}\ndropout: {linear: [0, 0.5]}")
    assert cli.main(["sweep", path, "--trials", "2"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "trial 1 begins: lr 0." in said
    assert f"{tmp_path / 'sweep'}: 2 trials: 2 trained to the end\n" in said
    found = SweepFolder(tmp_path / "sweep")
    assert f"best: trial {found.best.number}, {found.best.run.path}\n" in said
    for trial in found.trials:
        config_of_trial = trial.run.config.read_text(encoding="utf-8")
        assert f"lr: {trial.values['lr']!r}\n" in config_of_trial
        assert "held out, with the weights of step" in (trial.run.path / "output.txt").read_text(
            encoding="utf-8"
        )
    assert cli.main(["sweep", path, "--trials=3", "--no_report", "--stop_early=false"]) == 0
    assert capsys.readouterr().out.count("begins") == 1
    for what in (path, str(tmp_path / "sweep")):
        assert cli.main(["sweep", what, "--report"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{tmp_path / 'sweep'}: 3 trials: 3 trained to the end"
        assert lines[1].split() == ["trial", "held-out", "loss", "lr", "dropout"]
        losses = [float(line.split()[1]) for line in lines[2:5]]
        assert losses == sorted(losses)
        assert lines[5].startswith(
            "importance for the best tenth of 3 trials (PED-ANOVA; rough where these are few)"
        )
    for name in ("history.png", "importance.png"):
        assert (tmp_path / "sweep" / name).read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_report_says_so(config, tmp_path, capsys, monkeypatch):
    pretend_good_trials(tmp_path / "s")
    monkeypatch.setattr("rondeau.train._sweep.report.can_plot", lambda: False)
    assert cli.main(["sweep", str(tmp_path / "s"), "--report"]) == 0
    assert "plots: not drawn, since matplotlib is missing; " in capsys.readouterr().out


def test_values_that_do_not_go_together_and_values_that_diverge(config, tmp_path, capsys):
    path = config(
        "optimizer: {choice: [sgd, adam]}\nlr: {choice: [1.0e+30, 0.01]}",
        SMALL.replace("12", "4") + "momentum: 0.5\nclip_norm: null\n",
    )
    assert cli.main(["sweep", path, "--trials=6", "--sampler=random"]) == 0
    said = capsys.readouterr().out
    outcomes = {
        (trial.values["optimizer"], trial.values["lr"]): trial
        for trial in SweepFolder(tmp_path / "sweep").trials
    }
    assert {trial.outcome for (name, _), trial in outcomes.items() if name == "adam"} == {"failed"}
    assert outcomes["sgd", 1e30].outcome == "diverged"
    assert outcomes["sgd", 0.01].outcome == "finished"
    assert "failed: --momentum: goes with --optimizer sgd or rmsprop, got --optimizer adam" in said


def test_seeds_of_one_configuration(config, tmp_path, capsys):
    path = config("lr: 0.02\nseed: 7")
    assert cli.main(["sweep", path, "--seeds=2", "--processes=2"]) == 0, capsys.readouterr().err
    found = SweepFolder(tmp_path / "sweep-seeds")
    assert [trial.values["seed"] for trial in found.trials] == [7, 8]
    spread = spread_of([trial.loss for trial in found.trials])
    assert len({trial.loss for trial in found.trials}) == 2
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"held-out loss of 2 seeds: mean {spread.mean:.4f}, standard deviation {spread.deviation:.4f}, 95 % confidence "
        f"interval of the mean {spread.low:.4f} to {spread.high:.4f} (Student's t, 1 degree of freedom)"
    )
    assert cli.main(["sweep", path, "--report"]) == 0
    assert "held-out loss of 2 seeds" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("false") is None, reason="no command `false` here")
def test_processes_that_end_with_an_error(config, capsys, monkeypatch):
    path = config("lr: {choice: [0.01]}")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert cli.main(["sweep", path, "--trials=2", "--processes=2", "--no_report"]) == 1
    *children, last = capsys.readouterr().err.splitlines()
    assert len(children) == 2
    assert all(re.fullmatch(r"rondeau sweep: process \d+ ended with status 1", line) for line in children)
    assert (
        last == "rondeau sweep: 2 trials did not end; what was trained is kept, and the same command goes on"
    )


def test_values_that_yaml_writes_in_its_own_way(config):
    path = config(
        "clip_norm: {choice: [.inf, null, 1]}\ntie_weights: {choice: [true, no]}\nlr: {choice: [1e-4, '1e-3']}"
    )
    read = read_sweep_config(Path(path))
    assert read.space["clip_norm"].values == (math.inf, None, 1.0)
    assert read.space["tie_weights"].values == (True, False)
    assert read.space["lr"].values == (1e-4, 1e-3)
    for values in ({"clip_norm": math.inf}, {"clip_norm": None}, {"tie_weights": True}, {"lr": 1.5e-7}):
        run = read.run(values)
        ((name, value),) = values.items()
        assert getattr(run.model if hasattr(run.model, name) else run.training, name) == value


@needs_signals
def test_a_signal_ends_it_and_the_same_command_goes_on(config, tmp_path, capsys, monkeypatch):
    path = config("lr: {choice: [0.01, 0.02]}")

    def signalled(self, trainer, evaluation):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Reporting, "on_evaluate", signalled)
        assert cli.main(["sweep", path, "--trials=1"]) == 143
    said = capsys.readouterr().err
    assert said == "rondeau sweep: interrupted; what was trained is kept, and the same command goes on\n"
    (trial,) = SweepFolder(tmp_path / "sweep").trials
    assert (trial.outcome, trial.run.checkpoints.steps()) == ("unfinished", [0, 4])
    assert cli.main(["sweep", path, "--trials=1"]) == 0
    assert "trial 0 goes on: lr 0.0" in capsys.readouterr().out


def test_what_is_wrong_with_the_surroundings_fails_no_trial(config, corpus, tmp_path, capsys, monkeypatch):
    path = config("lr: {choice: [0.01, 0.02]}", SMALL + "log: tensorboard\n")
    with monkeypatch.context() as patch:
        patch.setattr("rondeau.train._tensorboard.importlib.util.find_spec", lambda name: None)
        assert cli.main(["sweep", path, "--trials=1"]) == 2
    assert "--log: TensorBoard needs the package tensorboardX" in capsys.readouterr().err
    path = config("lr: {choice: [0.01, 0.02]}")
    elsewhere, content = tmp_path / "elsewhere.txt", corpus.read_bytes()

    def lose(self, trainer):
        corpus.unlink()
        raise UsageError("cannot read it any more")

    with monkeypatch.context() as patch:
        patch.setattr(Reporting, "on_begin", lose)
        assert cli.main(["sweep", path, "--trials=1"]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert [trial.outcome for trial in SweepFolder(tmp_path / "sweep").trials] == ["unfinished"]
    # Another machine has the text at another path.
    elsewhere.write_bytes(content)
    (tmp_path / "mine.yaml").write_text(
        (tmp_path / "mine.yaml").read_text().replace(str(corpus), str(elsewhere))
    )
    assert cli.main(["sweep", path, "--trials=1"]) == 0, capsys.readouterr().err
    elsewhere.write_bytes(content + b"more")
    assert cli.main(["sweep", path, "--trials=2"]) == 2
    assert "holds a sweep with another corpus: was {'characters': " in capsys.readouterr().err
    corpus.write_bytes(content)


def test_jobs_of_submitit_take_part(config, tmp_path):
    submitit = pytest.importorskip("submitit", reason="needs the package submitit")
    path = config("lr: {log: [1e-3, 1e-1]}")
    executor = submitit.LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=10)
    job = executor.submit(cli.main, ["sweep", path, "--trials=2", "--no_report"])
    assert job.result() == 0, job.stderr()
    assert [trial.outcome for trial in SweepFolder(tmp_path / "sweep").trials] == ["finished"] * 2


WRONG = {
    "lr: {lag: [0, 1]}": "line 8: lr: expected one of {log: [low, high]}, {linear: ...}, {integer: ...}, "
    "{log_integer: ...}, {choice: [...]}, got lag",
    "lr: {log: [0, 1]}": "line 8: lr: a logarithmic range begins above 0, got 0",
    "lr: [0.1, 0.2]": "line 8: lr: expected one value, a range such as {log: [1e-4, 1e-2]}, or {choice: [...]}, "
    "got a list",
    "learning_rate: {log: [1e-3, 0.1]}": "line 8: there is no option 'learning_rate'; did you mean lr?",
    "lr: {log: 3}": "line 8: lr: expected {kind: [value, ...]}, such as {log: [1e-4, 1e-2]}",
    "lr: !!python/name:os {log: [1, 2]}": "line 8: lr: expected {kind: [value, ...]}, such as {log: [1e-4, 1e-2]}",
    "lr: {log: [1e-2, 1e-3]}": "line 8: lr: log: expected the lowest number first, got 0.01 and 0.001",
    "lr: {log: [1, 2], log: [1, 2]}": "line 8: lr: log is there twice",
    "lr: {integer: [1, 2]}": "line 8: lr: integer: this option takes a range that is linear or log",
    "num_layers: {log: [1, 2]}": "line 8: num_layers: log: this option takes a range that is integer or log_integer",
    "dropout: {linear: [0, 1.5]}": "line 8: dropout: expected a probability from 0 to 1, got 1.5",
    "optimizer: {choice: [adam, adamx]}": "line 8: optimizer: expected adam, adamw, sgd, rmsprop or adagrad, got adamx",
    "seed: {integer: [0, 3]}": "line 8: seed: expected one value for all trials, since --seeds trains several",
    "tokens: {choice: [words, bpe]}": "line 8: tokens: expected one value for all trials, since its losses could not "
    "be compared",
    "lr: {choice: [0.1, 1.0]}\nmomentum: -3": "line 9: momentum: expected a finite number >= 0, got -3.0",
    "lr: {choice: [0.1]}\nhiden: 3": "line 9: there is no option 'hiden'",
}


@pytest.mark.parametrize("space", WRONG)
def test_what_is_no_space_is_told_in_a_line_that_names_the_key(space, config, tmp_path, capsys):
    path = config(space)
    assert cli.main(["sweep", path, "--trials", "1"]) == 2
    assert capsys.readouterr().err == f"rondeau sweep: {path}, {WRONG[space]}\n"
    assert not (tmp_path / "sweep").exists()


def test_wrong_command_lines(config, tmp_path, capsys, monkeypatch):
    def said(*arguments):
        assert cli.main(["sweep", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("rondeau sweep: ")

    assert said("--trials=3").startswith("CONFIG is missing: a YAML file of options, as `")
    assert said("nowhere.yaml", "--trials=3").startswith("cannot read the options: nowhere.yaml: ")
    path = config("cell: {choice: [gru, gruu]}")
    assert said(path, "--trials=1").startswith(f"{path}, line 8: cell: expected one of rnn, ")
    path = config("lr: {choice: [0.1]}\nheld_out: 0")
    assert said(path, "--trials=1") == (
        f"{path}: held_out: a sweep compares held-out losses; give a fraction above 0"
    )
    path = config("lr: {choice: [0.1]}")
    assert said(path) == "expected one of --trials N, --seeds N and --report, got none of them"
    assert said(path, "--trials=1", "--report").endswith("got --trials, --report")
    assert said(path, "--trials=0").startswith("--trials: expected a whole number from 1 to ")
    assert said(path, "--seeds=2").endswith("has several for lr; give the config.yaml of a trial")
    assert said(path, "--report") == f"{tmp_path / 'sweep'} is not a sweep: it has no journal.log"
    path = config("lr: 0.1")
    assert said(path, "--trials=1").startswith(
        f"{path}: expected at least one option with a range or a choice"
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in [name for name in sys.modules if name.startswith("rondeau.train._sweep")]:
        monkeypatch.delitem(sys.modules, name)
    assert said(path, "--trials=1").startswith("a sweep needs the package optuna; in the clone of rondeau: ")


# ------------------------------------------------------------------------------------------------------ kills

# Runs the command, and kills its own process at a moment that the first argument names: "calls:N" before the Nth call
# of any method of the classes that train, record, share and tell, or of fsync and replace; "cut:N" when half of the Nth
# line of the journal is written.
CHILD = """
import functools, os, signal, sys
from rondeau.train import CheckpointFolder, Recorder, RunFolder, SweepFolder, Trainer, cli
from rondeau.train._sweep import folder, journal, reporting, shared_lock

moment, number = sys.argv[1].split(":")
number, seen = int(number), {"calls": 0, "cut": 0}

def reached(kind):
    seen[kind] += 1
    return kind == moment and seen[kind] == number

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def watched(function):
    @functools.wraps(function)
    def call(*arguments, **options):
        if reached("calls"):
            kill()
        return function(*arguments, **options)
    return call

append_logs = journal.Journal.append_logs

def append_or_cut(self, logs):
    if reached("cut"):
        with self._shared_lock.held(), self._path.open("ab") as file:
            file.write(b'{"op_code":7,"worker_id":"cut')
            file.flush()
            kill()
    append_logs(self, logs)

journal.Journal.append_logs = append_or_cut
os.fsync, os.replace = watched(os.fsync), watched(os.replace)
for kind in (Trainer, Recorder, RunFolder, CheckpointFolder, SweepFolder, folder.ClaimedTrial, journal.Journal,
             reporting.Reporting, shared_lock.SharedLock):
    for name, member in list(vars(kind).items()):
        if type(member) is type(watched):
            setattr(kind, name, watched(member))
status = cli.main(sys.argv[2:])
if moment == "count":
    print("calls:", seen["calls"], seen["cut"])
raise SystemExit(status)
"""


def start(moment, path, trials, output):
    command = [sys.executable, "-c", CHILD, moment, "sweep", path, f"--trials={trials}", f"--output={output}"]
    options = ["--sampler=random", "--stop_early=false", "--no_report", "--threads=1"]
    environment = os.environ | {"MPLBACKEND": "agg"}
    return subprocess.Popen(
        command + options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def assert_as_if_undisturbed(killed, whole):
    assert [(t.number, t.values, t.outcome, t.loss) for t in killed.trials] == [
        (t.number, t.values, t.outcome, t.loss) for t in whole.trials
    ]
    assert set(told(killed.journal).values()) == {1}, "a trial ended twice"
    names = [trial.run.path.name for trial in whole.trials]
    assert sorted(path.name for path in (killed.path / "trials").iterdir()) == names
    for trial in whole.trials:
        assert weights(killed.run(trial.number)) == weights(trial.run)


@needs_signals
def test_two_kills_lose_nothing(config, tmp_path, capsys):
    path = config("lr: {log: [1e-3, 1e-1]}\ndropout: {linear: [0, 0.5]}")
    options = ["--sampler=random", "--stop_early=false", "--no_report"]
    for moment in (
        "cut:7",
        "cut:6",
    ):  # the second evaluation of the first trial, the second draw of the other one
        child = start(moment, path, 2, tmp_path / "killed")
        _, said = child.communicate()
        assert child.returncode == -signal.SIGKILL, said
    for name in ("whole", "killed"):
        assert cli.main(["sweep", path, "--trials=2", f"--output={tmp_path / name}", *options]) == 0
    assert (
        capsys.readouterr().out.count("goes on") == 0
    )  # the second trial had not begun, the first had ended
    assert_as_if_undisturbed(SweepFolder(tmp_path / "killed"), SweepFolder(tmp_path / "whole"))


@pytest.mark.long
@needs_signals
def test_ten_kills_of_two_processes_at_once_lose_nothing(config, tmp_path, capsys):
    path = config("lr: {log: [1e-3, 1e-1]}\ndropout: {linear: [0, 0.5]}")
    counting = start("count:0", path, 8, tmp_path / "whole")
    said, _ = counting.communicate()
    calls, lines = map(int, said.rsplit("calls:", 1)[1].split())
    rng, kills = random.Random(0), 0
    while kills < 10:
        moments = [f"calls:{rng.randrange(1, calls // 10)}", f"cut:{rng.randrange(1, lines // 10)}"]
        children = [start(moment, path, 8, tmp_path / "killed") for moment in moments]
        for child in children:
            _, said = child.communicate()
            assert child.returncode == -signal.SIGKILL, said
            kills += 1
    options = ["--sampler=random", "--stop_early=false", "--no_report"]
    assert cli.main(["sweep", path, "--trials=8", f"--output={tmp_path / 'killed'}", *options]) == 0
    killed, whole = SweepFolder(tmp_path / "killed"), SweepFolder(tmp_path / "whole")
    assert_as_if_undisturbed(killed, whole)
    for trial in killed.trials:
        steps = [row["step"] for row in trial.run.rows()]
        assert steps == sorted(set(steps))
