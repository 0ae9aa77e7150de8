"""`nn.InputDecay` against the equations of GRU-D, step by step."""

import re

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

T, B, I = 7, 3, 4  # noqa: E741


@pytest.fixture
def problem():
    """A layer with rates of both signs, values with NaN where they are missing, their mask, and elapsed times."""
    rng = np.random.default_rng(0)
    layer = nn.InputDecay(I, mean=rng.standard_normal(I), dtype="float64")
    layer.weight.data[...] = rng.standard_normal(I)
    layer.bias.data[...] = rng.standard_normal(I)
    mask = rng.random((T, B, I)) < 0.4
    mask[:, 0, 0], mask[:, 0, 1] = False, True
    x = np.where(mask, rng.standard_normal((T, B, I)), np.nan)
    return (
        layer,
        rt.tensor(x, requires_grad=True),
        rt.tensor(mask),
        rt.tensor(rng.exponential(size=(T, B, I))),
    )


def expected(layer, x, mask, delta):
    """Impute as the paper writes it: m x + (1 - m) (gamma x' + (1 - gamma) mean), one step after the other."""
    weight, bias, mean = (t.detach().numpy() for t in (layer.weight, layer.bias, layer.mean))
    x, delta = np.nan_to_num(x.detach().numpy()), delta.numpy()
    last, steps = np.broadcast_to(mean, x.shape[1:]), []
    for t, observed in enumerate(mask.numpy()):
        gamma = np.exp(-np.maximum(0, weight * delta[t] + bias))
        steps.append(observed * x[t] + (1 - observed) * (gamma * last + (1 - gamma) * mean))
        last = observed * x[t] + (1 - observed) * last
    return np.stack(steps)


def test_it_is_the_papers(problem):
    assert_close(problem[0](*problem[1:]).detach().numpy(), expected(*problem), atol=1e-14)


def test_gradients(problem):
    """Of the values, those observed alone, of rates and biases; missing values get zeros, not NaN."""
    layer, x, mask, delta = problem
    weighting = rt.tensor(np.random.default_rng(1).standard_normal((T, B, I)))
    d_x, _ = rt.grad((layer(x, mask, delta) * weighting).sum(), [x, layer.weight])
    missing = ~mask.numpy()
    assert_same_bits(d_x.numpy()[missing], np.zeros(missing.sum()))
    filled = rt.tensor(np.nan_to_num(x.detach().numpy()), requires_grad=True)
    assert rt.gradcheck(lambda x, *_: layer(x, mask, delta), (filled, layer.weight, layer.bias), atol=1e-7)


def test_times_that_do_not_matter_may_be_anything(problem):
    layer, x, mask, delta = problem
    unused = mask.numpy() | (np.cumsum(mask.numpy(), axis=0) == 0)
    results = []
    for wrong in (delta.numpy(), np.nan, np.inf):
        given = rt.tensor(np.where(unused, wrong, delta.numpy()), requires_grad=True)
        output = layer(x, mask, given)
        gradients = rt.grad(output.square().sum(), [x, given, layer.weight, layer.bias])
        results.append([output, *gradients])
        assert_same_bits(gradients[1].numpy()[unused], np.zeros(unused.sum()))
    assert unused.any(axis=(1, 2)).all()
    assert not unused.all()
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_the_future_is_not_read(problem):
    layer, x, mask, delta = problem
    whole = layer(x, mask, delta).detach().numpy()
    for t in range(1, T):
        assert_same_bits(layer(x[:t], mask[:t], delta[:t]).detach().numpy(), whole[:t])


def test_forms(problem):
    """Batch first, without a batch, and a mask of numbers."""
    layer, x, mask, delta = problem
    output = layer(x, mask, delta).detach().numpy()
    for given in (mask.float(), mask.long()):
        assert_same_bits(layer(x, given, delta).detach().numpy(), output)
    assert_same_bits(layer(x[:, 1], mask[:, 1], delta[:, 1]).detach().numpy(), output[:, 1])
    turned = nn.InputDecay(I, batch_first=True, dtype="float64")
    turned.load_state_dict(layer.state_dict())
    found = turned(x.transpose(0, 1), mask.transpose(0, 1), delta.transpose(0, 1))
    assert_same_bits(found.transpose(0, 1).detach().numpy(), output)
    assert repr(turned) == "InputDecay(4, batch_first=True)"


@pytest.mark.host_only("the mask is an array of NumPy's")
def test_a_mask_may_be_an_array(problem):
    layer, x, mask, delta = problem
    assert_same_bits(layer(x, mask.numpy(), delta), layer(x, mask, delta))


def test_the_mean_is_kept_but_not_learned():
    layer = nn.InputDecay(2, mean=[1.0, 2.0])
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}
    assert layer.state_dict()["mean"].tolist() == [1, 2]
    assert 0 <= layer.weight.min().item() <= layer.weight.max().item() < 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((T, B, 3), "f")}, ValueError, "must be (T, B, I) or (T, I) with I=4 variables, got shape"),
        ({"mask": np.ones((T, B))}, ValueError, "mask must have the shape of x, (7, 3, 4), got (7, 3)"),
        ({"delta": np.zeros((T, B, 1), "f")}, ValueError, "delta must have the shape of x, (7, 3, 4), got (7, 3, 1)"),
        ({"mask": np.full((T, B, I), 2)}, ValueError, "0 where a value is missing and 1 where it was observed"),
        ({"x": np.zeros((T, B, I))}, TypeError, "x must be float32 as the parameters are"),
        ({"delta": np.zeros((T, B, I))}, TypeError, "delta must be float32 as the parameters are"),
    ],
)  # fmt: skip
def test_refusals(change, error, message):
    given = {
        "x": np.zeros((T, B, I), "f"),
        "mask": np.ones((T, B, I), bool),
        "delta": np.zeros((T, B, I), "f"),
    }
    given = {name: rt.as_tensor(array) for name, array in (given | change).items()}
    with pytest.raises(error, match=re.escape(message)):
        nn.InputDecay(I)(**given).tolist()  # on a GPU, a mask's error comes when something is read


def test_values_must_be_a_tensor():
    with pytest.raises(TypeError, match=r"InputDecay: x must be a Tensor, got numpy\.ndarray"):
        nn.InputDecay(I)(np.zeros((T, B, I)), np.ones((T, B, I)), rt.zeros(T, B, I))


def test_a_mean_of_another_shape_is_refused():
    with pytest.raises(
        ValueError, match=re.escape("a number for each variable, expected shape (4,), got (3,)")
    ):
        nn.InputDecay(4, mean=[0, 0, 0])
