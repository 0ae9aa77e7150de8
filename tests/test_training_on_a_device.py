"""A character model trains on a GPU, for which `tools.device_arrays` stands, as it does on the CPU."""

import numpy as np
import pytest
from tools.device_arrays import transfers

from comparing import assert_close
from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import DataLoader, SequentialBatches, TensorDataset, TokenStream
from rondeau.train import cli

TEXT = "the quick brown fox jumps over the lazy dog " * 8
TOKENS = TokenStream([ord(letter) - 96 if letter.isalpha() else 0 for letter in TEXT])
CLOSE = {"rtol": 2e-5, "atol": 2e-6}
BATCH = 4 * 5 * 8  # bytes of the inputs of a batch, and of its targets


class Rows(train.Callback):
    """Keeps the rows of metrics."""

    def __init__(self):
        self.rows = []

    def on_row(self, trainer, row):
        self.rows.append({name: float(value) for name, value in row.items() if name != "seconds"})


def trainer(device, **options):
    rt.manual_seed(0)
    model = nn.LanguageModel(27, "lstm", hidden_size=5, embedding_size=4, dropout=0.2)
    optimizer = train.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    given = {"max_steps": 6, "log_every": 3, "clip_norm": 0.5, "averaged": 0.5, **options}
    return train.Trainer(model, optimizer, SequentialBatches(TOKENS, 4, 5), device=device, **given)


def assert_same_run(there, here):
    """The rows of metrics, the weights and their averages are the same within float32's rounding."""
    for got, expected in zip(there.callbacks[-1].rows, here.callbacks[-1].rows, strict=True):
        assert got.keys() == expected.keys()
        assert_close(list(got.values()), list(expected.values()), **CLOSE)
    assert_close(there.model.state_dict(), here.model.state_dict(), **CLOSE)
    assert_close(there.averaged.state_dict(), here.averaged.state_dict(), **CLOSE)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.usefixtures("device_stand_in")
def test_the_run_is_that_of_the_cpu(accumulate):
    runs = []
    for device in ("cuda", "cpu"):
        run = trainer(device, held_out=TOKENS[:40], accumulate=accumulate, callbacks=[Rows()])
        run.fit()
        runs.append(run)
    there, here = runs
    assert {p.device for p in there.model.parameters()} == {"cuda"}
    assert there.evaluation.num_tokens == here.evaluation.num_tokens
    assert_same_run(there, here)


@pytest.mark.usefixtures("device_stand_in")
def test_nothing_is_copied_but_batches_and_metrics():
    run = trainer("cuda")
    run.fit()
    run.max_steps = 12
    with transfers() as seen:
        run.fit()
    assert [copy.nbytes for copy in seen.to_device] == [BATCH] * 12
    # Two rows of metrics, each with the ids that were out of range, if any were; and whether all weights are finite.
    assert len(seen.to_host) == len(seen.waits) == 5, seen
    assert max(copy.nbytes for copy in seen.to_host) < 500


@pytest.mark.usefixtures("device_stand_in")
def test_a_run_goes_on_on_another_device(tmp_path):
    for device, steps in (("cuda", 2), ("cpu", 4), ("cuda", 6)):
        recorder = train.Recorder(train.RunFolder(tmp_path))
        run = trainer(device, max_steps=steps, callbacks=[recorder])
        recorder.resume(run)
        run.fit()
        averages = [rt.as_tensor(state["momentum_buffer"]) for state in run.optimizer.state.values()]
        assert {average.device for average in averages} == {device}
    alone = trainer("cpu")
    alone.fit()
    assert_close(run.model.state_dict(), alone.model.state_dict(), **CLOSE)
    assert recorder.run.checkpoints.steps() == [2, 4, 6]


@pytest.mark.usefixtures("device_stand_in")
def test_pinned_batches_are_sent_without_waiting():
    rng = np.random.default_rng(0)
    pairs = TensorDataset(rng.normal(size=(24, 3)).astype(np.float32), rng.integers(0, 2, 24))
    model = nn.Linear(3, 2)
    run = train.Trainer(
        model,
        train.optim.Adam(model.parameters()),
        DataLoader(pairs, 4, pin_memory=True),
        task=train.Supervised(nn.functional.cross_entropy),
        device="cuda",
        max_steps=6,
    )
    with transfers() as seen:
        run.fit()
    assert [copy.nbytes for copy in seen.to_device] == [4 * 3 * 4, 4 * 8] * 6
    assert len(seen.waits) == len(seen.to_host) == 3, seen  # one row, and whether all weights are finite


@pytest.mark.usefixtures("device_stand_in")
def test_divergence_is_noticed_at_the_next_row():
    run = trainer("cuda", log_every=2)
    run.model.head.bias.data[0] = float("nan")
    with pytest.raises(train.DivergedError, match="the loss became nan at step 1, with learning rate"):
        run.fit()
    assert run.step == 2


@pytest.mark.usefixtures("device_stand_in")
def test_a_model_there_given_a_batch_here_names_both_devices():
    model = nn.LanguageModel(27, "lstm", hidden_size=5, embedding_size=4).to("cuda")
    for call in (
        lambda: model(rt.zeros(2, 3, dtype="int64")),
        lambda: model.recurrent(rt.zeros(3, 2, 4)),
        lambda: model.head(rt.zeros(2, 5)),
    ):
        with pytest.raises((TypeError, ValueError), match=r"cuda.*cpu|cpu.*cuda"):
            call()


def labelling(device):
    rng = np.random.default_rng(1)
    sequences = TensorDataset(
        rng.normal(size=(6, 5, 3)), rng.integers(-1, 2, (6, 5)), np.array([5, 1, 3, 4, 2, 5])
    )
    metrics = {"accuracy": train.metrics.accuracy, "perplexity": train.metrics.perplexity}
    task = train.SequenceLabelling(metrics, ignore_index=-1)

    class Tagger(nn.Linear):
        def forward(self, x, lengths):
            return super().forward(x)

    return Tagger(3, 2), task, sequences


def forecasting(device):
    rng = np.random.default_rng(2)
    windows = TensorDataset(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)))

    class Quantiles(nn.Linear):
        def forward(self, x):
            return super().forward(x).unflatten(1, (2, 2))

    return Quantiles(3, 4), train.Forecasting(2, quantiles=[0.2, 0.8]), windows


def own_task(device):
    rng = np.random.default_rng(3)

    class Squares(train.Task):
        def loss(self, model, batch, carry):
            inputs, targets = (rt.tensor(part) for part in batch)  # on the model's device
            assert inputs.device == device
            return nn.functional.mse_loss(model(inputs)[:, 0], targets), len(targets), None

    return (
        nn.Linear(3, 1, dtype="float64"),
        Squares(),
        TensorDataset(rng.normal(size=(6, 3)), rng.normal(size=6)),
    )


@pytest.mark.parametrize("kind", [labelling, forecasting, own_task])
@pytest.mark.usefixtures("device_stand_in")
def test_tasks_of_other_kinds(kind):
    runs = []
    for device in ("cuda", "cpu"):
        rt.manual_seed(0)
        model, task, samples = kind(device)
        run = train.Trainer(
            model,
            train.optim.SGD(model.parameters(), 0.1),
            DataLoader(samples, 2),
            task=task,
            held_out=DataLoader(samples, 3),
            device=device,
            max_epochs=2,
            accumulate=2,
        )
        run.fit()
        runs.append(run)
    there, here = (run.evaluation.columns() for run in runs)
    assert there.keys() == here.keys()
    assert_close(list(there.values()), list(here.values()), **CLOSE)


@pytest.mark.usefixtures("device_stand_in")
def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train.Recorder, "sample_length", 3)
    (tmp_path / "text").write_text(TEXT[:400], encoding="utf-8")
    sizes = [
        "--cell=gru",
        "--hidden_size=4",
        "--batch_size=2",
        "--num_steps=5",
        "--max_steps=2",
        "--dropout=0.2",
    ]

    def said(*arguments):
        assert cli.main(list(arguments)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    said("train", "text", "--output=here", *sizes)
    assert "\ndevice   Stand-in for a GPU\n" in said("train", "text", "--output=run", "--device=cuda", *sizes)
    assert "device: cuda\n" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    here, there = (train.RunFolder(tmp_path / name).rows()[-1] for name in ("here", "run"))
    assert_close(
        [there["train_loss"], there["held_out_loss"]], [here["train_loss"], here["held_out_loss"]], **CLOSE
    )

    def score(*device):
        return said("evaluate", "run", *device), said("generate", "run", "--length=9", "--seed=1", *device)

    assert score("--device=cuda") == score()
    said("train", "--resume=run", "--max_steps=3", "--device=cpu")
    assert train.load_trained(tmp_path / "run", "latest", device="cuda").model.head.weight.device == "cuda"


@pytest.mark.usefixtures("device_stand_in")
def test_an_estimator_and_metrics():
    pytest.importorskip("sklearn", reason="needs the extra sklearn")
    from rondeau.train import estimators

    X = np.random.default_rng(0).normal(size=(12, 3))
    y = X[:, 0] > 0
    there, here = (
        estimators.RecurrentClassifier(
            "rnn_tanh",
            hidden_size=3,
            epochs=3,
            random_state=0,
            early_stopping=True,
            validation_fraction=0.3,
            device=device,
        ).fit(X, y)
        for device in ("cuda", "cpu")
    )
    assert there.model_.head.weight.device == "cuda"
    assert_close(there.loss_curve_, here.loss_curve_, **CLOSE)
    assert_close(there.predict_proba(X), here.predict_proba(X), **CLOSE)
    logits, targets = rt.randn(6, 2), rt.tensor([0, 1, 1, 0, 1, 0])
    for metric in (train.metrics.accuracy, train.metrics.perplexity):
        assert metric(logits.cuda(), targets.cuda()) == metric(logits, targets)
    chosen = logits.argmax(1)
    assert train.metrics.f1_score(targets.cuda(), chosen.cuda()) == train.metrics.f1_score(targets, chosen)
    with pytest.raises(ValueError, match="expected device 'cpu' or 'cuda', got 'tpu'"):
        estimators.RecurrentRegressor(device="tpu").fit(X, X[:, 0])
