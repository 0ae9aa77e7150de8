"""Copied and pickled objects do what the original does, and what cannot be copied says what to do instead."""

import copy
import functools
import pickle
import re

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.nn import cell_math as m
from rondeau.train import lr_scheduler, optim

STREAM = data.TokenStream(np.arange(97) % 5, 5)


def _pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.fixture(params=[copy.deepcopy, _pickled], ids=["deepcopy", "pickle"])
def duplicate(request):
    return request.param


@nn.recurrent_cell(gates=("h",), states=("h",))
def my_cell(x, r, s):
    return m.tanh(x.h + r.h)


def _drawn(*shape):
    return rt.tensor(np.random.default_rng(0).standard_normal(shape, np.float32))


MODULES = {
    "linear": (lambda: nn.Linear(3, 2), (4, 3)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2)), (2, 1, 4, 6)),
    "normalisation": (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.LayerNorm(3), nn.GELU()), (4, 3)),
    "list": (lambda: nn.ModuleList([nn.Linear(3, 3)])[0], (4, 3)),
    "lstm": (lambda: nn.LSTM(3, 4, 2, bidirectional=True, dropout=0.5), (5, 2, 3)),
    "regularised": (lambda: nn.GRU(3, 4, zoneout=0.1, recurrent_dropout=0.2, weight_dropout=0.3), (5, 2, 3)),
    "own cell": (lambda: nn.Recurrent(my_cell, 3, 4), (5, 2, 3)),
    "cell": (lambda: nn.LSTMCell(3, 4), (2, 3)),
}


def _bits(result):
    return (
        [part.numpy().tobytes() for part in result]
        if isinstance(result, tuple)
        else [result.detach().numpy().tobytes()]
    )


def _output(module, x):
    """Return the bits of a call in training; every call draws the same masks."""
    rt.manual_seed(1)
    output, *_ = result if isinstance(result := module(x), tuple) else (result,)
    return _bits(output)


@pytest.mark.parametrize("kind", MODULES)
def test_a_module_computes_the_same_and_is_independent(kind, duplicate):
    make, shape = MODULES[kind]
    module, x = make(), _drawn(*shape)
    _output(module, x)  # compiled, and with statistics
    twin = duplicate(module)
    assert _output(twin, x) == _output(module, x)
    before = _output(module.eval(), x)
    for parameter in twin.parameters():
        assert parameter.is_leaf
        assert parameter.requires_grad
        nn.init.constant_(parameter, 0.25)
    assert _output(module, x) == before


def _training():
    """Return a trainer, and all that belongs to it, in the midst of a run."""
    rt.manual_seed(0)
    model = nn.LanguageModel(5, "lstm", 6)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    schedule = lr_scheduler.StepLR(optimizer, 2, 0.5)
    batches = data.RandomBatches(STREAM, 4, 5, seed=0)
    callbacks = [train.History(), train.Progress()]
    trainer = train.Trainer(
        model, optimizer, batches, scheduler=schedule, max_steps=6, held_out=STREAM, callbacks=callbacks
    )
    trainer.fit()
    trainer.max_steps = 11
    return trainer


def test_a_trainer_goes_on_to_the_same_bits(duplicate):
    trainer = _training()
    twin = duplicate(trainer)
    assert twin.scheduler.optimizer is twin.optimizer
    assert [*map(id, twin.optimizer.param_groups[0]["params"])] == [*map(id, twin.model.parameters())]
    for each in (trainer, twin):
        each.fit()
    assert (twin.step, twin.evaluation) == (trainer.step, trainer.evaluation) == (11, trainer.evaluation)
    for ours, theirs in zip(twin.model.parameters(), trainer.model.parameters(), strict=True):
        assert ours is not theirs
        assert_same_bits(ours, theirs)


OPTIMISERS = {
    "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": lambda p: optim.RMSprop(p, momentum=0.5, centered=True),
    "adagrad": optim.Adagrad,
}
SCHEDULES = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, functools.partial(pow, 0.5)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.5)], [2]
    ),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
}


@pytest.mark.parametrize(
    ("make", "schedule"), [*((o, None) for o in OPTIMISERS), *(("sgd", s) for s in SCHEDULES)]
)
def test_an_optimiser_and_its_schedule_go_on_to_the_same_bits(make, schedule, duplicate):
    weight = rt.tensor([1.0, -2.0], requires_grad=True)
    optimizer = OPTIMISERS[make]([weight])
    steps = None if schedule is None else SCHEDULES[schedule](optimizer)

    def go_on(weight, optimizer, steps):
        for _ in range(3):
            optimizer.zero_grad()
            (weight * weight).sum().backward()
            optimizer.step()
            if steps is not None:
                steps.step(*([1.0] if schedule == "plateau" else []))
        return weight.detach().numpy().tobytes(), optimizer.param_groups[0]["lr"]

    go_on(weight, optimizer, steps)
    twin = duplicate((weight, optimizer, steps))
    assert twin[0] is not weight
    assert go_on(*twin) == go_on(weight, optimizer, steps)


def _loader():
    return data.DataLoader(data.TensorDataset(np.arange(10)), 3, shuffle=True, seed=0)


@pytest.mark.parametrize(
    "make",
    [
        _loader,
        lambda: data.SequentialBatches(STREAM, 2, 3, seed=0),
        lambda: data.RandomBatches(STREAM, 2, 3, seed=0),
        lambda: data.DataLoader(
            data.TensorDataset(np.arange(9)), batch_sampler=data.BucketBatches([3, 1, 2] * 3, 2, seed=0)
        ),
        lambda: data.Subset(data.TensorDataset(np.arange(10)), [4, 2]),
    ],
    ids=["loader", "sequential", "random", "buckets", "subset"],
)
def test_what_gives_batches_goes_on_with_the_same(make, duplicate):
    batches = make()
    assert list(batches)  # one epoch
    twin = duplicate(batches)
    ours, theirs = (
        [np.asarray(part).tobytes() for batch in each for part in batch] for each in (batches, twin)
    )
    assert ours == theirs


@pytest.mark.parametrize(
    "tokenizer", [data.CharTokenizer(), data.WordTokenizer(), data.RegexTokenizer(r"\w+"), None]
)
def test_texts_are_read_and_written_as_before(tokenizer, duplicate):
    text = "to be or not to be"
    if tokenizer is None:
        pytest.importorskip("tokenizers")
        tokenizer = data.BPETokenizer.train(text, 260)
    codec = data.Codec.fit(text, tokenizer)
    twin = duplicate(codec)
    assert twin == codec
    assert_same_bits(twin.encode(text), codec.encode(text))
    assert twin.decode(twin.encode(text)) == codec.decode(codec.encode(text))


def test_generators_go_on_with_the_same_numbers(duplicate):
    generator = rt.Generator(0)
    rt.rand(3, generator=generator)
    twin = duplicate(generator)
    assert rt.rand(5, generator=twin).tolist() == rt.rand(5, generator=generator).tolist()


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_copy_of_a_stepper_is_the_stepper(weights):
    stepper = nn.LSTM(3, 5).stepper(nn.Linear(5, 2), weights)
    x = _drawn(4, 3)
    _, state = stepper(x)
    y, _ = stepper(x, state)
    for twin in (copy.copy(stepper), copy.deepcopy(stepper)):
        assert _bits(twin(x, state)[0]) == _bits(y)


def _local_cell():
    @nn.recurrent_cell(gates=("h",), states=("h",))
    def local(x, r, s):
        return m.tanh(x.h + r.h)

    return local


_CELL_MESSAGE = (
    "cell local cannot be pickled: its step _local_cell.<locals>.local is not at the top level of a module, where a "
    "process that loads it would look for it. Define it there with def, or save the state_dict of the layer instead"
)
_STEPPER_MESSAGE = (
    "a Stepper cannot be pickled, because its weights are packed for this processor: pickle the layer or the model, "
    "and make a stepper from it where it is loaded, with layer.stepper()"
)
_NODE_MESSAGE = (
    "<mul backward> belongs to one recorded graph and can be neither copied nor pickled: keep the tensors that the "
    "graph was computed from, and compute it again"
)


@pytest.mark.parametrize(
    ("make", "operation", "message"),
    [
        (lambda: nn.LSTM(3, 5).stepper(), pickle.dumps, _STEPPER_MESSAGE),
        (lambda: nn.LSTM(3, 5).stepper(weights="int8"), pickle.dumps, _STEPPER_MESSAGE),
        (lambda: nn.LanguageModel(4, "gru", 3).stepper(), pickle.dumps, _STEPPER_MESSAGE),
        (lambda: nn.Recurrent(_local_cell(), 3, 5), pickle.dumps, _CELL_MESSAGE),
        (_local_cell, pickle.dumps, _CELL_MESSAGE),
        (lambda: (rt.ones(2, requires_grad=True) * 2).grad_fn, pickle.dumps, _NODE_MESSAGE),
        (lambda: (rt.ones(2, requires_grad=True) * 2).grad_fn, copy.copy, _NODE_MESSAGE),
        (lambda: (rt.ones(2, requires_grad=True) * 2).grad_fn, copy.deepcopy, _NODE_MESSAGE),
    ],
)
def test_what_cannot_be_copied_says_what_to_do(make, operation, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        operation(make())


def test_a_layer_of_a_cell_of_a_function_is_copied_all_the_same():
    layer, x = nn.Recurrent(_local_cell(), 3, 5), _drawn(5, 2, 3)
    assert _output(copy.deepcopy(layer), x) == _output(layer, x)
