"""`rondeau sweep`: what the command trains, says and refuses, and what is kept of it after a kill."""

import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the extra sweep")


from rondeau.train import SweepFolder, cli
from rondeau.train._sweep.configuration import read_sweep_config
from rondeau.train._sweep.reporting import Reporting
from rondeau.train._sweep.student import spread_of
from rondeau.train._usage_error import UsageError

from .sweeping import pretend_good_trials, told, weights

needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


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
