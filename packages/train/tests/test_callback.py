"""Hooks: when they are called, and names that are none."""

import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import RandomBatches, SequentialBatches, TokenStream
from rondeau.train import Callback, History, Trainer, optim

STREAM = TokenStream(np.random.default_rng(0).integers(0, 5, 100), 5)


def make(sampler=SequentialBatches, **options):
    rt.manual_seed(0)
    model = nn.LanguageModel(5, "gru", 4)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return Trainer(model, optimizer, sampler(STREAM, 3, 7, seed=1), **({"max_epochs": 2} | options))


class Told(Callback):
    """Keeps what it is told, with the epochs and steps that are done."""

    def __init__(self):
        self.events = []

    def tell(self, what, trainer):
        self.events.append((what, trainer.epoch, trainer.step))

    def on_begin(self, trainer):
        self.tell("begin", trainer)

    def on_begin_epoch(self, trainer):
        self.tell("begin_epoch", trainer)

    def on_row(self, trainer, row):
        self.tell("row", trainer)

    def on_evaluate(self, trainer, evaluation):
        self.tell("evaluate", trainer)

    def on_end_epoch(self, trainer):
        self.tell("end_epoch", trainer)

    def on_step(self, trainer):
        self.tell("step", trainer)

    def on_end(self, trainer):
        self.tell("end", trainer)


@pytest.mark.parametrize("sampler", [SequentialBatches, RandomBatches])
def test_the_order_of_all_hooks(sampler):
    told = Told()
    trainer = make(sampler, held_out=STREAM, callbacks=[told])
    steps = len(trainer.batches)
    trainer.fit()
    expected = [("begin", 0, 0)]
    for epoch in range(2):
        first = epoch * steps
        expected.append(("begin_epoch", epoch, first))
        expected += [("step", epoch, first + step) for step in range(1, steps)]
        last = (epoch + 1, first + steps)
        expected += [("row", *last), ("evaluate", *last), ("end_epoch", *last), ("step", *last)]
    assert told.events == [*expected, ("end", 2, 2 * steps)]


@pytest.mark.parametrize("stop_at", [1, 3, 4, 5, 8])
def test_an_epoch_that_is_continued_does_not_begin_again(stop_at):
    """Stopped and restored anywhere, the hooks of epochs are called as often as in one go."""

    class StopAt(Callback):
        def on_step(self, trainer):
            if trainer.step == stop_at:
                trainer.stop("stopped")

    epochs = lambda told: [event for event in told.events if event[0].endswith("epoch")]  # noqa: E731
    whole, first, second = Told(), Told(), Told()
    make(callbacks=[whole]).fit()
    stopped = make(callbacks=[first, StopAt()])
    assert len(stopped.batches) == 4
    stopped.fit()
    resumed = make(callbacks=[second])
    resumed.restore(stopped.snapshot())
    resumed.fit()
    assert epochs(first) + epochs(second) == epochs(whole)


def test_an_error_is_told_and_raised_again():
    class Fails(Callback):
        def on_step(self, trainer):
            if trainer.step == 2:
                raise ZeroDivisionError("mine")

    class Ends(Told):
        def on_error(self, trainer, error):
            self.events.append((repr(error), trainer.step))

    ends = Ends()
    with pytest.raises(ZeroDivisionError, match="mine"):
        make(callbacks=[Fails(), ends]).fit()
    assert ends.events[-1] == ("ZeroDivisionError('mine')", 2)
    assert "end" not in [event[0] for event in ends.events]


def test_what_the_end_of_an_epoch_changes_is_restored():
    """A rate that is set there is in what `on_step` would write."""

    class Halves(Callback):
        def on_end_epoch(self, trainer):
            trainer.optimizer.param_groups[0]["lr"] /= 2

    class KeepsEpochs(Callback):
        def __init__(self):
            self.kept = []

        def on_step(self, trainer):
            if trainer.step % len(trainer.batches) == 0:
                self.kept.append(trainer.snapshot().state["optimizer"]["param_groups"][0]["lr"])

    keeper = KeepsEpochs()
    make(callbacks=[keeper, Halves()]).fit()
    assert keeper.kept == [0.05, 0.025]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("on_epoch_end", "on_end_epoch"),
        ("on_epoch_begin", "on_begin_epoch"),
        ("on_train_epoch_end", "on_end_epoch"),
        ("on_epoch_start", "on_begin_epoch"),
        ("on_train_begin", "on_begin"),
        ("on_train_end", "on_end"),
        ("on_batch_end", "on_step"),
        ("on_validation_end", "on_evaluate"),
        ("on_log", "on_row"),
        ("on_stpe", "on_step"),
        ("onstep", "on_step"),
        ("On_Step", "on_step"),
        ("on_evalute", "on_evaluate"),
        ("end_on", "on_end"),
    ],
)
def test_a_hook_that_nothing_calls_is_refused_with_the_nearest(name, nearest):
    message = (
        f"{name}, which no trainer calls; did you mean {nearest}[?] The hooks are on_begin, on_begin_epoch,"
    )
    with pytest.raises(TypeError, match=f"^Mine has {message}"):
        type("Mine", (Callback,), {name: lambda self, trainer: None})
    history = History()
    setattr(history, name, print)
    with pytest.raises(TypeError, match=rf"^callbacks\[0\], History has {message}"):
        make(callbacks=[history])
    foreign = type("Foreign", (), {name: lambda self, trainer: None})
    with pytest.raises(TypeError, match=f"^Both has {message}"):
        type("Both", (History, foreign), {})


def test_other_methods_and_attributes_are_free():
    class Mine(Callback):
        only = "an attribute"
        on_disk = True

        def __init__(self):
            self.on_screen = []

        def evaluate(self):
            raise AssertionError("not called")

        step = end_epoch = begin = end = reset = after_epoch = _on_anything = evaluate

        @property
        def row(self):
            raise AssertionError("not asked for")

        @classmethod
        def on_end(cls, *arguments):
            cls.only = "ended"

    make(max_epochs=1, callbacks=[Mine()]).fit()
    assert Mine.only == "ended"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"on_row": lambda self, row: None}, r"calls on_row\(trainer, row\), but Mine has on_row\(row\)"),
        (
            {"on_step": lambda self, trainer, epoch: None},
            r"on_step\(trainer\), but Mine has on_step\(trainer, epoch\)",
        ),
        ({"on_end": None}, "Mine.on_end must be a method, got None"),
        (
            {"after_epoch": lambda self: None},
            "Mine has none of the hooks that a trainer calls: on_begin",
        ),
    ],
)
def test_a_hook_that_cannot_be_called_is_refused(members, message):
    with pytest.raises(TypeError, match=rf"^callbacks\[1\]: .*{message}"):
        make(callbacks=[Told(), type("Mine", (Callback,), members)()])


def test_a_hook_may_take_more_than_it_is_given():
    class Mine(Callback):
        def on_row(self, *arguments, verbose=False):
            self.row = arguments[1]

    mine = Mine()
    make(max_epochs=1, callbacks=[mine]).fit()
    assert mine.row["epoch"] == 1
