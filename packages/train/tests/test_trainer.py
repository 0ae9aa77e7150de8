"""The training loop against the same steps written out, and each of its ends."""

import json
import math

import numpy as np
import pytest
from tools.device_arrays import no_transfers, transfers

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import DataLoader, RandomBatches, SequentialBatches, TensorDataset, TokenStream
from rondeau.train import (
    Callback,
    CheckpointError,
    DivergedError,
    History,
    Snapshot,
    Supervised,
    Trainer,
    _readings,
    lr_scheduler,
    optim,
)

V = 7


def stream(length=400, seed=0):
    return TokenStream(np.random.default_rng(seed).integers(0, V, length), V)


def make(
    sampler=SequentialBatches, cell="gru", scheduler=None, dropout=0.0, learn_initial_state=False, **options
):
    rt.manual_seed(1)
    model = nn.LanguageModel(
        V,
        cell,
        6,
        embedding_size=4 if dropout else None,
        dropout=dropout,
        dtype="float64",
        learn_initial_state=learn_initial_state,
    )
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    batches = sampler(stream(), batch_size=3, num_steps=5, seed=2)
    schedule = None if scheduler is None else scheduler(optimizer)
    return Trainer(model, optimizer, batches, scheduler=schedule, **({"max_epochs": 2} | options))


def weights(trainer):
    return {name: tensor.numpy().copy() for name, tensor in trainer.model.state_dict().items()}


class Events(Callback):
    """Keeps all that a trainer tells."""

    def __init__(self):
        self.rows, self.evaluations, self.order = [], [], []

    def on_begin(self, trainer):
        self.order.append("begin")

    def on_row(self, trainer, row):
        self.rows.append(row)
        self.order.append("row")

    def on_evaluate(self, trainer, evaluation):
        self.evaluations.append((trainer.step, evaluation.loss))
        self.order.append("evaluate")

    def on_step(self, trainer):
        self.order.append("step")

    def on_end(self, trainer):
        self.order.append("end")


@pytest.mark.parametrize("sampler", [SequentialBatches, RandomBatches])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_two_epochs_are_the_steps_written_out(sampler, cell):
    events = Events()
    trainer = make(
        sampler,
        cell,
        lambda o: lr_scheduler.StepLR(o, 7, gamma=0.5),
        clip_norm=0.05,
        log_every=1,
        callbacks=[events],
    )
    other = make(sampler, cell)
    trainer.fit()

    model, optimizer = other.model, other.optimizer
    losses, norms, rates = [], [], []
    for _ in range(2):
        state = None
        for inputs, targets in other.batches:
            optimizer.zero_grad()
            logits, state = model(inputs, state)
            state = tuple(s.detach() for s in state) if cell == "lstm" else state.detach()
            state = state if sampler is SequentialBatches else None
            log_p = nn.functional.log_softmax(logits, dim=-1)
            rows = rt.tensor(np.arange(15))
            loss = -log_p[rows, rt.tensor(targets.T.reshape(-1))].mean()
            loss.backward()
            norm = math.sqrt(sum(float((p.grad.numpy() ** 2).sum()) for p in model.parameters()))
            for p in model.parameters():
                p.grad.data *= min(1.0, 0.05 / (norm + 1e-6))
            optimizer.param_groups[0]["lr"] = 0.01 * 0.5 ** (len(losses) // 7)
            optimizer.step()
            losses.append(loss.item())
            norms.append(norm)
            rates.append(optimizer.param_groups[0]["lr"])
    assert_close([row["train_loss"] for row in events.rows], losses, rtol=1e-9)
    assert_close([row["grad_norm"] for row in events.rows], norms, rtol=1e-7)
    assert_close([row["lr"] for row in events.rows[:-1]], rates[1:], rtol=1e-12)
    assert trainer.step == len(losses) == 2 * len(trainer.batches)
    assert (trainer.epoch, trainer.num_seen) == (2, 15 * trainer.step)
    assert trainer.stopped_by == "2 epochs are done"
    for name, tensor in model.state_dict().items():
        assert_close(trainer.model.state_dict()[name].numpy(), tensor, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("sampler", [SequentialBatches, RandomBatches])
def test_learned_initial_states_are_those_an_epoch_begins_with(sampler):
    options = {"cell": "lstm", "learn_initial_state": True}
    trainer, other = make(sampler, **options), make(sampler, **options)
    trainer.fit()
    model, optimizer, changed = other.model, other.optimizer, []
    for _ in range(2):
        state = None
        for inputs, targets in other.batches:
            optimizer.zero_grad()
            logits, state = model(inputs, state)
            nn.functional.cross_entropy(logits, rt.tensor(targets.T.reshape(-1))).backward()
            changed.append(model.recurrent.initial_c_l0.grad is not None)
            state = tuple(s.detach() for s in state) if sampler is SequentialBatches else None
            optimizer.step()
    steps = len(trainer.batches)
    assert changed == [sampler is RandomBatches or step % steps == 0 for step in range(2 * steps)]
    assert model.recurrent.initial_c_l0.any()
    assert_same_bits(weights(trainer), weights(other))
    stopped = make(sampler, **options)
    stopped.max_steps = steps + 3
    stopped.fit()
    resumed = make(sampler, **options)
    resumed.restore(stopped.snapshot())
    resumed.fit()
    assert resumed.step == 2 * steps
    assert_same_bits(weights(resumed), weights(other))


def test_rows_average_over_the_steps_between_them():
    every, sparse = Events(), Events()
    make(log_every=1, clip_norm=1.0, callbacks=[every]).fit()
    make(log_every=4, clip_norm=1.0, callbacks=[sparse]).fit()
    losses = [row["train_loss"] for row in every.rows]
    starts = range(0, len(losses), 4)
    assert_close(
        [row["train_loss"] for row in sparse.rows], [np.mean(losses[i : i + 4]) for i in starts], rtol=1e-12
    )
    assert [row["step"] for row in sparse.rows] == [min(i + 4, len(losses)) for i in starts]


def test_order_of_events():
    events = Events()
    make(max_steps=4, log_every=2, evaluate_every=4, held_out=stream(50), callbacks=[events]).fit()
    assert events.order == ["begin", "step", "row", "step", "step", "row", "evaluate", "step", "end"]


def test_evaluates_each_epoch_and_at_the_end():
    events = Events()
    trainer = make(held_out=stream(60, seed=5), max_steps=40, max_epochs=None, callbacks=[events])
    trainer.fit()
    per_epoch = len(trainer.batches)
    assert per_epoch == 26
    assert [step for step, _ in events.evaluations] == [26, 40]
    best = min(events.evaluations, key=lambda pair: pair[1])
    assert (trainer.best_step, trainer.best_loss) == best
    assert trainer.evaluation.loss == events.evaluations[-1][1]
    assert [row["held_out_loss"] for row in events.rows if "held_out_loss" in row] == [
        v for _, v in events.evaluations
    ]


def test_patience_ends_the_run_after_bad_evaluations():
    events = Events()
    trainer = make(
        held_out=stream(60, seed=5), evaluate_every=2, patience=3, max_epochs=1000, callbacks=[events]
    )
    trainer.fit()
    assert trainer.stopped_by == "the held-out loss has not improved for 3 evaluations"
    losses = [loss for _, loss in events.evaluations]
    assert int(np.argmin(losses)) == len(losses) - 4, "three evaluations after the best one"
    for i in range(3, len(losses) - 1):
        assert min(losses[i - 2 : i + 1]) <= min(losses[: i - 2]), "and never before"


class Reader(Callback):
    """Reads the trainer's batches wherever a callback is called, in each of the ways."""

    def __init__(self):
        self.begun = []

    def read(self, trainer, *event):
        next(iter(trainer.batches))
        self.begun.append(iter(trainer.batches))
        for loop in self.begun[-3:]:
            next(loop, None)
        if trainer.step % 7 == 3:
            assert len(list(trainer.batches)) == len(trainer.batches)

    on_begin = on_begin_epoch = on_row = on_evaluate = on_end_epoch = on_step = on_end = read


@pytest.mark.parametrize("sampler", [SequentialBatches, RandomBatches])
def test_callbacks_that_read_the_batches_change_nothing(sampler):
    options = {"max_epochs": 3, "log_every": 5, "evaluate_every": 9, "held_out": stream(60, seed=5)}
    alone, states = make(sampler, **options), []
    alone.fit()
    read = make(sampler, callbacks=[Reader()], **options)
    list(read.batches), next(iter(read.batches))  # before the first step too
    read.fit()
    assert alone.step == read.step == 3 * len(read.batches)
    assert_same_bits(weights(read), weights(alone))
    assert read.snapshot().state["batches"] == alone.snapshot().state["batches"]

    class Stops(Reader):
        def on_step(self, trainer):
            self.read(trainer)
            if trainer.step == 31:
                states.append(trainer.snapshot())
                trainer.stop("now")

    left = make(sampler, callbacks=[Stops()], **options)
    left.fit()
    assert [states[0].state["batches"]["batches"][name] for name in ("epoch", "batch")] == [1, 5]
    resumed = make(sampler, callbacks=[Reader()], **options)
    resumed.restore(states[0])
    for trainer in (resumed, left):
        next(iter(trainer.batches))
        trainer.fit()
        assert_same_bits(weights(trainer), weights(alone))


def test_a_step_that_failed_is_done_again():
    trainer, alone = make(max_epochs=1), make(max_epochs=1)
    alone.fit()
    learn, calls = trainer.optimizer.step, []

    def fail_once():
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        learn()

    trainer.optimizer.step = fail_once
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert trainer.step == 3
    trainer.fit()
    assert trainer.step == alone.step
    assert_same_bits(weights(trainer), weights(alone))


def test_ends_by_minutes():
    trainer = make(max_epochs=None, max_minutes=1e-9)
    trainer.fit()
    assert trainer.step == 1
    assert trainer.stopped_by == "1e-09 minutes are over"
    assert trainer.total_steps is None


def test_total_steps():
    assert make().total_steps == 52
    assert make(max_steps=9).total_steps == 9
    assert make(max_steps=99).total_steps == 52


def test_plateau_schedule_follows_the_evaluations():
    events = Events()
    trainer = make(
        scheduler=lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.5),
        held_out=stream(60, seed=5),
        evaluate_every=2,
        max_steps=40,
        callbacks=[events],
    )
    trainer.fit()
    losses = [loss for _, loss in events.evaluations]
    best, rate = math.inf, 0.01
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best = loss
        else:
            rate *= 0.5
    assert rate < 0.01
    assert trainer.optimizer.param_groups[0]["lr"] == rate


@pytest.mark.parametrize("sampler", [SequentialBatches, RandomBatches])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize("stop_at", [1, 13, 26, 27, 51])
def test_restored_from_json_and_arrays_it_goes_on_bit_for_bit(sampler, cell, stop_at):
    class StopAt(Callback):
        def on_step(self, trainer):
            if trainer.step == stop_at:
                trainer.stop("stopped")

    def build(callbacks):
        return make(
            sampler,
            cell,
            lambda o: lr_scheduler.CosineAnnealingLR(o, 52),
            dropout=0.3,
            clip_norm=0.1,
            held_out=stream(60, seed=5),
            evaluate_every=10,
            log_every=4,
            callbacks=callbacks,
        )

    whole, first, second = Events(), Events(), Events()
    uninterrupted = build([whole])
    uninterrupted.fit()

    stopped = build([first, StopAt()])
    stopped.fit()
    assert (stopped.step, stopped.stopped_by) == (stop_at, "stopped")
    kept = stopped.snapshot()
    arrays = {stem: {k: v.copy() for k, v in group.items()} for stem, group in kept.arrays.items()}
    kept = Snapshot(arrays, json.loads(json.dumps(kept.state)))
    rt.manual_seed(99)
    resumed = build([second])
    resumed.restore(kept)
    resumed.fit()

    timeless = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]  # noqa: E731
    assert timeless(first.rows + second.rows) == timeless(whole.rows)
    assert_same_bits(weights(resumed), weights(uninterrupted))


def test_fit_again_goes_on_where_it_stopped():
    once, twice = make(max_steps=40), make(max_steps=15)
    once.fit()
    twice.fit()
    twice.max_steps = 40
    twice.fit()
    assert_same_bits(weights(once), weights(twice))


def test_same_bits_for_any_number_of_threads():
    before = rt.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            rt.set_num_threads(threads)
            trainer = make(clip_norm=0.1, dropout=0.2)
            trainer.fit()
            results.append(weights(trainer))
    finally:
        rt.set_num_threads(before)
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_a_diverged_loss_is_an_error():
    trainer = make()
    trainer.model.head.bias.data[0] = np.nan
    with pytest.raises(
        DivergedError, match=r"the loss became nan at step 1, with learning rate 0\.01: lower"
    ):
        trainer.fit()


def test_the_extra_state_of_a_model_is_in_its_snapshots():
    class Counting(nn.LanguageModel):
        count = 0

        def get_extra_state(self):
            return rt.tensor(self.count)

        def set_extra_state(self, state):
            self.count = state.item()

    trainer, other = make(), make()
    for one in (trainer, other):
        one.model.__class__ = Counting
    trainer.model.count = 5
    other.restore(trainer.snapshot())
    assert other.model.count == 5
    Counting.get_extra_state = lambda _model: {"count": 5}
    with pytest.raises(
        TypeError, match="'_extra_state' is of type dict: let get_extra_state return a Tensor"
    ):
        trainer.snapshot()


def of_a_part(part, accumulate=1, **options):
    """Return a trainer whose optimizer holds the loss's parameters besides, or leaves out the model's first layer."""
    rt.manual_seed(0)
    x, classes = np.random.default_rng(0).standard_normal((8, 3)), np.arange(8) % 5
    model = nn.Sequential(nn.Linear(3, 4, dtype="float64"), nn.Tanh())
    loss = nn.LinearCrossEntropyLoss(4, 5, bias=True, dtype="float64")
    task = Supervised(loss)
    if part == "more":
        optimizer = optim.Adam([*model.parameters(), *loss.parameters()], lr=0.1)
    else:
        model, task = nn.Sequential(model, loss.linear), Supervised(nn.CrossEntropyLoss())
        optimizer = optim.Adam(loss.parameters(), lr=0.1)
    batches = DataLoader(TensorDataset(x, classes), 8 // accumulate)
    trainer = Trainer(
        model, optimizer, batches, task=task, accumulate=accumulate, **({"max_steps": 6} | options)
    )
    return trainer, loss


@pytest.mark.parametrize("part", ["more", "fewer"])
@pytest.mark.parametrize("options", [{"accumulate": 2}, {"shards": 1}, {"shards": 2, "accumulate": 2}])
def test_an_optimizer_of_more_or_fewer_parameters_than_the_model(part, options):
    """Written out, and with the gradients of a step made up of several."""
    trainer, _ = of_a_part(part)
    (inputs, classes), model = next(iter(trainer.batches)), trainer.model
    loss_of = trainer.task.criterion
    held = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    of_loss = [] if part == "fewer" else held[2:]
    norms = []
    for _ in range(6):
        for parameter in (*model.parameters(), *of_loss):
            parameter.grad = None
        loss_of(model(rt.tensor(inputs)), rt.tensor(classes)).backward()
        norms.append(nn.utils.clip_grad_norm_([*model.parameters(), *of_loss], 0.1).item())
        trainer.optimizer.step()
    for more in ({}, options):
        rows = History()
        found, _ = of_a_part(part, clip_norm=0.1, log_every=1, callbacks=[rows], **more)
        found.fit()
        assert_close([row["grad_norm"] for row in rows.rows], norms, rtol=1e-9)
        trained = [p for group in found.optimizer.param_groups for p in group["params"]]
        for parameter, expected in zip(trained, held, strict=True):
            assert_close(parameter, expected, rtol=1e-7)


def test_parameters_besides_the_models_go_on_too():
    whole, loss = of_a_part("more")
    whole.fit()
    stopped, _ = of_a_part("more", max_steps=3)
    stopped.fit()
    kept = stopped.snapshot()
    resumed, of_resumed = of_a_part("more")
    resumed.restore(kept)
    resumed.fit()
    assert_same_bits([*of_resumed.parameters()], [*loss.parameters()])
    assert_same_bits(weights(resumed), weights(whole))

    arrays = {name: of for name, of in kept.arrays.items() if name != "besides"}
    before = weights(stopped)
    message = (
        "another run: the parameters that the optimizer holds besides the model's: expected {'2': .*, got {}$"
    )
    with pytest.raises(CheckpointError, match=message):
        resumed.restore(Snapshot(arrays, kept.state))
    assert_same_bits(weights(stopped), before)
    assert_same_bits([*of_resumed.parameters()], [*loss.parameters()])


def test_a_snapshot_of_another_model_is_refused():
    kept = make(cell="gru").snapshot()
    with pytest.raises(CheckpointError, match=r"the checkpoint is of another run: .*weight_ih_l0"):
        make(cell="lstm").restore(kept)
    with pytest.raises(
        CheckpointError, match=r"the checkpoint is of another run: batches: was Seq.*, is Rand"
    ):
        make(RandomBatches).restore(kept)


@pytest.mark.parametrize("part", ["optimizer", "batches", "generator", "losses"])
def test_a_refused_snapshot_changes_nothing(part):
    trained = make(max_steps=3)
    trained.fit()
    kept = trained.snapshot()
    trainer, other = make(), make()
    trainer.fit()
    other.fit()
    broken = Snapshot(kept.arrays, {key: value for key, value in kept.state.items() if key != part})
    with pytest.raises(CheckpointError, match=f"the checkpoint is of another run: '{part}'"):
        trainer.restore(broken)
    assert_same_bits(weights(trainer), weights(other))
    for one in (trainer, other):
        one.max_epochs = 3
        one.fit()
    assert_same_bits(weights(trainer), weights(other))
    assert (trainer.step, trainer.epoch, trainer.num_seen) == (other.step, other.epoch, other.num_seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": None}, "nothing ends this run: give max_epochs, max_steps or max_minutes"),
        ({"max_epochs": 0}, "max_epochs: expected at least 1, got 0"),
        ({"max_steps": -1}, "max_steps: expected at least 1, got -1"),
        ({"max_minutes": 0}, "max_minutes: expected a finite number > 0, got 0"),
        ({"clip_norm": 0}, "clip_norm: expected a number > 0, got 0"),
        ({"log_every": 0}, "log_every: expected at least 1, got 0"),
        ({"evaluate_every": 0}, "evaluate_every: expected at least 1, got 0"),
        ({"patience": 2}, "patience: early stopping needs held-out data to watch"),
        ({"scheduler": lr_scheduler.ReduceLROnPlateau}, "ReduceLROnPlateau needs held-out data to watch"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_an_optimizer_of_another_model_is_refused():
    other, batches = nn.LanguageModel(V, "gru", 6), SequentialBatches(stream(), 3, 5)
    with pytest.raises(ValueError, match="the optimizer holds none of the model's parameters"):
        Trainer(nn.LanguageModel(V, "gru", 6), optim.SGD(other.parameters(), lr=0.1), batches, max_steps=1)


@pytest.mark.parametrize(
    ("limit", "told"), [({"max_epochs": 1}, "1 epoch is done"), ({"max_steps": 1}, "1 step is done")]
)
def test_one_is_not_told_as_several(limit, told):
    trainer = make(**({"max_epochs": None} | limit))
    trainer.fit()
    assert trainer.stopped_by == told


def test_a_history_gives_each_column_with_its_own_steps():
    history, events = History(), Events()
    make(
        held_out=stream(60, 1),
        max_steps=12,
        max_epochs=None,
        evaluate_every=6,
        log_every=4,
        clip_norm=math.inf,
        callbacks=[history, events],
    ).fit()
    assert history.rows == events.rows
    steps, losses = history.curve("held_out_loss")
    assert list(zip(steps, losses, strict=True)) == events.evaluations
    steps, norms = history.curve("grad_norm")
    assert steps.tolist() == [4, 6, 8, 12]
    assert (norms > 0).all()


def test_a_history_names_the_columns_that_it_has():
    with pytest.raises(KeyError, match="no row of metrics holds 'loss'; there: no rows yet"):
        History().curve("loss")
    history = History()
    make(max_epochs=1, callbacks=[history]).fit()
    with pytest.raises(KeyError, match=r"no row of metrics holds 'loss'; there: epoch, lr, .*train_loss"):
        history.curve("loss")


@pytest.mark.usefixtures("device_stand_in")
def test_numbers_of_a_gpu_are_read_before_they_are_many(monkeypatch):
    monkeypatch.setattr(_readings, "_MOST_UNREAD", 4)
    readings = _readings.Readings(lambda what, value, step: DivergedError(f"{what} at step {step}"))
    with no_transfers():
        for step in (1, 2, 3):
            readings.add("losses", rt.full((), float(step), device="cuda"), step)
    with transfers() as seen:
        readings.add("losses", rt.full((), 4.0, device="cuda"), 4)
        assert readings.read("losses") == [1, 2, 3, 4]
    assert len(seen.to_host) == 1
