"""Training that diverges ends in one error, wherever it is first seen, and keeps the last good checkpoint."""

import json
import math

import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import CharTokenizer, Codec, SequentialBatches, TokenStream
from rondeau.train import Callback, DivergedError, Recorder, RunFolder, Trainer, cli, evaluate, optim
from rondeau.train._diverged import first_not_finite

TEXT = "the quick brown fox jumps over the lazy dog. " * 20
CODEC = Codec.fit(TEXT, CharTokenizer())
STREAM = TokenStream(CODEC.encode(TEXT), len(CODEC))


def make(cell="gru", optimizer=lambda p: optim.SGD(p, lr=0.1), **options):
    rt.manual_seed(0)
    model = nn.LanguageModel(len(CODEC), cell, 8)
    train, held_out = STREAM.split(0.8)
    batches = SequentialBatches(train, 4, 16, seed=0)
    given = {"max_steps": 60, "held_out": held_out, "evaluate_every": 10, "log_every": 2} | options
    return Trainer(model, optimizer(model.parameters()), batches, **given)


def rows_of(run):
    """Metrics read as strictly as JSON is defined."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = run.metrics.path.read_text() if run.metrics.path.exists() else ""
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def weights(trainer):
    return {name: tensor.numpy().tobytes() for name, tensor in trainer.model.state_dict().items()}


class Spoil(Callback):
    """Writes a number into a weight, the last in the model, after an update."""

    def __init__(self, step, value):
        self.step, self.value = step, value

    def on_row(self, trainer, row):
        if trainer.step == self.step:
            trainer.model.head.bias.data[3] = self.value


@pytest.mark.parametrize(("cell", "keep"), [("gru", 1), ("rnn_relu", 3)])
@pytest.mark.parametrize("rate", [1e3, 1e18, 1e30])
@pytest.mark.parametrize(
    "optimizer",
    [lambda p, lr: optim.SGD(p, lr, weight_decay=0.1), lambda p, lr: optim.AdamW(p, lr, weight_decay=0.1)],
    ids=["sgd", "adamw"],
)
def test_runs_that_diverge_keep_the_last_good_checkpoint(cell, rate, optimizer, keep, tmp_path):
    run = RunFolder(tmp_path, keep)
    recorder = Recorder(run, CODEC, {"name": "fox"}, prompt="t", checkpoint_every=3)
    trainer = make(cell, lambda p: optimizer(p, rate), callbacks=[recorder])
    with pytest.raises(DivergedError, match=r"became (nan|-?inf) at step \d+, with learning rate 1"):
        trainer.fit()
    assert trainer.best_loss is None or math.isfinite(trainer.best_loss)
    for name in ("latest", "best"):
        snapshot = run.load_checkpoint(name)
        for arrays in snapshot.arrays.values():
            assert first_not_finite(arrays.items()) is None
    assert len(run.checkpoints.steps()) <= keep + 1  # the best one too
    rows_of(run)
    recorder = Recorder(
        RunFolder(tmp_path, keep), CODEC, {"name": "fox"}, prompt="t"
    )  # of a process that came after
    resumed = make(cell, lambda p: optimizer(p, rate), callbacks=[recorder])
    recorder.resume(resumed)
    resumed.optimizer.param_groups[0]["lr"] = 1e-3
    resumed.max_steps = resumed.step + 2
    resumed.fit()
    assert run.load_checkpoint().state["step"] == resumed.step


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("every", "options", "message"),
    [
        # The last update: no loss and no evaluation follows.
        (
            5,
            {"max_steps": 8, "held_out": None},
            r"the weight head\.bias became {} at step 8, with learning rate 0.1",
        ),
        # Before a checkpoint.
        (8, {"held_out": None}, r"the weight head\.bias became {} at step 8, with learning rate 0.1"),
        # In the next step.
        (5, {"evaluate_every": 9, "log_every": 8}, "the loss became nan at step 9, with learning rate 0.1"),
        # Between an evaluation and its sample.
        (5, {"evaluate_every": 8}, "the model predicts no token after the first 1: of its logits one is {}"),
    ],
)
def test_weights_are_looked_at_where_no_loss_shows_them(every, options, message, value, tmp_path):
    run = RunFolder(tmp_path, keep=1)
    recorder = Recorder(run, CODEC, {}, prompt="t", checkpoint_every=every)
    trainer = make(callbacks=[Spoil(8, value), recorder], **({"log_every": 4} | options))
    with pytest.raises(DivergedError, match=message.format(value)):
        trainer.fit()
    assert np.isfinite(run.load_checkpoint().arrays["weights"]["head.bias"]).all()
    assert run.load_checkpoint().state["step"] < 8


def test_weights_are_looked_at_before_an_evaluation():
    """Which would not read this one: no token of the text is <unk>."""

    class SpoilsTheUnknown(Callback):
        def on_step(self, trainer):
            trainer.model.recurrent.weight_ih_l0.data[0, CODEC.vocab.unk] = math.nan

    trainer = make(callbacks=[SpoilsTheUnknown()])
    with pytest.raises(DivergedError, match=r"the weight recurrent\.weight_ih_l0 became nan at step 10"):
        trainer.fit()


def test_gradients_are_looked_at_before_they_are_clipped():
    trainer = make(clip_norm=1.0)
    trainer.model.head.bias.register_hook(lambda gradient: gradient * math.nan)
    before = weights(trainer)
    with pytest.raises(DivergedError, match="the norm of the gradients became nan at step 1"):
        trainer.fit()
    assert weights(trainer) == before, "not updated by it"


def test_the_held_out_loss_is_looked_at(tmp_path):
    """Of a model whose weights are finite, and whose logits are not."""
    run = RunFolder(tmp_path)
    recorder = Recorder(run, CODEC, {}, prompt="t")
    trainer = make(callbacks=[recorder], optimizer=lambda p: optim.SGD(p, lr=0.0))
    forward = trainer.model.forward

    def infinite_at_step_10(ids, state=None):
        logits, state = forward(ids, state)
        return (logits * math.inf if trainer.step == 10 else logits), state

    trainer.model.forward = infinite_at_step_10
    with pytest.raises(DivergedError, match="the held-out loss became nan at step 10"):
        trainer.fit()
    assert (trainer.best_loss, trainer.evaluation) == (None, None)
    assert [row["step"] for row in rows_of(run)] == [2, 4, 6, 8]


def test_averages_that_overflow_are_divergence():
    """A root of infinity divides every later update to nothing: the weight would never move again."""
    trainer = make(optimizer=lambda p: optim.Adam(p, lr=1e-3))
    trainer.fit()
    trainer.optimizer.state[trainer.model.head.bias]["exp_avg_sq"][0] = math.inf
    with pytest.raises(
        DivergedError, match=r"the optimiser's exp_avg_sq of head\.bias became inf at step 60"
    ):
        trainer.check_finite()


def test_buffers_may_hold_infinities():
    """As masks do; only what is trained is looked at."""
    trainer = make(max_steps=1)
    trainer.model.register_buffer("mask", rt.full((2,), -math.inf))
    trainer.fit()


def test_means_of_great_losses_are_finite(tmp_path):
    from rondeau.train._trainer import _mean

    assert _mean([1e308] * 5) == pytest.approx(1e308)
    assert _mean([0.1, 0.2]) == math.fsum([0.1, 0.2]) / 2


def test_numbers_of_other_callbacks_are_written_as_json(tmp_path):
    class Adds(Callback):
        def on_row(self, trainer, row):
            row["ratio"] = math.nan

    run = RunFolder(tmp_path)
    recorder = Recorder(run, CODEC, {}, prompt="t")
    make(max_steps=4, callbacks=[Adds(), recorder]).fit()
    assert [row["ratio"] for row in rows_of(run)] == [None, None]


def test_a_model_of_nan_is_worth_nan():
    model = nn.LanguageModel(len(CODEC), "gru", 8)
    model.head.bias.data[0] = math.nan
    assert math.isnan(evaluate(model, STREAM).perplexity)


def test_the_command_ends_with_one_line_and_status_1(tmp_path, capsys):
    corpus = tmp_path / "fox.txt"
    corpus.write_text(TEXT * 4)
    flags = ["--hidden_size=8", "--batch_size=4", "--num_steps=16", "--max_steps=60"]
    keeping = ["--checkpoint_every=2", "--keep=1"]
    diverging = ["--optimizer=sgd", "--lr=1e9", "--weight_decay=1", "--schedule=constant", "--warmup_steps=0"]
    run = RunFolder(tmp_path / "run")
    assert cli.main(["train", str(corpus), *flags, *keeping, *diverging, f"--output={run.path}"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rondeau")]
    assert len(lines) == 1
    assert lines[0].startswith("rondeau train: ")
    assert "lower the rate" in lines[0]
    rows_of(run)
    weights = run.load_checkpoint().arrays["weights"]
    assert first_not_finite(weights.items()) is None
    assert cli.main(["generate", str(run.path), "--length=5", "--checkpoint=latest"]) == 0
