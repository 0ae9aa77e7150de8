"""Tables of which few rows are read: training has the bits that it has with whole gradients."""

import math
from itertools import pairwise

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.kernels.ops import few_rows as kernels
from rondeau.tensor.autograd import few_rows

V, E, N = 700, 24, 9
SGD = train.optim.SGD


class Tables(nn.Module):
    """An embedding, and a head that may share its weight."""

    def __init__(self, *, tied=False, padding_idx=None, dtype="float32"):
        super().__init__()
        self.table = nn.Embedding(V, E, padding_idx, dtype=dtype)
        self.head = nn.Linear(E, V if tied else 3, dtype=dtype)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids):
        """The loss."""
        return self.head(self.table(ids)).square().mean()


def usual(model, optimizer, batches):
    for ids in batches:
        optimizer.zero_grad()
        model(ids).backward()
        optimizer.step()


def accumulated(model, optimizer, batches):
    optimizer.zero_grad()
    for ids in batches:
        model(ids).backward()
    optimizer.step()


def read_twice(model, optimizer, batches):
    for first, second in pairwise(batches):
        model.zero_grad()
        (model(first) + 2 * model(second)).backward()
        optimizer.step()


def zeros_as_gradients(model, optimizer, batches):
    for ids in batches:
        optimizer.zero_grad(set_to_none=False)
        model(ids).backward()
        optimizer.step()


def clipped(max_norm, norm_type=2.0):
    def program(model, optimizer, batches):
        for ids in batches:
            optimizer.zero_grad()
            model(ids).backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm, norm_type)
            optimizer.step()

    return program


def clipped_by_value(model, optimizer, batches):
    for ids in batches:
        optimizer.zero_grad()
        model(ids).backward()
        nn.utils.clip_grad_value_(model.parameters(), 1e-4)
        optimizer.step()


PROGRAMS = {
    "usual": usual,
    "accumulated": accumulated,
    "read twice": read_twice,
    "zeros as gradients": zeros_as_gradients,
    "clipped": clipped(1e-3),
    "clipped by another norm": clipped(1e-3, math.inf),
    "not clipped": clipped(1e3),
    "clipped by value": clipped_by_value,
}


def trained(program, monkeypatch, least, options=None, optimizer_class=SGD, **model_options):
    """Return the weights, and the last gradient of the table as it was left: few rows, or None."""
    monkeypatch.setattr(kernels, "_LEAST", least)
    rt.manual_seed(1)
    model = Tables(**model_options)
    optimizer = optimizer_class(model.parameters(), **(options or {"lr": 0.5}))
    rng = np.random.default_rng(2)
    program(model, optimizer, [rng.integers(0, V, N) // 3 for _ in range(3)])
    return [p.detach().numpy() for p in model.parameters()], few_rows(model.table.weight.grad)


def check(program, monkeypatch, **options):
    """Compare with whole gradients; return the rows that were left."""
    got, left = trained(program, monkeypatch, 0, **options)
    expected, nothing = trained(program, monkeypatch, 2**62, **options)
    assert nothing is None
    assert_same_bits(got, expected)
    return left


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradient_descent_has_the_same_bits(monkeypatch, name, dtype):
    left = check(PROGRAMS[name], monkeypatch, dtype=dtype)
    assert (left is None) == (name in ("zeros as gradients", "clipped by another norm"))


@pytest.mark.parametrize("name", ["usual", "accumulated", "clipped"])
@pytest.mark.parametrize(
    "options", [{"padding_idx": 0}, {"tied": True}, {"tied": True, "padding_idx": 5}], ids=str
)
def test_padding_and_tied_weights(monkeypatch, name, options):
    left = check(PROGRAMS[name], monkeypatch, **options)
    assert (left is None) == ("tied" in options)


@pytest.mark.parametrize(
    ("optimizer_class", "options"),
    [
        (SGD, {"momentum": 0.9}),
        (SGD, {"weight_decay": 0.1}),
        (SGD, {"maximize": True}),
        (train.optim.Adam, {}),
        (train.optim.Adagrad, {}),
        (train.optim.RMSprop, {}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else value.__name__,
)
def test_other_optimisers_get_whole_gradients(monkeypatch, optimizer_class, options):
    left = check(usual, monkeypatch, optimizer_class=optimizer_class, options={"lr": 0.1, **options})
    assert left is None


def test_rows_that_were_not_read_are_not_touched(monkeypatch):
    monkeypatch.setattr(kernels, "_LEAST", 0)
    table = nn.Embedding(V, E)
    before, ids = table.weight.detach().numpy().copy(), np.array([3, 0, 3])
    table(ids).sum().backward()
    assert few_rows(table.weight.grad).ids.tolist() == [0, 3]
    SGD(table.parameters(), lr=1.0).step()
    changed = (table.weight.detach().numpy() != before).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [0, 3]


def test_a_table_in_another_order_of_memory(monkeypatch):
    monkeypatch.setattr(kernels, "_LEAST", 0)
    table = nn.Embedding(V, E)
    table.weight.data = np.asfortranarray(table.weight.detach().numpy())
    before = table.weight.detach().numpy().copy()
    table(np.array([3])).sum().backward()
    SGD(table.parameters(), lr=1.0).step()
    before[3] -= 1
    assert_same_bits(table.weight.detach().numpy(), before)


@pytest.mark.parametrize("size", [(700, 24), (4096, 1), (4096 * 3, 2), (80, 4096), (40, 5000)], ids=str)
def test_the_norm_of_few_rows_is_that_of_the_whole(size):
    rng = np.random.default_rng(0)
    for ids in ([0], [size[0] - 1], [], sorted(rng.choice(size[0], 20, replace=False))):
        values = rng.standard_normal((len(ids), size[1]), np.float32)
        few = kernels.FewRows(np.array(ids, np.int64), values, size[0])
        norms = [
            nn.utils.get_total_norm([g]) for g in (rt.autograd.from_few_rows(few), rt.Tensor(few.whole()))
        ]
        assert_same_bits(norms[0].numpy(), norms[1].numpy())


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e-30, 1e30])
def test_clipping_numbers_at_the_end_of_their_range(monkeypatch, value):
    gradients = []
    for least in (0, 2**62):
        monkeypatch.setattr(kernels, "_LEAST", least)
        table = nn.Embedding(V, E)
        table(np.array([3, 5])).backward(rt.full((2, E), value))
        nn.utils.clip_grad_norm_(table.parameters(), 0.5 * value if value < 1 else 1.0)
        gradients.append(table.weight.grad.numpy())
    assert_same_bits(*gradients)


def test_a_gradient_of_another_shape_is_refused_before_anything_changes(monkeypatch):
    monkeypatch.setattr(kernels, "_LEAST", 0)
    table = nn.Embedding(V, E)
    table(np.array([3])).sum().backward()
    table.weight.data = np.zeros((V, E + 1), np.float32)
    with pytest.raises(
        ValueError, match=r"a gradient must have the shape of its parameter, \(700, 25\), got \(700, 24\)"
    ):
        SGD(table.parameters(), lr=1.0).step()
