"""What SIGINT, SIGTERM and SIGUSR1 do to ``rondeau train``, by signals that the tests raise themselves."""

import signal
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest

from rondeau.train import _interruption, cli
from rondeau.train._interruption import INTERRUPTED, Interruption, Signals


class Trainer(SimpleNamespace):
    def __init__(self):
        super().__init__(step=7, stopped_by=None)

    def stop(self, reason):
        self.stopped_by = reason


NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


@pytest.fixture(params=NAMES)
def number_and_status(request):
    number = getattr(signal, request.param)
    return number, 128 + number


needs_usr1 = pytest.mark.skipif("SIGUSR1" not in NAMES, reason="this system has no SIGUSR1")


def test_outside_training_the_command_ends_at_once(number_and_status):
    number, status = number_and_status
    signals = Signals()
    before = signal.getsignal(number)
    with signals.handled():
        with pytest.raises(Interruption, match=r"^interrupted$") as raised:
            signal.raise_signal(number)
        assert raised.value.status == signals.status == status
        signals.remedy = "continue with: rondeau train --resume RUN"
        with pytest.raises(Interruption, match=r"^interrupted; continue with: rondeau train --resume RUN$"):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_training_ends_at_once_before_its_first_step_and_after_the_present_one_from_then_on(
    number_and_status,
):
    number, status = number_and_status
    signals, trainer = Signals(), Trainer()
    with signals.handled():
        with signals.finishing_steps(trainer):
            with pytest.raises(Interruption):
                signal.raise_signal(number)
            assert trainer.stopped_by is None
            trainer.step += 1
            signal.raise_signal(number)
            assert trainer.stopped_by == INTERRUPTED
            assert signals.status == status
            with pytest.raises(Interruption):
                signal.raise_signal(signal.SIGINT)
        signal.raise_signal(number)  # what it asks for is done


def test_signals_between_trainings_end_the_command_at_once(number_and_status):
    signals, trainer = Signals(), Trainer()
    with signals.handled():
        with signals.finishing_steps(trainer):
            trainer.stopped_by = "9 steps are done"
        with pytest.raises(Interruption):
            signal.raise_signal(number_and_status[0])


@needs_usr1
def test_a_second_sigusr1_asks_for_no_more_than_the_first():
    signals, trainer = Signals(), Trainer()
    with signals.handled(), signals.finishing_steps(trainer):
        trainer.step += 1
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert trainer.stopped_by == INTERRUPTED
        with pytest.raises(Interruption) as raised:
            signal.raise_signal(signal.SIGTERM)
        assert raised.value.status == 143


def test_a_step_that_was_to_be_finished_and_was_not_is_not_made_again(number_and_status):
    number, status = number_and_status
    signals, trainer = Signals(), Trainer()
    with signals.handled():
        with suppress(ZeroDivisionError), signals.finishing_steps(trainer):
            trainer.step += 1
            signal.raise_signal(number)
            raise ZeroDivisionError  # as where a rank is lost, and the others begin again without it
        with pytest.raises(Interruption) as raised, signals.finishing_steps(Trainer()):
            pass
        assert raised.value.status == status


@needs_usr1
def test_under_open_mpi_a_step_is_given_up_a_moment_after_sigterm_and_not_when_the_run_has_ended(monkeypatch):
    monkeypatch.setenv("PRTE_LAUNCHED", "1")
    monkeypatch.setattr(_interruption, "_BEFORE_KILL", 1000.0)
    signals, trainer = Signals(), Trainer()
    signals.follow_launcher()
    before = signal.getsignal(signal.SIGALRM)
    with signals.handled(), signals.finishing_steps(trainer):
        trainer.step += 1
        signal.raise_signal(signal.SIGTERM)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000.0
        with pytest.raises(Interruption) as raised:
            signal.raise_signal(signal.SIGALRM)  # as the timer would
        assert raised.value.status == 143
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) is before


def test_the_command_says_it_in_one_line(number_and_status, monkeypatch, capsys):
    number, status = number_and_status
    from rondeau.train import _corpora

    monkeypatch.setattr(_corpora, "load_corpus", lambda name: signal.raise_signal(number))
    assert cli.main(["train"]) == status
    captured = capsys.readouterr()
    assert captured.err == "rondeau train: interrupted\n"
    assert captured.out == ""


def test_ctrl_c_in_another_command(monkeypatch, capsys):
    from rondeau.train._commands import corpus

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "run", interrupted)
    assert cli.main(["corpus"]) == 130
    assert capsys.readouterr().err == "rondeau corpus: interrupted\n"


LOADED_AFTER_THE_FIRST_STEP = """
import sys
from rondeau.kernels.runtime.cache import DiskCache
from rondeau.train import Recorder, cli
loaded, is_training = [], False
def load(cache, signature, context, load=DiskCache.load_overload):
    if is_training:
        loaded.append(cache._name)
    return load(cache, signature, context)
def on_step(recorder, trainer, on_step=Recorder.on_step):
    global is_training
    on_step(recorder, trainer)
    is_training = True
def on_end(recorder, trainer, on_end=Recorder.on_end):
    global is_training
    is_training = False
    on_end(recorder, trainer)
DiskCache.load_overload, Recorder.on_step, Recorder.on_end = load, on_step, on_end
status = cli.main(["train", *sys.argv[1:]])
print("loaded:", loaded, file=sys.stderr)
raise SystemExit(status)
"""


def test_what_evaluations_and_samples_run_is_compiled_before_there_are_steps_to_lose(tmp_path):
    (tmp_path / "corpus.txt").write_text("a rose is a rose is a rose. " * 40)
    options = ["--hidden_size=8", "--batch_size=4", "--num_steps=8", "--max_steps=4", "--evaluate_every=2"]
    run = subprocess.run(
        [sys.executable, "-c", LOADED_AFTER_THE_FIRST_STEP, "corpus.txt", *options, "--output=run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.splitlines()[-1] == "loaded: []"
