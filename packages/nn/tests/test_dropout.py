import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional as F  # noqa: N812 - the usual name


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_fraction_and_scale(dtype, p):
    rt.manual_seed(0)
    n = 100_000
    y = F.dropout(rt.ones(n, dtype=dtype), p)
    assert y.dtype == dtype
    kept = y.numpy() != 0
    # Four standard deviations of a binomial.
    assert abs(kept.mean() - (1 - p)) < 4 * np.sqrt(p * (1 - p) / n)
    assert_close(y.numpy()[kept], 1 / (1 - p), rtol=1e-6)


def test_gradient_passes_where_the_value_did():
    x = rt.ones(50, 4, requires_grad=True)
    y = F.dropout(x, 0.3)
    cotangent = rt.as_tensor(np.random.default_rng(0).standard_normal((50, 4)).astype("float32"))
    y.backward(cotangent)
    assert_same_bits(x.grad, y.detach().numpy() * cotangent.numpy())


def test_no_column_or_row_is_favoured():
    rt.manual_seed(3)
    kept = F.dropout(rt.ones(400, 300), 0.5).numpy() != 0
    assert np.abs(kept.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(400)
    assert np.abs(kept.mean(1) - 0.5).max() < 5 * 0.5 / np.sqrt(300)


def test_edges():
    x = rt.tensor([1.0, 2.0], requires_grad=True)
    assert F.dropout(x, 0.0).tolist() == [1.0, 2.0]
    nothing = F.dropout(x, 1.0)
    assert nothing.tolist() == [0.0, 0.0]
    nothing.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]
    assert F.dropout(rt.ones(0, 3), 0.5).shape == (0, 3)
    assert F.dropout(rt.tensor(1.0), 0.5).shape == ()


def test_evaluation_passes_the_input_through():
    layer = nn.Dropout(0.9)
    x = rt.ones(100)
    assert layer.eval()(x).tolist() == [1.0] * 100
    assert 0.0 in layer.train()(x).tolist()


def test_seed_decides_the_mask():
    layer, x = nn.Dropout(0.5), rt.ones(64)
    rt.manual_seed(1)
    first = layer(x).tolist()
    assert layer(x).tolist() != first
    rt.manual_seed(1)
    assert layer(x).tolist() == first


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_wrong_probability(p):
    with pytest.raises(ValueError, match=r"p must be a probability, from 0 to 1"):
        nn.Dropout(p)
    with pytest.raises(ValueError, match=r"p must be a probability, from 0 to 1"):
        F.dropout(rt.ones(1), p)


def test_repr():
    assert repr(nn.Dropout(0.25)) == "Dropout(p=0.25)"
