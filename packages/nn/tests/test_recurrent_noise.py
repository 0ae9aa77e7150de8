"""Noise in the step of a layer: ruled by `manual_seed`, by position, in training and evaluation alike."""

import copy

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.numerics import noise
from rondeau.nn import cell_math as m
from rondeau.tensor import Generator

from .recurrent_layers import assert_same_numbers

T, B, I, H = 7, 4, 3, 6  # noqa: E741 - the letters of the field


@nn.recurrent_cell(gates=("h",), states=("h",))
def noisy(x, r, s, *, noise=0.5):
    return m.tanh(x.h + r.h + noise * m.normal())


@nn.recurrent_cell(gates=("h",), states=("h",))
def only_noise(x, r, s):
    return m.normal() + 0 * x.h


def shaken(a, z, s):
    return m.tanh(a + 0.5 * z) + 0.3 * s * z


@nn.recurrent_cell(gates=("h",), states=("h",))
def drawing(x, r, s):
    return shaken(x.h + r.h, m.normal(), s.h)


@nn.recurrent_cell(gates=("h",), states=("h",), inputs={"z": "step"})
def given(x, r, s, u):
    return shaken(x.h + r.h, u.z, s.h)


def seeded(layer, *arguments, seed=3, **options):
    rt.manual_seed(seed)
    return layer(*arguments, **options)


def arrays(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


def test_the_stream_is_that_of_the_key_which_the_generator_draws():
    layer = nn.Recurrent(only_noise, I, H, 2, bidirectional=True, dtype="float64")
    _, states = seeded(layer, rt.zeros(T, B, I, dtype="float64"))
    key = int(Generator(3).numpy.integers(2**64 - 1, dtype=np.uint64, endpoint=True))
    for index in range(4):
        time = 0 if index % 2 else T - 1  # the reverse direction ends at the first step
        expected = noise.normals(key, 64 * index + 35, time, np.arange(B)[:, None], np.arange(H))
        assert_close(states[index].detach().numpy(), expected, rtol=1e-15)


def test_seeds_rule_training_and_evaluation_alike():
    layer, x = nn.Recurrent(noisy, I, H), rt.randn(T, B, I)
    first = seeded(layer, x)[0]
    layer.eval()
    assert_same_bits(arrays(seeded(layer, x)[0]), arrays(first))
    assert not rt.equal(layer(x)[0], first)
    assert not rt.equal(seeded(layer, x, seed=4)[0], first)
    layer.hyperparameters["noise"] = 0.0
    assert rt.equal(layer(x)[0], layer(x)[0])


@pytest.mark.host_only("about the CPU's threads")
def test_threads_recomputation_and_packing_change_no_bit():
    random = np.random.default_rng(0)
    x = rt.tensor(random.standard_normal((40, 8, I)), dtype="float32", requires_grad=True)
    layer = nn.Recurrent(noisy, I, 40)
    before, found = rt.get_num_threads(), []
    try:
        for threads, every in ((1, None), (2, None), (3, None), (2, 7)):
            rt.set_num_threads(threads)
            layer.recompute_every = every
            output, _ = seeded(layer, x)
            found.append(arrays(output, *rt.grad((output * output).sum(), [x, *layer.parameters()])))
    finally:
        rt.set_num_threads(before)
    for other in found[1:]:
        assert_same_bits(found[0], other)
    layer.recompute_every, lengths = None, [40, 3, 17, 5, 40, 2, 9, 30]
    padded, _ = seeded(layer, x, lengths=lengths)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    unpacked, _ = nn.utils.rnn.pad_packed_sequence(seeded(layer, packed)[0])
    assert_same_bits(arrays(padded), arrays(unpacked))


RESET = np.random.default_rng(1).random((T, B)) < 0.3


@pytest.mark.parametrize(
    ("options", "features"),
    [
        ({}, {"lengths": [4, 0, 7, 1]}),
        ({"recompute_every": 2}, {"lengths": [4, 0, 7, 1], "reset": RESET}),
        ({"bptt_truncate": 2}, {"reset": RESET}),
        ({"zoneout": 0.3}, {}),
        ({"recurrent_dropout": 0.4, "weight_dropout": 0.3}, {"lengths": [4, 0, 7, 1]}),
    ],
    ids=str,
)
def test_every_feature_treats_noise_as_an_input_with_those_numbers(options, features):
    layer = nn.Recurrent(drawing, I, H, dtype="float64", **options)
    other = nn.Recurrent(given, I, H, dtype="float64", **options)
    other.load_state_dict(layer.state_dict())
    x = rt.randn(T, B, I, dtype="float64", requires_grad=True)
    z = rt.tensor(numbers_of_the_first_layer())
    results = []
    for each, inputs in ((layer, None), (other, {"z": z})):
        output, state = seeded(each, x, inputs=inputs, **features)
        loss = output.square().sum() + state.sum()
        results.append(arrays(output, state, *rt.grad(loss, [x, *each.parameters()])))
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected, rtol=1e-11, atol=1e-13)


def test_a_sequence_alone_has_the_noise_of_the_first_of_a_batch():
    layer, x = nn.Recurrent(drawing, I, H, dtype="float64"), rt.randn(T, B, I, dtype="float64")
    first = arrays(seeded(layer, x)[0][:, 0])
    assert_same_numbers(arrays(seeded(layer, x[:, 0])[0]), first)
    assert_same_numbers(arrays(seeded(layer, x[:4, :1])[0][:, 0]), [first[0][:4]])


def numbers_of_the_first_layer():
    """Return the normal numbers (T, B, H) that a call draws after `seeded`."""
    key = int(Generator(3).numpy.integers(2**64 - 1, dtype=np.uint64, endpoint=True))
    return noise.normals(key, 35, np.arange(T)[:, None, None], np.arange(B)[:, None], np.arange(H))


def test_derivatives_are_those_of_the_numbers_that_were_drawn():
    layer = nn.Recurrent(noisy, I, H, 2, dtype="float64", bidirectional=True)
    x = rt.randn(3, 2, I, dtype="float64", requires_grad=True)
    state = rt.default_generator().get_state()
    assert rt.gradcheck(lambda x: layer(x, lengths=[3, 1])[0], x)
    rt.default_generator().set_state(state)
    assert rt.gradgradcheck(lambda x: layer(x)[0], x)


def test_noise_times_a_learned_vector_has_the_gradient_of_the_number():
    @nn.recurrent_cell(gates=("h",), states=("h",), params={"size": nn.init.ones_})
    def scaled(x, r, s, p):
        return p.size * m.normal() + 0 * x.h

    layer = nn.Recurrent(scaled, I, H, dtype="float64")
    output, _ = seeded(layer, rt.zeros(T, B, I, dtype="float64"))
    (gradient,) = rt.grad(output.sum(), [layer.size_l0])
    assert_close(gradient.numpy(), output.detach().numpy().sum((0, 1)), rtol=1e-13)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_stepper_has_a_key_of_its_own_and_counts_its_steps(layers):
    layer, x = nn.Recurrent(noisy, I, H, layers), rt.randn(T, B, I)
    expected, final = seeded(layer, x)
    rt.manual_seed(3)
    stepper, state = layer.stepper(), None
    other = layer.stepper()
    for t in range(T):
        y, state = stepper(x[t], state)
        assert_same_bits(y.numpy(), arrays(expected[t])[0])
    assert_same_bits(state.numpy(), arrays(final)[0])
    run, _ = other.run(x[:2])
    assert not rt.equal(run, expected[:2])
    rt.manual_seed(3)
    again = layer.stepper()
    begun = again.run(x[:1])[1]
    assert_same_bits(again.run(x[1:], begun)[0].numpy(), arrays(expected[1:])[0])
    assert not rt.equal(stepper(x[0])[0], expected[0])


def test_copies_of_a_stepper_go_on_alike():
    stepper, x = nn.Recurrent(noisy, I, H).stepper(), rt.randn(B, I)
    stepper(x)
    copied = copy.deepcopy(stepper)
    for _ in range(2):
        assert_same_bits(copied(x)[0].numpy(), stepper(x)[0].numpy())
    with pytest.raises(ValueError, match="x must have shape"):
        copied(x[:, 1:])
    assert_same_bits(copied(x)[0].numpy(), stepper(x)[0].numpy())  # a refused call is no step


def test_a_single_step_draws_anew_at_every_call():
    step, x = nn.RecurrentCell(noisy, I, H, hyperparameters={"noise": 0.25}), rt.randn(B, I)
    assert rt.equal(seeded(step, x), seeded(step, x))
    assert not rt.equal(step(x), step(x))
    step.hyperparameters["noise"] = 0.0
    assert rt.equal(step(x), step(x))


def test_a_layer_without_noise_draws_no_key():
    layer, x = nn.GRU(I, H), rt.randn(T, B, I)
    before = rt.default_generator().get_state()
    layer(x)
    assert rt.default_generator().get_state() == before


def test_explain_shows_inputs_and_noise():
    @nn.recurrent_cell(gates=("h",), states=("h",), inputs={"dt": "step", "gate": "sequence"})
    def shown(x, r, s, u):
        return m.exp(-u.dt) * s.h + u.gate * m.tanh(x.h) + m.normal()

    text = nn.Recurrent(shown, I, H).explain()
    assert "inputs dt (step), gate (sequence)" in text
    assert "fresh for every sequence, step and unit, by their position: normal.0" in text
    assert "input u.dt" in text
