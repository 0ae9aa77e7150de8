"""What Progress tells of a run, by a clock that the test sets."""

import io
from types import SimpleNamespace

from rondeau.train import Progress


def test_the_first_step_which_compiles_does_not_count_in_the_pace():
    trainer = SimpleNamespace(
        step=0,
        num_seen=0,
        seconds=0.0,
        total_steps=11,
        evaluation=None,
        task=SimpleNamespace(unit="tokens"),
    )
    stream = io.StringIO()
    progress = Progress(stream)
    progress.on_begin(trainer)
    trainer.step, trainer.num_seen, trainer.seconds = 1, 10, 100.0
    progress.on_step(trainer)
    trainer.step, trainer.num_seen, trainer.seconds = 6, 60, 105.0
    progress.on_row(trainer, {"step": 6, "epoch": 0, "train_loss": 1.0})
    assert stream.getvalue() == "step 6/11  epoch 0  loss 1.000  10 tokens/s  0:05 left\n"
