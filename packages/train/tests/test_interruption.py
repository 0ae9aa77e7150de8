"""What SIGINT and SIGTERM do to ``rondeau train``, by signals that the tests raise themselves."""

import signal
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
    from rondeau.train import _corpus

    monkeypatch.setattr(_corpus, "load_corpus", lambda name: signal.raise_signal(number))
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
