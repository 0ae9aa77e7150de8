import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional as F  # noqa: N812 - the usual name

PAIRS = [
    ("Identity", {}),
    ("Tanh", {}),
    ("Sigmoid", {}),
    ("ReLU", {}),
    ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.3}),
    ("GELU", {}),
    ("GELU", {"approximate": "tanh"}),
    ("Softplus", {}),
    ("Softplus", {"beta": 2.0, "threshold": 3.0}),
    ("Softmax", {"dim": 0}),
    ("Softmax", {"dim": -1}),
    ("LogSoftmax", {"dim": 0}),
    ("LogSoftmax", {"dim": -1}),
]


@pytest.mark.parametrize("shape", [(1,), (5,), (33, 17), (2, 3, 4), (3, 0)])
@pytest.mark.parametrize(("name", "options"), PAIRS)
def test_agrees_with_torch(compare, torch, dtype, name, options, shape):
    x = (np.random.default_rng(0).standard_normal(shape) * 3).astype(dtype)
    compare(getattr(nn, name)(**options), getattr(torch.nn, name)(**options), x)


@pytest.mark.parametrize(("name", "options"), PAIRS)
def test_first_and_second_derivatives_by_central_differences(name, options):
    x = rt.tensor(np.random.default_rng(1).standard_normal((3, 4)), requires_grad=True)
    module = getattr(nn, name)(**options)
    assert rt.gradcheck(module, [x])
    assert rt.gradgradcheck(module, [x])


@pytest.mark.parametrize(("name", "options"), PAIRS)
def test_repr_shows_the_configuration(torch, name, options):
    ours, theirs = repr(getattr(nn, name)(**options)), repr(getattr(torch.nn, name)(**options))
    assert ours == theirs


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "leaky_relu", "gelu", "softplus"])
def test_functions_and_modules_are_the_same(name):
    module = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}
    module |= {"gelu": nn.GELU, "softplus": nn.Softplus}
    x = rt.as_tensor(np.linspace(-4, 4, 9))
    assert getattr(F, name)(x).tolist() == module[name]()(x).tolist()


def test_unknown_approximation():
    with pytest.raises(ValueError, match='approximate must be "none" or "tanh", got \'erf\''):
        nn.GELU("erf")
