"""Convolution, pooling, batch normalisation and the losses beside them against PyTorch's, over drawn configurations.

Outputs, the gradients of everything that goes in with random cotangents, and running statistics. PyTorch computes in
float64, so that what is compared is our rounding alone.
"""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

torch = pytest.importorskip("torch")

TOLERANCE = {"float32": 2e-5, "float64": 1e-10}  # of the largest magnitude
drawn = settings(max_examples=60)
dtypes = st.sampled_from(["float32", "float64"])
seeds = st.integers(0, 2**32 - 1)


def assert_agrees(ours, theirs, dtype, what, least=1e-3):
    assert_close(ours, theirs, of_largest=TOLERANCE[dtype], least=least, what=what)


def run(layer, dtype, seed, *arrays):
    """Apply a layer of either library, and return its output and the gradients of its inputs and parameters."""
    library = torch if isinstance(layer, torch.nn.Module) else rt
    inputs = [library.tensor(a.astype("float64" if library is torch else dtype)) for a in arrays]
    for x in inputs:
        x.requires_grad_()
    y = layer(*inputs)
    if y.requires_grad:
        cotangent = np.random.default_rng([seed, 1]).standard_normal(tuple(y.shape)).astype(dtype)
        y.backward(library.tensor(cotangent.astype("float64" if library is torch else dtype)))
    gradients = {f"input {i}": x.grad for i, x in enumerate(inputs)}
    return y, gradients | {name: p.grad for name, p in layer.named_parameters()}


def compare(ours, theirs, dtype, seed, *arrays):
    if theirs.state_dict():
        ours.load_state_dict(theirs.state_dict())
        theirs.load_state_dict(
            {k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()}
        )  # our rounding
    arrays = [a.astype(dtype) for a in arrays]
    mine, reference = run(ours, dtype, seed, *arrays), run(theirs, dtype, seed, *arrays)
    assert str(mine[0].dtype) == dtype
    assert_agrees(mine[0].detach().numpy(), reference[0], dtype, "output")
    assert mine[1].keys() == reference[1].keys()
    for name, gradient in reference[1].items():
        assert (mine[1][name] is None) == (gradient is None), name
        if gradient is not None:
            assert_agrees(mine[1][name].numpy(), gradient, dtype, f"gradient of {name}")


def sizes(number, low, high):
    one = st.integers(low, high)
    return st.one_of(one, st.tuples(*[one] * number))


@drawn
@given(st.data(), st.sampled_from([1, 2]), dtypes, seeds)
def test_convolution(data, number, dtype, seed):
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    C, F = groups * data.draw(st.integers(1, 4)), groups * data.draw(st.integers(1, 9))
    mode = data.draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
    padding = data.draw(st.one_of(sizes(number, 0, 3), st.sampled_from(["same", "valid"])))
    options = {
        "kernel_size": data.draw(sizes(number, 1, 4)),
        "stride": 1 if padding == "same" else data.draw(sizes(number, 1, 3)),
        "padding": padding,
        "dilation": data.draw(sizes(number, 1, 3)),
        "groups": groups,
        "bias": data.draw(st.booleans()),
        "padding_mode": mode,
    }
    shape = (C, *(data.draw(st.integers(1, 40 if number == 1 else 12)) for _ in range(number)))
    if data.draw(st.booleans()):
        shape = (data.draw(st.sampled_from([0, 1, 2, 5, 18])), *shape)
    theirs = getattr(torch.nn, f"Conv{number}d")(C, F, dtype=torch.float64, **options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs(torch.zeros(shape, dtype=torch.float64))
    except RuntimeError:  # no window fits, or more is mirrored than there is
        ours = getattr(nn, f"Conv{number}d")(C, F, dtype=dtype, **options)
        assume(shape[0] != 0)
        with pytest.raises(ValueError, match=r"none fits|takes at most"):
            ours(rt.zeros(*shape, dtype=dtype))
        return
    ours = getattr(nn, f"Conv{number}d")(C, F, dtype=dtype, **options)
    assert repr(ours) == repr(theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of padding "same" with an even window
        compare(ours, theirs, dtype, seed, np.random.default_rng(seed).standard_normal(shape))


def planes(data):
    shape = tuple(data.draw(st.integers(1, 12)) for _ in range(3))
    return (data.draw(st.sampled_from([0, 1, 3])), *shape) if data.draw(st.booleans()) else shape


def same_refusal(theirs, ours, shape):
    """Whether PyTorch refuses the input; then so do we."""
    try:
        theirs(torch.zeros(shape))
    except RuntimeError:
        with pytest.raises(ValueError, match=r"none fits|at most half|none on"):
            ours()(rt.zeros(*shape))
        return True
    return False


@drawn
@given(st.data(), dtypes, seeds)
def test_max_pooling(data, dtype, seed):
    options = {
        "kernel_size": data.draw(sizes(2, 1, 4)),
        "stride": data.draw(st.one_of(st.none(), sizes(2, 1, 4))),
        "padding": data.draw(sizes(2, 0, 2)),
        "dilation": data.draw(sizes(2, 1, 2)),
        "ceil_mode": data.draw(st.booleans()),
    }
    shape = planes(data)
    theirs = torch.nn.MaxPool2d(**options)
    if same_refusal(theirs, lambda: nn.MaxPool2d(**options), shape):
        return
    x = np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)  # many are equal
    ours = nn.MaxPool2d(**options)
    try:
        largest, indices = nn.MaxPool2d(return_indices=True, **options)(rt.tensor(x))
    except ValueError:  # where PyTorch answers minus infinity, with an index beside the plane
        assert x.size == 0 or np.isinf(theirs(torch.tensor(x)).numpy()).any()
        return
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, dtype, seed, x)
    expected = torch.nn.MaxPool2d(return_indices=True, **options)(torch.tensor(x))
    assert_same_bits(largest, expected[0])
    assert_same_bits(indices, expected[1])


@drawn
@given(st.data(), dtypes, seeds)
def test_average_pooling(data, dtype, seed):
    options = {
        "kernel_size": data.draw(sizes(2, 1, 4)),
        "stride": data.draw(st.one_of(st.none(), sizes(2, 1, 4))),
        "padding": data.draw(sizes(2, 0, 2)),
        "ceil_mode": data.draw(st.booleans()),
        "count_include_pad": data.draw(st.booleans()),
        "divisor_override": data.draw(st.sampled_from([None, 1, 5, -2])),
    }
    shape = planes(data)
    theirs = torch.nn.AvgPool2d(**options)
    if same_refusal(theirs, lambda: nn.AvgPool2d(**options), shape):
        return
    ours = nn.AvgPool2d(**options)
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, dtype, seed, np.random.default_rng(seed).standard_normal(shape))


@drawn
@given(st.data(), dtypes, seeds)
def test_adaptive_average_pooling(data, dtype, seed):
    size = st.one_of(st.none(), st.integers(1, 15))
    output_size = data.draw(st.one_of(st.integers(1, 15), st.tuples(size, size)))
    ours, theirs = nn.AdaptiveAvgPool2d(output_size), torch.nn.AdaptiveAvgPool2d(output_size)
    assert repr(ours) == repr(theirs)
    compare(ours, theirs, dtype, seed, np.random.default_rng(seed).standard_normal(planes(data)))


@drawn
@given(st.data(), dtypes, seeds)
def test_batch_normalisation(data, dtype, seed):
    rng = np.random.default_rng(seed)
    C = data.draw(st.integers(1, 9))
    further = data.draw(st.sampled_from([(), (1,), (7,), (1, 1), (4, 5)]))
    name = "BatchNorm2d" if len(further) == 2 else "BatchNorm1d"
    options = {
        "eps": data.draw(st.sampled_from([1e-5, 1e-2])),
        "momentum": data.draw(st.sampled_from([None, 0.1, 1.0])),
        "affine": data.draw(st.booleans()),
        "track_running_stats": data.draw(st.booleans()),
        "bias": data.draw(st.booleans()),
    }
    theirs = getattr(torch.nn, name)(C, dtype=torch.float64, **options)
    ours = getattr(nn, name)(C, dtype=dtype, **options)
    assert repr(ours) == repr(theirs)
    for p in theirs.parameters():
        p.data = torch.tensor(rng.standard_normal(C).astype(dtype)).double()
    ours.load_state_dict(theirs.state_dict())
    for _ in range(3):
        # Of two numbers the result is a sign, and its gradient is nothing but rounding; of three not much else.
        N = data.draw(st.sampled_from([2, 3, 8, 33] if np.prod(further) > 3 else [8, 33]))
        x = (
            3 * rng.standard_normal((N, C, *further)) + rng.standard_normal((C, *(1,) * len(further)))
        ).astype(dtype)
        for layer in (ours, theirs):
            layer.zero_grad()
        mine, reference = run(ours, dtype, seed, x), run(theirs, dtype, seed, x)
        assert_agrees(mine[0].detach().numpy(), reference[0], dtype, "output")
        for key, gradient in reference[1].items():  # sums of terms about 1, which may cancel
            assert_agrees(mine[1][key].numpy(), gradient, dtype, f"gradient of {key}", least=0.1)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    for key, value in ours.state_dict().items():
        assert_agrees(value.numpy(), state[key], dtype, key)
    ours.eval()
    theirs.eval()
    for layer in (ours, theirs):
        layer.zero_grad()
    mine, reference = run(ours, dtype, seed, x), run(theirs, dtype, seed, x)
    assert_agrees(mine[0].detach().numpy(), reference[0], dtype, "output in evaluation")
    for key, gradient in reference[1].items():
        assert_agrees(mine[1][key].numpy(), gradient, dtype, f"gradient of {key} in evaluation")


LOSSES = ["BCELoss", "BCEWithLogitsLoss", "L1Loss", "SmoothL1Loss", "KLDivLoss"]


@drawn
@given(st.data(), st.sampled_from(LOSSES), dtypes, seeds)
def test_losses(data, name, dtype, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(data.draw(st.lists(st.integers(1, 6), max_size=3)))
    options = {"reduction": data.draw(st.sampled_from(["none", "sum", "mean"]))}
    x, t = 3 * rng.standard_normal(shape), rng.random(shape)
    weights = {}
    if name.startswith("BCE"):
        x = rng.random(shape) if name == "BCELoss" else x
        t = np.where(rng.random(shape) < 0.5, np.round(t), t)
        if data.draw(st.booleans()):
            weights["weight"] = rng.random(shape[-1:]).astype(dtype)
        if name == "BCEWithLogitsLoss" and data.draw(st.booleans()):
            weights["pos_weight"] = (rng.random(shape[-1:]) + 0.5).astype(dtype)
    elif name == "SmoothL1Loss":
        options["beta"] = data.draw(st.sampled_from([0.0, 0.3, 1.0, 2.5]))
        t = rng.standard_normal(shape)
    elif name == "KLDivLoss":
        options["reduction"] = data.draw(st.sampled_from(["none", "sum", "batchmean"]))
        options["log_target"] = data.draw(st.booleans())
        x = np.log(rng.random(shape) + 1e-3)
        t = np.log(t + 1e-3) if options["log_target"] else t + 1e-3
    own = {key: rt.tensor(value) for key, value in weights.items()}
    other = {key: torch.tensor(value).double() for key, value in weights.items()}
    ours, theirs = getattr(nn, name)(**own, **options), getattr(torch.nn, name)(**other, **options)
    mine, reference = (run(loss, dtype, seed, x.astype(dtype), t.astype(dtype)) for loss in (ours, theirs))
    assert_agrees(mine[0].detach().numpy(), reference[0], dtype, "loss")
    for key, gradient in reference[1].items():
        if gradient is not None and not key.endswith("weight"):
            assert_agrees(mine[1][key].numpy(), gradient, dtype, f"gradient of {key}")
