"""Tasks other than language models: what they compute, and that a training goes on with the same bits."""

import copy
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import DataLoader, TensorDataset
from rondeau.train import metrics

B, T, C = 24, 6, 3


class Classifier(nn.Module):
    """The final state of a packed batch."""

    def __init__(self, inputs=2, outputs=C):
        super().__init__()
        self.rnn, self.head = nn.GRU(inputs, 5, batch_first=True), nn.Linear(5, outputs)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x, lengths=None):
        return self.head(self.dropout(self.rnn(x, lengths=lengths)[1][-1]))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, C)

    def forward(self, x, lengths=None):
        return self.head(self.rnn(x, lengths=lengths)[0])


class Forecaster(nn.Module):
    def __init__(self, horizon=4, levels=None):
        super().__init__()
        self.rnn, self.head = nn.RNN(2, 5, batch_first=True), nn.Linear(5, horizon * (levels or 1))
        self.shape = (horizon, levels) if levels else (horizon,)

    def forward(self, x, covariates=None):
        outputs = self.head(self.rnn(x)[1][-1]).reshape(len(x), *self.shape)
        return outputs if covariates is None else outputs + covariates.sum(-1)


class Dicts:
    """A data set whose samples are dicts."""

    def __init__(self, **arrays):
        self.arrays = arrays

    def __len__(self):
        return B

    def __getitem__(self, index):
        return {name: array[index] for name, array in self.arrays.items()}


rng = np.random.default_rng(0)
X = rng.standard_normal((B, T, 2))
CLASSES, TAGS = rng.integers(0, C, B), rng.integers(0, C, (B, T))
LENGTHS, FUTURE = rng.integers(1, T + 1, B), rng.standard_normal((B, 4))

KINDS = {
    "classifier": (
        Classifier,
        lambda: train.Supervised(nn.functional.cross_entropy, {"accuracy": metrics.accuracy}),
        TensorDataset(X, CLASSES, LENGTHS),
    ),
    "tagger": (Tagger, train.SequenceLabelling, TensorDataset(X, TAGS, LENGTHS)),
    "forecaster": (Forecaster, lambda: train.Forecasting(4), TensorDataset(X, FUTURE)),
    "quantiles": (
        lambda: Forecaster(4, 3),
        lambda: train.Forecasting(4, (0.1, 0.5, 0.9)),
        TensorDataset(X, FUTURE),
    ),
}


def make(kind, batch_size=5, **options):
    model, task, samples = KINDS[kind]
    rt.manual_seed(3)
    model = model()
    return train.Trainer(
        model,
        train.optim.Adam(model.parameters(), lr=0.01),
        DataLoader(samples, batch_size, shuffle=True, seed=1),
        task=task(),
        held_out=DataLoader(samples, 7),
        **{"max_epochs": 3, "log_every": 2} | options,
    )


def weights(trainer):
    return {name: tensor.numpy() for name, tensor in trainer.model.state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_learns_and_tells(kind):
    history = train.History()
    trainer = make(kind, max_epochs=30, callbacks=[history])
    trainer.fit()
    _, losses = history.curve("held_out_loss")
    assert losses[-1] < losses[0]
    row = history.rows[-1]
    name = "accuracy" if kind in ("classifier", "tagger") else "mae"
    assert row[f"held_out_{name}"] == trainer.evaluation.metrics[name]
    counted = LENGTHS.sum() if kind == "tagger" else B
    assert row["steps" if kind == "tagger" else "samples"] == 30 * counted
    assert trainer.evaluation.weight == counted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [1, 4, 5, 11])
def test_a_training_that_was_stopped_goes_on_with_the_same_bits(kind, stop, tmp_path):
    whole = make(kind)
    whole.fit()

    class Stops(train.Callback):
        def on_step(self, trainer):
            if trainer.step == stop:
                trainer.stop("here")

    def record():
        return train.Recorder(train.RunFolder(tmp_path), corpus={"name": kind})

    first = make(kind, callbacks=[record(), Stops()])
    first.fit()
    rt.manual_seed(99)
    recorder = record()
    second = make(kind, callbacks=[recorder])
    recorder.resume(second)
    assert second.step == stop
    second.fit()
    assert_same_bits(weights(second), weights(whole))
    assert second.evaluation == whole.evaluation
    assert not (tmp_path / "vocab.json").exists()


def test_the_loss_of_a_classifier_is_the_mean_and_its_metrics_are_of_all():
    trainer = make("classifier")
    task, model = trainer.task, trainer.model.eval()
    with rt.no_grad():
        score = task.evaluate(model, DataLoader(TensorDataset(X, CLASSES, LENGTHS), 7))
        logits = model(rt.tensor(X, dtype="float32"), lengths=LENGTHS)
    assert_close(score.loss, nn.functional.cross_entropy(logits, rt.tensor(CLASSES)).item(), rtol=1e-5)
    assert score.metrics == {"accuracy": metrics.accuracy(logits, CLASSES)}


def test_the_loss_of_a_tagger_is_of_the_steps_that_count():
    trainer = make("tagger")
    tags = TAGS.copy()
    tags[3, 0] = -100
    mask = rng.random((B, T)) < 0.8
    batch = {"inputs": X, "targets": tags, "lengths": LENGTHS, "mask": mask}
    loss, weight, _ = trainer.task.loss(trainer.model, batch, None)
    logits = trainer.model(rt.tensor(X, dtype="float32"), lengths=LENGTHS).detach().numpy().astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    terms = [
        -log_softmax[b, t, tags[b, t]]
        for b in range(B)
        for t in range(LENGTHS[b])
        if mask[b, t] and tags[b, t] != -100
    ]
    assert weight == len(terms)
    assert_close(loss.item(), np.mean(terms), rtol=1e-5)


def test_a_mask_of_sequences_and_one_of_their_steps_are_the_same():
    model, task = Tagger(), train.SequenceLabelling()
    square = slice(0, T)  # as many sequences as steps
    rows = np.arange(T) % 2 == 0
    steps = np.repeat(rows[:, None], T, axis=1)
    found = [
        task.loss(model, {"inputs": X[square], "targets": TAGS[square], "mask": mask}, None)[0].item()
        for mask in (rows, steps)
    ]
    assert found[0] == found[1]


def test_the_pinball_loss_is_least_at_the_quantiles():
    levels = (0.1, 0.5, 0.9)
    task = train.Forecasting(1, levels)
    sample = np.random.default_rng(1).exponential(size=(4000, 1))
    at = np.quantile(sample, levels)

    def loss(forecast):
        outputs = rt.tensor(np.broadcast_to(forecast, (4000, 1, 3)).copy())
        return task.criterion(outputs, rt.tensor(sample)).item()

    by_hand = [
        np.maximum(q * (sample - f), (q - 1) * (sample - f)).mean() for q, f in zip(levels, at, strict=True)
    ]
    assert_close(loss(at), np.mean(by_hand), rtol=1e-12)
    for k in range(3):
        for shift in (-0.05, 0.05):
            assert loss(at + shift * np.eye(3)[k]) > loss(at)


def test_covariates_are_given_to_the_model_by_name():
    model, task = Forecaster(), train.Forecasting(4)
    covariates = rng.standard_normal((B, 4, 3))
    batches = DataLoader(Dicts(inputs=X, targets=FUTURE, covariates=covariates), B)
    outputs, targets = task.predict(model, next(iter(batches)))
    plain = model(rt.tensor(X, dtype="float32")).detach().numpy()
    assert_close(outputs.detach().numpy(), plain + covariates.sum(-1), rtol=1e-4, atol=1e-5)
    assert_close(targets.numpy(), FUTURE, rtol=1e-6)


@pytest.mark.parametrize("kind", ["classifier", "tagger"])
def test_accumulated_batches_are_one_large_batch(kind):
    model, task, samples = KINDS[kind]
    found = []
    for batch_size, accumulate in ((4, 3), (12, 1)):
        rt.manual_seed(0)
        module = model().double()
        if hasattr(module, "dropout"):
            module.dropout.p = 0.0
        trainer = train.Trainer(
            module,
            train.optim.SGD(module.parameters(), lr=0.1),
            DataLoader(samples, batch_size),
            task=task(),
            accumulate=accumulate,
            max_epochs=2,
            clip_norm=0.5,
        )
        trainer.fit()
        assert (trainer.step, trainer.steps_per_epoch, trainer.total_steps) == (4, 2, 4)
        found.append((weights(trainer), trainer.num_seen))
    (few, seen), (many, seen_too) = found
    assert seen == seen_too
    for name, weight in few.items():
        assert_close(weight, many[name], rtol=1e-12, atol=1e-12)


def test_the_last_step_of_an_epoch_takes_what_is_left():
    steps = []

    class Notes(train.Callback):
        def on_step(self, trainer):
            steps.append((trainer.step, trainer.epoch, trainer.num_seen))

    make("forecaster", accumulate=2, max_epochs=2, callbacks=[Notes()]).fit()
    assert steps == [(1, 0, 10), (2, 0, 20), (3, 1, 24), (4, 1, 34), (5, 1, 44), (6, 2, 48)]


class Pair(NamedTuple):
    first: rt.Tensor
    second: int


def test_a_named_tuple_is_carried():
    class Carries(train.Task):
        def loss(self, model, batch, carry):
            inputs, targets = (rt.tensor(part, dtype="float32") for part in batch)
            outputs = model(inputs) + (0.0 if carry is None else carry.first)
            return nn.functional.mse_loss(outputs, targets), len(inputs), Pair(outputs.mean() * 0.1, 1)

    model = Forecaster()
    batches = DataLoader(TensorDataset(X, FUTURE), 5)
    trainer = train.Trainer(
        model, train.optim.SGD(model.parameters(), lr=0.1), batches, task=Carries(), max_steps=3
    )
    trainer.fit()
    assert type(trainer._carried) is Pair
    assert not trainer._carried.first.requires_grad


def test_a_carry_of_any_nesting_goes_on(tmp_path):
    class Counts(train.Task):
        def loss(self, model, batch, carry):
            inputs, targets = batch
            carry = {"h": rt.zeros(1), "list": [rt.zeros(2), 0]} if carry is None else copy.copy(carry)
            outputs = model(rt.tensor(inputs, dtype="float32")) + carry["h"]
            carry = {"h": outputs.mean() * 0.1, "list": [carry["list"][0] + 1, carry["list"][1] + 1]}
            return nn.functional.mse_loss(outputs, rt.tensor(targets, dtype="float32")), len(inputs), carry

    def make_one():
        rt.manual_seed(0)
        model = Forecaster()
        batches = DataLoader(TensorDataset(X, FUTURE), 5)
        return train.Trainer(
            model, train.optim.SGD(model.parameters(), lr=0.1), batches, task=Counts(), max_steps=8
        )

    whole = make_one()
    whole.fit()
    first = make_one()
    first.max_steps = 3
    first.fit()
    assert first.snapshot().state["carried"]["list"][1] == 3
    second = make_one()
    second.restore(copy.deepcopy(first.snapshot()))
    second.fit()
    assert_same_bits(weights(second), weights(whole))


@pytest.mark.parametrize(
    ("task", "batch", "error", "message"),
    [
        (train.SequenceLabelling(), (X,), TypeError, r"expected \(inputs, targets\), .* got tuple of 1"),
        (train.SequenceLabelling(), {"inputs": X}, TypeError, "expected 'targets' in a dict, got one with"),
        (train.SequenceLabelling(), X, TypeError, "a batch: expected .* got ndarray"),
        (
            train.SequenceLabelling(),
            (X, CLASSES),
            ValueError,
            r"expected logits \(B, T, C\) of targets \(B, T\)",
        ),
        (
            train.SequenceLabelling(),
            (X, np.full((B, T), -100)),
            ValueError,
            "a batch without a step that counts",
        ),
        (
            train.Supervised(nn.functional.cross_entropy),
            {"inputs": X, "targets": TAGS, "mask": np.ones(B)},
            ValueError,
            "mask: expected booleans of the first dimensions of the outputs",
        ),
        (
            train.Supervised(nn.functional.mse_loss),
            {"inputs": X, "targets": FUTURE, "mask": np.zeros(B, bool)},
            ValueError,
            "a batch in which nothing counts",
        ),
        (
            train.SequenceLabelling(),
            {"inputs": X, "targets": TAGS, "mask": np.ones(T, bool)},
            ValueError,
            r"mask: expected booleans of shape \(24, 6\), or \(24,\) for whole sequences, got bool of shape \(6,\)",
        ),
        (
            train.Forecasting(3),
            MappingProxyType({"inputs": X, "targets": FUTURE, "mask": np.ones(B, bool)}),
            ValueError,
            r"expected targets \(B, 3\)",
        ),
        (
            train.Forecasting(3),
            (X, TAGS),
            ValueError,
            r"expected targets \(B, 3\) or \(B, 3, D\), got \(24, 6\)",
        ),
        (
            train.Forecasting(4),
            (X, FUTURE),
            ValueError,
            r"expected forecasts of shape \(24, 4\), got \(24, 6, 3\)",
        ),
    ],
)
def test_batches_that_do_not_fit_are_named(task, batch, error, message):
    with pytest.raises(error, match=message):
        task.loss(Tagger(), batch, None)


def of_classes(loss, batches=1, masked=False, **options):
    """Train on 12 samples in so many batches; some classes are ignored, and all of the first third."""
    rng = np.random.default_rng(0)
    samples = {"inputs": rng.standard_normal((12, 3)), "targets": rng.integers(0, 5, 12)}
    samples["targets"][[0, 1, 2, 3, 8]] = -100
    if masked:
        samples["mask"] = np.arange(12) != 11
    parts = [{k: v[i::batches] for k, v in samples.items()} for i in range(batches)]
    rt.manual_seed(0)
    model = nn.Linear(3, 5, dtype="float64")
    optimizer = train.optim.SGD(model.parameters(), lr=0.5)
    options |= {"task": train.Supervised(loss), "held_out": parts, "max_epochs": 3, "accumulate": batches}
    trainer = train.Trainer(model, optimizer, parts, **options)
    trainer.fit()
    return [model.weight, model.bias, trainer.evaluation.loss, trainer.num_seen]


WEIGHTS = rt.tensor(np.array([0.1, 1, 2, 5, 9]))


@pytest.mark.parametrize(
    "loss",
    [
        nn.functional.cross_entropy,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(WEIGHTS, label_smoothing=0.1),
        nn.LinearCrossEntropyLoss(5, 5, weight=WEIGHTS, dtype="float64"),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_batches_count_by_the_classes_that_count(loss, masked):
    """However they are cut: the gradient and the held-out loss are those of all samples together."""
    whole = of_classes(loss, masked=masked)
    for cut in ({"batches": 2}, {"batches": 3}, {"shards": 3}, {"shards": 2, "batches": 2}):
        assert_close(of_classes(loss, masked=masked, **cut), whole, rtol=1e-12)
    if loss is nn.functional.cross_entropy:
        assert whole[-1] == 3 * (6 if masked else 7)


def test_an_evaluation_goes_on_in_the_order_that_it_had():
    class StopAt(train.Callback):
        def on_step(self, trainer):
            if trainer.step == 3:
                trainer.stop("stopped")

    def made(*callbacks, held_out_of=11):
        rt.manual_seed(0)
        x = np.random.default_rng(0).standard_normal((11, 4))
        pairs = TensorDataset(x[:, :3], x[:, 3:])
        model, history = nn.Linear(3, 1), train.History()
        held_out = DataLoader(TensorDataset(*pairs[:held_out_of]), 3, shuffle=True, seed=4)
        trainer = train.Trainer(
            model,
            train.optim.SGD(model.parameters(), lr=0.1),
            DataLoader(pairs, 4),
            task=train.Supervised(nn.functional.mse_loss),
            held_out=held_out,
            evaluate_every=1,
            max_steps=9,
            callbacks=[history, *callbacks],
        )
        return trainer, history

    whole, of_whole = made()
    whole.fit()
    stopped, of_stopped = made(StopAt())
    stopped.fit()
    resumed, of_resumed = made()
    resumed.restore(stopped.snapshot())
    resumed.fit()
    losses = [[row["held_out_loss"] for row in rows.rows] for rows in (of_whole, of_stopped, of_resumed)]
    assert losses[0] == losses[1] + losses[2]
    with pytest.warns(train.RunWarning, match="held_out is not what it was, .*: cannot resume: num_samples"):
        made(held_out_of=10)[0].restore(stopped.snapshot())


def test_a_task_that_chooses_its_targets_says_itself_how_much_they_count():
    class Doubled(train.Supervised):
        def weight(self, targets):
            return 2 * len(targets)

    batch = rt.zeros(3, 5), rt.tensor([0, -100, 2])
    _, weight, _ = Doubled(nn.CrossEntropyLoss()).loss(nn.Sequential(), batch, None)
    assert weight == 6
    probabilities = rt.zeros(3, 5), rt.full((3, 5), 0.2)
    assert train.Supervised(nn.CrossEntropyLoss()).loss(nn.Sequential(), probabilities, None)[1] == 3
    with pytest.raises(ValueError, match="nothing counts: its classes are ignored, or weigh nothing"):
        train.Supervised(nn.CrossEntropyLoss()).loss(
            nn.Sequential(), (rt.zeros(3, 5), rt.full((3,), -100)), None
        )


@pytest.mark.parametrize(
    ("make_task", "error", "message"),
    [
        (
            lambda: train.Supervised(nn.CrossEntropyLoss(reduction="sum")),
            ValueError,
            "loss: expected one that returns a mean, .* got CrossEntropyLoss with reduction='sum'",
        ),
        (lambda: train.Supervised("mse"), TypeError, "loss: expected a function"),
        (lambda: train.Supervised(nn.MSELoss(), {"a": 3}), TypeError, r"metrics\['a'\]: expected a function"),
        (lambda: train.Supervised(nn.MSELoss(), ["a"]), TypeError, "metrics"),
        (lambda: train.Supervised(nn.MSELoss(), {"loss": min}), ValueError, "another name than 'loss'"),
        (lambda: train.Forecasting(0), ValueError, "horizon: expected at least 1"),
        (lambda: train.Forecasting(2, (0.5, 0.1)), ValueError, "quantiles: expected ascending levels"),
        (
            lambda: train.Forecasting(2, (0.5, 1)),
            ValueError,
            r"quantiles\[1\]: expected a number in \(0, 1\)",
        ),
        (lambda: train.Forecasting(2, ()), ValueError, "quantiles: expected ascending levels"),
    ],
)
def test_mistakes_of_tasks(make_task, error, message):
    with pytest.raises(error, match=message):
        make_task()


def test_mistakes_of_trainers():
    model = Tagger()
    optimizer = train.optim.SGD(model.parameters(), lr=0.1)
    batches = DataLoader(TensorDataset(X, TAGS), 5)
    with pytest.raises(
        TypeError, match="without a task, expected SequentialBatches or RandomBatches, got DataLoader"
    ):
        train.Trainer(model, optimizer, batches, max_steps=1)
    with pytest.raises(TypeError, match="task: expected"):
        train.Trainer(model, optimizer, batches, task=nn.MSELoss(), max_steps=1)
    with pytest.raises(TypeError, match="held_out: expected batches"):
        train.Trainer(model, optimizer, batches, task=train.SequenceLabelling(), held_out=3, max_steps=1)
    with pytest.raises(ValueError, match="accumulate: expected at least 1"):
        train.Trainer(model, optimizer, batches, task=train.SequenceLabelling(), accumulate=0, max_steps=1)


class Weighs(train.Task):
    """Mean squares of pairs, of a weight that the test says."""

    def __init__(self, weight, keep=lambda loss: loss):
        self.weights, self.keep = weight, keep

    def loss(self, model, batch, carry):
        inputs, targets = batch
        weight = next(self.weights) if hasattr(self.weights, "__next__") else self.weights
        return self.keep(nn.functional.mse_loss(model(inputs), targets)), weight, None


PAIRS = [(rt.full((2, 1), i / 4), rt.full((2, 1), 1 - i / 8)) for i in range(4)]


def line(task, batches=PAIRS, **options):
    rt.manual_seed(0)
    model = nn.Linear(1, 1)
    optimizer = train.optim.SGD(model.parameters(), lr=0.1)
    return train.Trainer(model, optimizer, batches, task=task, **{"max_epochs": 1, "log_every": 1} | options)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "weight", [np.int64(2), np.float32(2), rt.tensor(2), rt.tensor([2]), np.array([[2]])]
)
def test_weights_of_any_kind_of_number_are_numbers_of_python(weight, accumulate, tmp_path):
    found = []
    for number, one in enumerate((2, weight)):
        run = train.RunFolder(tmp_path / str(number))
        trainer = line(Weighs(one), held_out=PAIRS, accumulate=accumulate, callbacks=[train.Recorder(run)])
        trainer.fit()
        assert type(trainer.num_seen) in (int, float)
        found.append((weights(trainer), [{**row, "seconds": 0} for row in run.rows()]))
    assert found[0][1] == found[1][1]
    assert_same_bits(found[0][0], found[1][0])


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (0, ValueError, "the batches of a step have weight 0"),
        (-1, ValueError, "the weight of a batch: expected a finite number >= 0"),
        (float("nan"), ValueError, "the weight of a batch: expected a finite number >= 0"),
        (10**400, ValueError, "the weight of a batch: expected a finite number >= 0"),
        (None, TypeError, "the weight of a batch: expected a number, got NoneType"),
        (np.ones(2), TypeError, "the weight of a batch: expected a number, got ndarray"),
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_that_are_none_are_refused(weight, accumulate, error, message):
    trainer = line(Weighs(weight), accumulate=accumulate)
    before = copy.deepcopy(weights(trainer))
    with pytest.raises(error, match=message):
        trainer.fit()
    assert_same_bits(weights(trainer), before)


def test_a_batch_of_weight_zero_counts_nothing_beside_others():
    both, one = line(Weighs(iter((0, 2))), PAIRS[:2], accumulate=2), line(Weighs(2), PAIRS[1:2])
    both.fit()
    one.fit()
    assert_same_bits(weights(both), weights(one))


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        (Weighs(1, lambda loss: 3.0), TypeError, "the loss that a task returns: expected Tensor, got float"),
        (train.Task(), NotImplementedError, r"Task must define loss\(model, batch, carry\)"),
    ],
)
def test_tasks_that_are_not_whole_are_refused(task, error, message):
    with pytest.raises(error, match=message):
        line(task).fit()


@pytest.mark.parametrize("lengths", [np.array([3]), LENGTHS / 2, 3])
def test_lengths_that_a_model_does_not_check_are_checked(lengths):
    class Heedless(Tagger):
        def forward(self, x, lengths=None):
            return super().forward(x)

    with pytest.raises(ValueError, match=r"lengths: expected integers of shape \(24,\), got"):
        train.SequenceLabelling().loss(Heedless(), (X, TAGS, lengths), None)


def test_a_unit_that_would_take_the_place_of_a_column_is_refused():
    task = Weighs(1)
    task.unit = "step"
    with pytest.raises(ValueError, match="its unit 'step' is a column"):
        line(task)


def test_an_evaluation_of_its_own_needs_no_trainer():
    task = train.Supervised(
        nn.functional.mse_loss, {"mae": lambda outputs, targets: abs(outputs - targets).mean()}
    )
    assert task.evaluate(nn.Linear(1, 1), PAIRS).weight == 8


def test_a_loss_alone_is_refused():
    class Alone(train.Task):
        def loss(self, model, batch, carry):
            return model(batch[0]).mean()

    with pytest.raises(TypeError, match=r"expected \(loss, weight, carry\), got Tensor"):
        line(Alone()).fit()


def test_nothing_held_out_is_no_divergence():
    with pytest.raises(ValueError, match="held_out: expected batches in which something counts"):
        line(train.Supervised(nn.functional.mse_loss), held_out=[]).fit()


def test_targets_in_a_nesting_weigh_as_many_as_there_are():
    inputs, targets = PAIRS[0]
    task = train.Supervised(lambda outputs, parts: nn.functional.mse_loss(outputs, parts["size"]))
    trainer = line(task, [(inputs, {"size": targets})], held_out=[(inputs, {"size": targets})])
    trainer.fit()
    assert trainer.num_seen == trainer.evaluation.weight == 2
    task.metrics["mae"] = lambda outputs, targets: 0
    with pytest.raises(TypeError, match="metrics: expected targets that are one tensor, got dict"):
        task.evaluate(trainer.model, trainer.held_out)


def test_a_metric_that_is_no_number_is_named():
    task = train.Supervised(nn.functional.mse_loss, {"odd": lambda outputs, targets: None})
    with pytest.raises(TypeError, match=r"metrics\['odd'\]: expected a number, got NoneType"):
        line(task, held_out=PAIRS).fit()


def test_scores_of_numpy_numbers_are_recorded(tmp_path):
    class Scores(Weighs):
        def evaluate(self, model, held_out):
            return train.Score(np.float32(0.5), 1, {"m": np.float32(0.25), "n": np.float32("nan")})

    run = train.RunFolder(tmp_path)
    line(Scores(1), held_out=PAIRS, callbacks=[train.Recorder(run), train.CSVLog(tmp_path / "log.csv")]).fit()
    row = list(run.rows())[-1]
    assert (row["held_out_loss"], row["held_out_m"]) == (0.5, 0.25)
    assert "held_out_n" not in row


def test_a_snapshot_of_another_task_is_refused():
    other = line(train.Supervised(nn.functional.mse_loss), max_steps=2)
    other.fit()
    trainer = line(Weighs(1))
    with pytest.raises(train.CheckpointError, match="task: was Supervised, is Weighs"):
        trainer.restore(other.snapshot())


@pytest.mark.filterwarnings("ignore::rondeau.train.RunWarning")
def test_a_list_that_is_left_is_begun_again_without_what_was_carried():
    carried = []

    class Carries(Weighs):
        def loss(self, model, batch, carry):
            carried.append(carry)
            loss, weight, _ = super().loss(model, batch, carry)
            return loss, weight, loss.detach()

    trainer = line(Carries(1), max_epochs=None, max_steps=2)
    trainer.fit()
    trainer.max_steps = 6
    trainer.fit()
    assert [carry is None for carry in carried] == [True, False, True, False, False, False]
    assert trainer.epoch == 1
