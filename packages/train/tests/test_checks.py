"""Arguments of a wrong type are refused at the door, in our own words."""

import numpy as np
import pytest

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.train import lr_scheduler as schedules
from rondeau.train import optim

NO_NUMBERS = [None, "0.5", [0.5], {}, True, 1j]
NO_INTEGERS = [None, "3", 2.5, [3], True, 1j]

TOKENS = data.TokenStream([0, 1, 2] * 40)
OPTIONS = {
    optim.SGD: ["lr", "momentum", "dampening", "weight_decay"],
    optim.Adagrad: ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"],
    optim.RMSprop: ["lr", "alpha", "eps", "weight_decay", "momentum"],
    optim.Adam: ["lr", "eps", "weight_decay"],
    optim.AdamW: ["lr", "eps", "weight_decay"],
}


def optimizer():
    return optim.SGD([rt.zeros(1, requires_grad=True)], lr=1.0)


def trainer(model=None, optimizer=None, batches=None, **options):
    model = nn.LanguageModel(3, "rnn", 2) if model is None else model
    optimizer = optim.SGD(model.parameters()) if optimizer is None else optimizer
    batches = data.SequentialBatches(TOKENS, 2, 5) if batches is None else batches
    return train.Trainer(model, optimizer, batches, **{"max_steps": 1, **options})


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in OPTIONS.items() for name in names]
)
def test_options_of_an_optimiser_that_are_no_numbers(kind, name, wrong):
    with pytest.raises(TypeError, match=f"^Invalid .*: expected a number, got {type(wrong).__name__}"):
        kind([rt.zeros(1, requires_grad=True)], **{name: wrong})


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
@pytest.mark.parametrize("wrong", [None, "ab", 0.9, (0.9,), (0.9, 0.9, 0.9), {0.9, 0.8}, {}], ids=repr)
def test_betas_that_are_no_pair(kind, wrong):
    with pytest.raises(TypeError, match=r"^betas: expected a pair of numbers, got"):
        kind([rt.zeros(1, requires_grad=True)], betas=wrong)


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=repr)
def test_a_beta_that_is_no_number(wrong):
    with pytest.raises(TypeError, match=r"^Invalid beta parameter at index 1: expected a number"):
        optim.Adam([rt.zeros(1, requires_grad=True)], betas=(0.9, wrong))


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "params: expected an iterable of Tensors or dicts, got NoneType"),
        (3, "params: expected an iterable of Tensors or dicts, got int"),
        ({"params": []}, r"params: expected an iterable of Tensors or dicts, got one dict; write \[dict\]"),
        ("w", "one of the params is str"),
        ([None], "one of the params is NoneType"),
        ([{"params": None}], "params: expected an iterable of Tensors, got NoneType"),
        ([{"params": ["w"]}], "one of the params is str"),
        ([{"lr": 0.1}], "param_group must be a dict with the key 'params'"),
    ],
)
def test_what_are_no_parameters(kind, wrong, message):
    with pytest.raises(TypeError, match=message):
        kind(wrong)


def test_an_option_whose_name_is_no_string():
    with pytest.raises(ValueError, match="SGD knows no option 3"):
        optim.SGD([{"params": [rt.zeros(1)], 3: 1, "speed": 2}])


def test_a_closure_that_is_none():
    with pytest.raises(TypeError, match="closure: expected Callable, got int"):
        optimizer().step(3)


NUMBERS = [
    (lambda v: schedules.ConstantLR(optimizer(), factor=v), "factor"),
    (lambda v: schedules.StepLR(optimizer(), 1, v), "gamma"),
    (lambda v: schedules.ExponentialLR(optimizer(), v), "gamma"),
    (lambda v: schedules.LinearLR(optimizer(), v), "start_factor"),
    (lambda v: schedules.LinearLR(optimizer(), end_factor=v), "end_factor"),
    (lambda v: schedules.CosineAnnealingLR(optimizer(), 1, v), "eta_min"),
    (lambda v: schedules.LambdaLR(optimizer(), lambda step: v), "what lr_lambda gave for step 0"),
    (lambda v: schedules.ReduceLROnPlateau(optimizer(), factor=v), "factor"),
    (lambda v: schedules.ReduceLROnPlateau(optimizer(), threshold=v), "threshold"),
    (lambda v: schedules.ReduceLROnPlateau(optimizer(), eps=v), "eps"),
    (lambda v: schedules.ReduceLROnPlateau(optimizer(), min_lr=[v]), r"min_lr\[0\]"),
    (lambda v: trainer(max_minutes="soon" if v is None else v), "max_minutes"),
    (lambda v: trainer(clip_norm="much" if v is None else v), "clip_norm"),
    (lambda v: train.token_probabilities(np.zeros(2), v), "temperature"),
    (lambda v: train.token_probabilities(np.zeros(2), top_p="all" if v is None else v), "top_p"),
]


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(("make", "name"), NUMBERS)
def test_what_is_no_number(make, name, wrong):
    with pytest.raises(TypeError, match=f"^{name}: expected a number, got"):
        make(wrong)


@pytest.mark.parametrize("wrong", [np.nan, -np.inf, 10**400, -(10**400)], ids=lambda number: f"{number!s:.9}")
@pytest.mark.parametrize(("make", "name"), NUMBERS)
def test_numbers_beyond_every_range(make, name, wrong):
    with pytest.raises(
        ValueError, match=f"^{name}: expected a .*number.*, got (nan|-inf|an integer of 1329 bits)$"
    ):
        make(wrong)


INTEGERS = [
    (lambda n: schedules.ConstantLR(optimizer(), total_iters=n), "total_iters"),
    (lambda n: schedules.StepLR(optimizer(), n), "step_size"),
    (lambda n: schedules.StepLR(optimizer(), 1, last_epoch=n), "last_epoch"),
    (lambda n: schedules.LinearLR(optimizer(), total_iters=n), "total_iters"),
    (lambda n: schedules.CosineAnnealingLR(optimizer(), n), "T_max"),
    (lambda n: schedules.SequentialLR(optimizer(), [], [n]), r"milestones\[0\]"),
    (lambda n: schedules.ReduceLROnPlateau(optimizer(), patience=n), "patience"),
    (lambda n: schedules.ReduceLROnPlateau(optimizer(), cooldown=n), "cooldown"),
    (lambda n: trainer(evaluation_rows=n), "evaluation_rows"),
    (lambda n: trainer(max_epochs="all" if n is None else n), "max_epochs"),
    (lambda n: trainer(max_steps="all" if n is None else n), "max_steps"),
    (lambda n: trainer(log_every=n), "log_every"),
    (lambda n: trainer(evaluate_every="all" if n is None else n), "evaluate_every"),
    (lambda n: trainer(patience="all" if n is None else n, held_out=TOKENS), "patience"),
    (lambda n: train.evaluate(nn.LanguageModel(3, "rnn", 2), TOKENS, batch_size=n), "batch_size"),
    (lambda n: train.evaluate(nn.LanguageModel(3, "rnn", 2), TOKENS, num_steps=n), "num_steps"),
    (lambda n: train.token_probabilities(np.zeros(2), top_k="all" if n is None else n), "top_k"),
    (lambda n: train.CheckpointFolder("folder", n), "keep"),
    (lambda n: train.CheckpointFolder("folder").save(n, train.Snapshot({}, {})), "step"),
    (lambda n: train.CheckpointFolder("folder").save(1, train.Snapshot({}, {}), [n]), r"also_keep\[0\]"),
]


@pytest.mark.parametrize("wrong", NO_INTEGERS, ids=repr)
@pytest.mark.parametrize(("make", "name"), INTEGERS)
def test_what_is_no_integer(make, name, wrong):
    with pytest.raises(TypeError, match=f"^{name}: expected an integer, got"):
        make(wrong)


@pytest.mark.parametrize("wrong", [2**63, 10**400, -(10**400)], ids=lambda number: f"{number!s:.9}")
@pytest.mark.parametrize(("make", "name"), INTEGERS)
def test_integers_beyond_every_range(make, name, wrong):
    with pytest.raises(ValueError, match=f"^{name}: expected at (least|most) .*, got (an integer of|922337)"):
        make(wrong)


@pytest.mark.parametrize("wrong", [None, "text", 3, [1], {}], ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        lambda o: schedules.ConstantLR(o),
        lambda o: schedules.StepLR(o, 1),
        lambda o: schedules.ExponentialLR(o, 0.5),
        lambda o: schedules.LinearLR(o),
        lambda o: schedules.CosineAnnealingLR(o, 1),
        lambda o: schedules.LambdaLR(o, abs),
        lambda o: schedules.ReduceLROnPlateau(o),
    ],
)
def test_what_is_no_optimiser(make, wrong):
    with pytest.raises(TypeError, match=f"^optimizer: expected Optimizer, got {type(wrong).__name__}"):
        make(wrong)


@pytest.mark.parametrize("wrong", [None, "text", 1j, []], ids=repr)
@pytest.mark.parametrize("make", [lambda o: schedules.StepLR(o, 1), schedules.ReduceLROnPlateau])
def test_what_is_no_state_of_a_schedule(make, wrong):
    schedule = make(optimizer())
    before = schedule.state_dict()
    with pytest.raises(TypeError, match=r"^state of a schedule: expected Mapping, got"):
        schedule.load_state_dict(wrong)
    with pytest.raises(ValueError, match=r"^state of a schedule: expected the names .*, got step"):
        schedule.load_state_dict({"step": 1})
    for name in before:
        if wrong is None and name in (
            "best",
            "default_min_lr",
        ):  # before the first value; bounds for each group
            continue
        with pytest.raises(
            (TypeError, ValueError),
            match=r"expected (a number|an integer|an iterable|base|the (rates|bounds)|'(min|rel)' or)",
        ):
            schedule.load_state_dict({**before, name: wrong})
    assert schedule.state_dict() == before, "a refused state changes nothing"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: schedules.LambdaLR(optimizer(), 3),
            TypeError,
            "lr_lambda: expected an iterable of functions",
        ),
        (
            lambda: schedules.LambdaLR(optimizer(), [3]),
            TypeError,
            r"lr_lambda\[0\]: expected Callable, got int",
        ),
        (lambda: schedules.SequentialLR(optimizer(), 3, []), TypeError, "schedulers: expected an iterable"),
        (lambda: schedules.SequentialLR(optimizer(), [], 3), TypeError, "milestones: expected an iterable"),
        (
            lambda: schedules.ReduceLROnPlateau(optimizer()).step([0.1, 0.2]),
            TypeError,
            "metrics: expected one number, got list",
        ),
        (lambda: trainer(model=3, optimizer=optimizer()), TypeError, "model: expected Module, got int"),
        (lambda: trainer(optimizer="adam"), TypeError, "optimizer: expected Optimizer, got str"),
        (
            lambda: trainer(batches=[1]),
            TypeError,
            "batches: without a task, expected SequentialBatches or RandomBatches, got list",
        ),
        (lambda: trainer(scheduler=3), TypeError, "expected LRScheduler or ReduceLROnPlateau, got int"),
        (lambda: trainer(callbacks=3), TypeError, "callbacks: expected an iterable of Callbacks, got int"),
        (lambda: trainer(callbacks=[print]), TypeError, r"callbacks\[0\]: expected Callback, got builtin"),
        (lambda: trainer().restore({}), TypeError, "snapshot: expected Snapshot, got dict"),
        (
            lambda: trainer().restore(train.Snapshot([], {})),
            train.CheckpointError,
            "the checkpoint is of another run",
        ),
        (lambda: train.evaluate(3, TOKENS), TypeError, "model: expected Module, got int"),
        (lambda: train.token_probabilities("ab"), TypeError, "logits: expected an array of numbers, got str"),
        (
            lambda: train.token_probabilities(np.zeros((2, 2))),
            ValueError,
            r"expected shape \(V,\) with V at least 1",
        ),
        (
            lambda: train.token_probabilities(np.zeros(2), -1.0),
            ValueError,
            "temperature: expected a finite number >= 0",
        ),
        (lambda: train.generate(3, None, "a", 1), TypeError, "model: expected Module, got int"),
        (lambda: train.generate(nn.Tanh(), None, "a", 1), TypeError, "codec: expected Codec, got NoneType"),
        (lambda: train.RunFolder(3), TypeError, "path: expected str or PathLike, got int"),
        (lambda: train.RunFolder("folder").create(3), TypeError, "config: expected str, got int"),
        (lambda: train.RunFolder("folder").save_codec(3), TypeError, "codec: expected Codec, got int"),
        (lambda: train.Recorder(3, None, {}, prompt="a"), TypeError, "run: expected RunFolder, got int"),
        (lambda: train.CheckpointFolder(3), TypeError, "folder: expected str or PathLike, got int"),
        (lambda: train.CheckpointFolder("folder").load(3), TypeError, "name: expected str, got int"),
    ],
)
def test_other_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("snapshot", "message"),
    [
        ({}, "snapshot: expected Snapshot, got dict"),
        (train.Snapshot(3, {}), "arrays of a snapshot: expected Mapping, got int"),
        (train.Snapshot({"weights": 3}, {}), "arrays of a snapshot, 'weights': expected Mapping, got int"),
        (
            train.Snapshot({"weights": {"w": [1]}}, {}),
            "'weights', 'w': expected ndarray or generic, got list",
        ),
        (train.Snapshot({}, None), "state of a snapshot: expected dict, got NoneType"),
        (train.Snapshot({}, {"step": 1j}), "state of a snapshot: expected what JSON can hold, but"),
    ],
)
def test_a_snapshot_that_cannot_be_written_leaves_nothing_behind(tmp_path, snapshot, message):
    folder = tmp_path / "checkpoints"
    with pytest.raises(TypeError, match=message):
        train.CheckpointFolder(folder).save(1, snapshot)
    assert not folder.exists()


def test_a_folder_may_be_given_as_a_string(tmp_path):
    checkpoints = train.CheckpointFolder(str(tmp_path))
    checkpoints.save(1, train.Snapshot({"weights": {"w": np.ones(1)}}, {}))
    assert checkpoints.steps() == [1]
