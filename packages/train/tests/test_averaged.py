"""Averaged weights in a training: what is averaged, what is evaluated, and what a run keeps of it."""

import json

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.train import cli, optim

X = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
Y = X @ np.float32([[1], [-2], [3]])


class Weights(train.Callback):
    """Keeps the weights after every step."""

    def __init__(self):
        self.seen = []

    def on_step(self, trainer):
        self.seen.append(arrays(trainer.model))


def arrays(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def make(**options):
    rt.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return train.Trainer(
        model,
        optim.Adam(model.parameters(), lr=0.05),
        data.DataLoader(data.TensorDataset(X, Y), 5, shuffle=True, seed=1),
        task=train.Supervised(nn.functional.mse_loss),
        held_out=data.DataLoader(data.TensorDataset(X, Y), 20),
        **{"max_epochs": 3, "averaged": 0.8} | options,
    )


def test_the_average_is_evaluated_and_the_training_is_as_without_it():
    weights = Weights()
    trainer = make(callbacks=[weights])
    trainer.fit()
    expected = {name: array.astype(np.float64) for name, array in weights.seen[0].items()}
    for step in weights.seen[1:]:
        for name, array in step.items():
            is_buffer = name.startswith(("1.running", "1.num"))
            expected[name] = array if is_buffer else 0.8 * expected[name] + 0.2 * array
    assert_close(arrays(trainer.evaluated_model), expected, rtol=1e-5, atol=1e-6)
    plain = make(averaged=None)
    plain.fit()
    assert_same_bits(arrays(trainer.model), arrays(plain.model))
    assert plain.evaluated_model is plain.model
    # Of the plain model with these weights, what the training said of the averaged one.
    plain.model.load_state_dict(trainer.evaluated_model.state_dict())
    plain.model.eval()
    with rt.no_grad():
        loss = nn.functional.mse_loss(plain.model(rt.tensor(X)), rt.tensor(Y)).item()
    assert trainer.evaluation.loss == pytest.approx(loss, rel=1e-6)
    assert plain.evaluation.loss != trainer.evaluation.loss


def test_an_averaged_model_that_is_given():
    rt.manual_seed(0)
    trainer = make(averaged=None)
    averaged = optim.swa_utils.AveragedModel(trainer.model, use_buffers=True)
    trainer = train.Trainer(
        trainer.model,
        trainer.optimizer,
        trainer.batches,
        task=trainer.task,
        averaged=averaged,
        max_steps=3,
        accumulate=2,
        callbacks=[weights := Weights()],
    )
    trainer.fit()
    assert averaged.n_averaged.item() == 3
    mean = np.mean([step["1.running_mean"] for step in weights.seen], axis=0)
    assert_close(averaged.module.state_dict()["1.running_mean"], mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_it_goes_on_with_the_same_bits(stop):
    whole = make()
    whole.fit()
    first = make(max_epochs=None, max_steps=stop)
    first.fit()
    second = make()
    rt.randn(3)  # nor does it matter what else is drawn
    second.restore(first.snapshot())
    second.fit()
    assert_same_bits(second.averaged.state_dict(), whole.averaged.state_dict())
    assert_same_bits(arrays(second.model), arrays(whole.model))
    assert second.evaluation == whole.evaluation


def test_a_checkpoint_says_whether_weights_were_averaged():
    with pytest.raises(train.CheckpointError, match="averaged: was AveragedModel, is none"):
        make(averaged=None).restore(make().snapshot())
    before = make()
    snapshot = before.snapshot()
    del snapshot.arrays["averaged"]["module.0.bias"]
    with pytest.raises(train.CheckpointError, match=r"Missing key.*module\.0\.bias"):
        before.restore(snapshot)
    assert_same_bits(before.snapshot().arrays["weights"], snapshot.arrays["weights"])
    of_old = make(averaged=None).snapshot()
    del of_old.state["classes"]["averaged"]  # as before weights could be averaged
    make(averaged=None).restore(of_old)
    assert of_old.evaluated_weights is of_old.arrays["weights"]


def test_an_average_that_is_not_finite_ends_the_training():
    broken = make(averaged=None)
    averaged = optim.swa_utils.AveragedModel(broken.model, avg_fn=lambda mean, new, n: new / 0.0)
    trainer = make(averaged=averaged)
    with pytest.raises(train.DivergedError, match=r"the averaged weight 0\.weight became"):
        trainer.fit()


@pytest.mark.parametrize(
    ("averaged", "error", "message"),
    [
        (
            1.0,
            ValueError,
            r"averaged, which is an AveragedModel or a decay: expected a number in \[0, 1\), got 1",
        ),
        (nn.Linear(1, 1), TypeError, "averaged, which is an AveragedModel or a decay: expected a number"),
        (
            optim.swa_utils.AveragedModel(nn.Linear(3, 4)),
            ValueError,
            "the averaged model is of another model",
        ),
    ],
)
def test_wrong_arguments_are_refused(averaged, error, message):
    with pytest.raises(error, match=message):
        make(averaged=averaged)


def test_a_run_of_the_command_keeps_and_uses_them(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("a rose is a rose is a thorn\n" * 20, encoding="utf-8")
    flags = ["--hidden_size=4", "--batch_size=4", "--num_steps=8", "--max_steps=6", "--evaluate_every=3"]
    folder = tmp_path / "run"
    assert cli.main(["train", str(text), *flags, "--averaged=0.5", f"--output={folder}"]) == 0
    trained = train.load_trained(folder)
    checkpoint = folder / "checkpoints" / f"step-{trained.step}"
    averaged = nn.load_safetensors(checkpoint / "averaged.safetensors")
    weights = nn.load_safetensors(checkpoint / "weights.safetensors")
    assert averaged.pop("n_averaged") == trained.step
    assert_same_bits({f"module.{name}": a for name, a in arrays(trained.model).items()}, averaged)
    assert averaged["module.head.bias"].tobytes() != weights["head.bias"].tobytes()
    said = capsys.readouterr().out
    loss = json.loads((folder / "summary.json").read_text())["held_out_loss"]
    assert cli.main(["evaluate", str(folder)]) == 0
    assert f"perplexity {np.exp(loss):.3f}" in capsys.readouterr().out
    assert f"perplexity {np.exp(loss):.3f}" in said
