"""What SIGINT and SIGTERM do to ``rondeau train``, by signals that the tests raise themselves."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from rondeau.train import cli
from rondeau.train._interruption import Interruption, Signals
from rondeau.train._progress import INTERRUPTED


class Trainer(SimpleNamespace):
    def __init__(self):
        super().__init__(step=7, stopped_by=None)

    def stop(self, reason):
        self.stopped_by = reason


@pytest.fixture(params=[(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def number_and_status(request):
    return request.param


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
                signal.raise_signal(number)
        trainer.stopped_by = None
        with pytest.raises(Interruption):
            signal.raise_signal(number)


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
