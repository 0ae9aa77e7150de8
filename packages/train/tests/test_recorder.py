"""The recorder in Python: one process in a folder, from its beginning or its resume to its end."""

import warnings

import pytest

from comparing import assert_same_bits
from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.tensor.files import durable

TEXT = "abcd" * 40
CODEC = data.Codec.fit(TEXT, data.CharTokenizer())


def make(
    path,
    steps=4,
    *callbacks,
    schedule=None,
    optimizer=train.optim.SGD,
    batches=data.SequentialBatches,
    cell="rnn",
    **options,
):
    """Return a trainer of a fixed seed, and its recorder."""
    rt.manual_seed(0)
    model = nn.LanguageModel(len(CODEC), cell, 3)
    optimizer = optimizer(model.parameters(), lr=0.1)
    batches = batches(data.TokenStream(CODEC.encode(TEXT), len(CODEC)), 2, 5)
    recorder = train.Recorder(train.RunFolder(path), CODEC, {"name": "abcd"}, checkpoint_every=2, prompt="a")
    options |= {} if schedule is None else {"scheduler": schedule(optimizer)}
    trainer = train.Trainer(
        model, optimizer, batches, max_steps=steps, log_every=1, callbacks=[recorder, *callbacks], **options
    )
    return trainer, recorder


def test_a_run_that_is_there_is_not_begun_again(tmp_path):
    make(tmp_path)[0].fit()
    again, recorder = make(tmp_path)
    before = recorder.run.metrics.read()
    with pytest.raises(
        train.RunError, match=r"holds a run already: continue it with resume\(trainer\), or choose"
    ):
        again.fit()
    assert recorder.run.metrics.read() == before
    longer, recorder = make(tmp_path, 6)
    recorder.resume(longer)
    longer.fit()
    assert [row["step"] for row in recorder.run.rows()] == [1, 2, 3, 4, 5, 6]


def test_a_run_with_noise_goes_on_with_the_same_bits(tmp_path):
    """Samples, and what is compiled for them where a run goes on, must not take the noise of the steps."""
    options = {"cell": nn.cells.ctrnn, "held_out": CODEC.encode(TEXT[:9]), "evaluate_every": 2}
    whole, _ = make(tmp_path / "whole", **options)
    whole.fit()
    make(tmp_path / "parts", 2, **options)[0].fit()
    rest, recorder = make(tmp_path / "parts", **options)
    recorder.resume(rest)
    rest.fit()
    for ours, expected in zip(rest.model.parameters(), whole.model.parameters(), strict=True):
        assert_same_bits(ours.detach().numpy(), expected.detach().numpy())
    samples = [(tmp_path / name / "samples.txt").read_text() for name in ("whole", "parts")]
    assert samples[0] == samples[1]


def constant(optimizer):
    return train.lr_scheduler.ConstantLR(optimizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": train.optim.Adam}, "optimizer: was SGD, is Adam"),
        ({"schedule": None}, "scheduler: was ConstantLR, is none"),
        (
            {"schedule": train.lr_scheduler.LinearLR},
            "scheduler: was ConstantLR, is LinearLR",
        ),
        ({"batches": data.RandomBatches}, "batches: was SequentialBatches, is RandomBatches"),
    ],
)
def test_another_optimiser_or_schedule_does_not_take_over(tmp_path, change, message):
    """Each would find the numbers that it looks for, or begin again without a word."""
    make(tmp_path, schedule=constant)[0].fit()
    trainer, recorder = make(tmp_path, 6, **{"schedule": constant} | change)
    with pytest.raises(train.CheckpointError, match=f"is of another run: {message}"):
        recorder.resume(trainer)


def test_the_folder_is_locked_from_resume_to_the_end(tmp_path):
    make(tmp_path)[0].fit()
    trainer, recorder = make(tmp_path, 6)
    recorder.resume(trainer, "step-2")
    for other in (make(tmp_path, 6), make(tmp_path, 6)):
        with pytest.raises(train.RunError, match="is being written by this process"):
            other[1].resume(other[0])
        with pytest.raises(train.RunError, match="is being written by this process"):
            other[0].fit()
    trainer.fit()
    other[1].resume(other[0])
    assert other[0].step == 6
    other[1].run.lock.release()


def test_an_error_gives_the_folder_back(tmp_path):
    class Fails(train.Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                raise RuntimeError("the user's own")

    trainer, _ = make(tmp_path, 6, Fails())
    with pytest.raises(RuntimeError, match="the user's own"):
        trainer.fit()
    trainer, recorder = make(tmp_path, 6)
    recorder.resume(trainer)
    assert trainer.step == 2
    trainer.fit()


def test_a_refused_resume_gives_the_folder_back(tmp_path):
    make(tmp_path)[0].fit()
    trainer, recorder = make(tmp_path)
    with pytest.raises(train.CheckpointError, match="there is no checkpoint"):
        recorder.resume(trainer, "step-3")
    (tmp_path / "checkpoints" / "step-4" / "weights.safetensors").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", train.RunWarning)
        with pytest.raises(train.RunWarning, match=r"step-2, the newest whole checkpoint"):
            recorder.resume(trainer)
    assert (tmp_path / "checkpoints" / "step-4").is_dir(), "a program that will not go on changes nothing"
    again, recorder = make(tmp_path)
    with pytest.warns(train.RunWarning):
        recorder.resume(again)
    again.fit()


def test_what_another_process_wrote_between_two_fits_is_noticed(tmp_path):
    trainer, _ = make(tmp_path)
    trainer.fit()
    other, recorder = make(tmp_path, 6)
    recorder.resume(other)
    other.fit()
    trainer.max_steps = 8
    with pytest.raises(train.RunError, match="holds a run already"):
        trainer.fit()
    other.max_steps = 8  # the one that wrote last may go on
    other.fit()
    assert recorder.run.checkpoints.steps() == [4, 6, 8]


def test_a_schedule_stops_where_it_was_planned_to(tmp_path):
    def falls(optimizer):
        return train.lr_scheduler.CosineAnnealingLR(optimizer, 4, eta_min=0.01)

    rates = {}
    for steps in (4, None):
        trainer, recorder = make(tmp_path / str(steps), 6, schedule=falls, scheduler_steps=steps)
        trainer.fit()
        rates[steps] = [row["lr"] for row in recorder.run.rows()]
    assert rates[4][:4] == rates[None][:4]
    assert rates[4][4:] == [rates[4][3]] * 2 == pytest.approx([0.01] * 2)
    assert rates[None][5] > rates[None][4] > rates[None][3], "beyond its end a cosine rises again"


def test_rows_of_a_run_that_is_written_or_damaged(tmp_path):
    run = train.RunFolder(tmp_path)
    assert run.rows() == []
    run.metrics.append('{"step": 1}\n{"step"')
    assert run.rows() == [{"step": 1}], "the last line is still written"
    for line in ("3", "{", "[" * 9999):
        run.metrics.cut(len('{"step": 1}\n'))
        run.metrics.append(f"{line}\n")
        with pytest.raises(train.RunError, match=r"metrics\.jsonl, line 2 is damaged: "):
            run.rows()


@pytest.mark.parametrize("name", ["latest", "best"])
def test_a_checkpoint_that_is_replaced_while_it_is_read(tmp_path, monkeypatch, name):
    """A run that goes on publishes another one, and removes the one that is being read: that is no damage."""
    held_out = data.TokenStream(CODEC.encode(TEXT[:20]), len(CODEC))
    trainer, recorder = make(tmp_path, 2, held_out=held_out, evaluate_every=2)
    recorder.run.checkpoints.keep = 1
    trainer.fit()
    run, read = train.RunFolder(tmp_path), durable.read_file

    def read_late(path):
        if path.parent.name == "step-2" and path.suffix == ".safetensors" and trainer.step == 2:
            trainer.max_steps = 4
            trainer.fit()
        return read(path)

    monkeypatch.setattr(durable, "read_file", read_late)
    assert run.load_checkpoint(name).state["step"] == 4
    assert run.checkpoints.steps() == [4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state[:, :1], r"the carried state: expected .*\(1, 2, 3\).* got .*\(1, 1, 3\)"),
        (lambda state: state.astype("float64"), r"the carried state: expected .*float32.* got .*float64"),
    ],
    ids=["shape", "dtype"],
)
def test_a_carried_state_of_another_model_is_refused(tmp_path, change, message):
    trainer, _ = make(tmp_path)
    trainer.fit()
    snapshot = trainer.snapshot()
    carried = {name: change(part) for name, part in snapshot.arrays["carried"].items()}
    other, _ = make(tmp_path)
    with pytest.raises(train.CheckpointError, match=f"the checkpoint is of another run: {message}"):
        other.restore(snapshot._replace(arrays={**snapshot.arrays, "carried": carried}))
    assert other.step == 0
    other.restore(snapshot)
    assert other.step == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("epoch", "step", "seen") for value in (-3, "3", None)),
        *(("seconds", value) for value in (-1.0, float("inf"), "x", None)),
        *(("losses", value) for value in (3, ["x"], None)),
        ("best_step", -1),
        ("best_loss", "low"),
        ("step", 1.5),
        ("carried", {"$tensor": "none"}),
        ("scheduler", 3),
        ("generator", {}),
    ],
    ids=str,
)
def test_numbers_of_a_state_that_are_none_are_refused(tmp_path, name, value):
    trainer, _ = make(tmp_path, schedule=lambda optimizer: train.lr_scheduler.StepLR(optimizer, 2))
    trainer.fit()
    snapshot = trainer.snapshot()
    with pytest.raises(train.CheckpointError, match="the checkpoint is of another run: "):
        trainer.restore(snapshot._replace(state={**snapshot.state, name: value}))
    assert trainer.step == 4
