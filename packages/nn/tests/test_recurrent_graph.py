"""What the recurrent layers record for backward: no more than is needed, refused once it is stale, and freed."""

from types import SimpleNamespace

import numpy as np
import pytest

from comparing import assert_same_bits
from reference_counts import assert_a_step_leaves_no_cycles
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels import sequence
from rondeau.nn._recurrent import function as _recurrent_function

from .recurrent_layers import LAYERS, randn


@pytest.mark.parametrize("layer_class", LAYERS)
def test_only_what_requires_a_gradient_gets_one(layer_class):
    layer = layer_class(3, 5, num_layers=2, dtype="float64")
    x = randn(4, 2, 3, requires_grad=True)
    layer(x)[0].sum().backward()
    expected = {name: p.grad for name, p in layer.named_parameters()}
    layer.zero_grad()
    layer.weight_ih_l1.requires_grad_(False)
    layer.weight_hh_l0.requires_grad_(False)
    layer(x.detach())[0].sum().backward()
    for name, p in layer.named_parameters():
        if p.requires_grad:
            assert_same_bits(p.grad, expected[name])
        else:
            assert p.grad is None


def test_no_grad_records_nothing():
    layer = nn.LSTM(3, 5)
    with rt.no_grad():
        output, (h, c) = layer(rt.ones(4, 2, 3))
    assert output.grad_fn is None
    assert not output.requires_grad
    assert not h.requires_grad
    assert not c.requires_grad


@pytest.mark.parametrize("layer_class", LAYERS)
def test_a_graph_may_be_walked_twice(layer_class):
    layer = layer_class(3, 5, num_layers=2, bidirectional=True, dtype="float64")
    output, _ = layer(randn(4, 2, 3))
    loss = (output**2).sum()
    parameters = list(layer.parameters())
    first = rt.grad(loss, parameters, retain_graph=True)
    for once, twice in zip(first, rt.grad(loss, parameters), strict=True):
        assert_same_bits(once, twice)
    with pytest.raises(RuntimeError, match="retain_graph"):
        rt.grad(loss, parameters)


def test_a_weight_changed_in_place_before_backward_is_refused():
    layer = nn.GRU(3, 5)
    output, _ = layer(rt.ones(4, 2, 3))
    with rt.no_grad():
        layer.weight_hh_l0.zero_()
    with pytest.raises(RuntimeError, match="in place"):
        output.sum().backward()


def test_an_output_changed_in_place_before_backward_is_refused():
    layer = nn.GRU(3, 5)
    output, _ = layer(rt.ones(4, 2, 3))
    output.mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        output.sum().backward()


def test_the_output_is_not_copied(monkeypatch):
    """One layer in one direction: the result is over the memory that the kernel wrote."""
    written = []

    def forward(*arguments, **options):
        result = sequence.forward(*arguments, **options)
        written.append(result.every[0])
        return result

    monkeypatch.setattr(_recurrent_function, "sequence", SimpleNamespace(forward=forward))
    output, _ = nn.GRU(3, 5)(rt.ones(4, 2, 3))
    assert np.shares_memory(output._array, written[0])


@pytest.mark.host_only(
    "the emulator of kernels leaves cycles; test_recurrent_on_a_device has this without it"
)
@pytest.mark.parametrize("layer_class", LAYERS)
def test_a_steps_memory_returns_by_reference_count(layer_class):
    layer = layer_class(3, 5, num_layers=2, bidirectional=True)
    assert_a_step_leaves_no_cycles(layer, rt.ones(4, 2, 3))
