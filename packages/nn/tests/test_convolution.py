import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.runtime import threads
from rondeau.nn import functional as F  # noqa: N812 - the usual name


def drawn(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rt.tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": (2, 1), "padding": (1, 2)},
        {"dilation": 2, "padding": "same"},
        {"groups": 2, "padding": 1, "stride": 2},
    ],
)
def test_first_and_second_derivatives_by_central_differences(options):
    inputs = drawn((2, 2, 5, 4), (4, 2 // options.get("groups", 1), 2, 3), (4,))
    for given in (inputs, inputs[:2]):
        assert rt.gradcheck(lambda *a: F.conv2d(*a, **options), given)
        assert rt.gradgradcheck(lambda *a: F.conv2d(*a, **options), given)


def test_sequences_and_other_paddings_can_be_differentiated_twice_too():
    assert rt.gradgradcheck(lambda *a: F.conv1d(*a, stride=2, padding=1), drawn((2, 3, 6), (2, 3, 3), (2,)))
    for mode in ("reflect", "replicate", "circular"):
        layer = nn.Conv2d(1, 2, 3, padding=(1, 2), padding_mode=mode, dtype="float64")
        assert rt.gradcheck(layer, drawn((1, 1, 4, 5)))
        assert rt.gradgradcheck(layer, drawn((1, 1, 4, 5)))


def test_a_third_derivative():
    # y = w x at every place: d3y / dx dx dw is 0, and that of y^2 is 4 w.
    x, w = rt.tensor([[[[3.0]]]], requires_grad=True), rt.tensor([[[[5.0]]]], requires_grad=True)
    (dx,) = rt.grad((F.conv2d(x, w) ** 2).sum(), x, create_graph=True)
    (dxdx,) = rt.grad(dx.sum(), x, create_graph=True)
    (dxdxdw,) = rt.grad(dxdx.sum(), w)
    assert (dx.item(), dxdx.item(), dxdxdw.item()) == (150.0, 50.0, 20.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_threads(dtype, monkeypatch):
    monkeypatch.setattr(threads, "PARALLEL_FROM", 0)
    x, w, b = (
        rt.tensor(t.detach().numpy().astype(dtype), requires_grad=True)
        for t in drawn((7, 4, 9, 11), (6, 2, 3, 2), (6,))
    )
    before, results = rt.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            rt.set_num_threads(count)
            y = F.conv2d(x, w, b, padding=1, groups=2)
            results.append([y, *rt.grad((y * y).sum(), [x, w, b])])
    finally:
        rt.set_num_threads(before)
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_strides_of_the_input_do_not_matter():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((5, 6, 3, 2)), rng.standard_normal((2, 2, 3, 4))
    views = (
        rt.as_tensor(x.transpose(3, 2, 1, 0)).requires_grad_(),
        rt.as_tensor(w[::-1, :, ::-1, ::-1].copy()[::-1, :, ::-1, ::-1]),
    )
    whole = rt.tensor(np.ascontiguousarray(x.transpose(3, 2, 1, 0)), requires_grad=True), rt.as_tensor(w)
    views = views[0][:, :2], views[1]
    whole = whole[0][:, :2].contiguous(), whole[1]
    y, expected = F.conv2d(*views, padding=2), F.conv2d(*whole, padding=2)
    assert_same_bits(y, expected)
    g = rt.as_tensor(rng.standard_normal((*y.shape[:2], *y.shape[:1:-1])).transpose(0, 1, 3, 2))
    assert_same_bits(
        rt.grad(y, views[0], g)[0].numpy(), rt.grad(expected, whole[0], g.contiguous())[0].numpy()
    )


def test_an_empty_batch_has_gradients_of_zeros():
    layer = nn.Conv2d(2, 3, 3)
    x = rt.zeros(0, 2, 5, 5, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == (0, 3, 3, 3)
    assert x.grad.shape == x.shape
    assert not layer.weight.grad.numpy().any()
    assert layer.weight.grad.shape == layer.weight.shape
    assert layer.bias.grad.tolist() == [0.0] * 3


def test_the_result_holds_no_memory_of_its_inputs():
    x, w = drawn((1, 1, 3, 3), (1, 1, 2, 2))
    y = F.conv2d(x, w)
    expected = rt.grad(y.sum(), [x, w], retain_graph=True)
    y.data[...] = 7.0
    for a, b in zip(rt.grad(y.sum(), [x, w]), expected, strict=True):
        assert a.tolist() == b.tolist()


def test_initial_values_are_uniform_within_pytorchs_bounds():
    rt.manual_seed(0)
    layer = nn.Conv2d(8, 64, (3, 5), groups=2)
    bound = 1 / np.sqrt(4 * 15)
    for parameter in (layer.weight, layer.bias):
        assert 0.9 * bound < np.abs(parameter.detach().numpy()).max() <= bound * (1 + 1e-6)
    assert abs(layer.weight.detach().numpy().mean()) < 0.02 * bound * 2
    assert nn.Conv1d(1, 1, 1, bias=False).bias is None


def test_state_is_that_of_pytorch(torch):
    for name in ("Conv1d", "Conv2d"):
        theirs = getattr(torch.nn, name)(4, 6, 3, groups=2)
        ours = getattr(nn, name)(4, 6, 3, groups=2)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict())
        assert_same_bits(ours.weight, theirs.weight)


X, W = rt.ones(1, 2, 5, 5), rt.ones(4, 2, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((1, 2, 5, 5)), W), TypeError, "conv2d: input must be a Tensor, got numpy.ndarray"),
        (
            (rt.ones(5, 5), W),
            ValueError,
            r"input must have shape \(N, C, H, W\) or \(C, H, W\), got \(5, 5\)",
        ),
        ((rt.ones(1, 2, 0, 5), W), ValueError, "must have elements; only N, the samples, may be 0"),
        ((X.long(), W), TypeError, "input must be float32 or float64, got int64"),
        ((X.double(), W), TypeError, "input is float64 and weight is float32"),
        ((X, rt.ones(4, 2, 3)), ValueError, r"weight must have shape \(F, C / groups, rows, columns\)"),
        ((X, rt.ones(4, 2, 0, 3)), ValueError, "each at least 1"),
        ((X, rt.ones(4, 3, 3, 3)), ValueError, "go with an input of 3 channels"),
        ((X, W, rt.ones(3)), ValueError, r"bias must have shape \(4,\), got \(3,\)"),
        ((X, W, rt.ones(4).double()), TypeError, "bias is float64 and weight is float32"),
        ((X, W, None, 0), ValueError, "conv2d: stride must be greater than zero, got 0"),
        ((X, W, None, (1, 1, 1)), ValueError, "stride must be one integer or 2, got"),
        ((X, W, None, 1.0), TypeError, "stride should be of type int, got: float"),
        ((X, W, None, 2**40), ValueError, "stride must be at most"),
        ((X, W, None, 1, -1), ValueError, "padding must be at least 0, got -1"),
        ((X, W, None, 1, "full"), ValueError, 'padding must be "valid", "same" or integers, got \'full\''),
        ((X, W, None, 2, "same"), ValueError, "which a stride of"),
        ((X, W, None, 1, 0, 3), ValueError, "the window is 7 wide and the input 5, so none fits"),
        ((X, W, None, 1, 0, 1, 0), ValueError, "groups must be greater than zero"),
        ((X, rt.ones(3, 1, 3, 3), None, 1, 0, 1, 2), ValueError, "a multiple of 2 channels out"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        F.conv2d(*arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"groups": 2}, ValueError, "groups=2 must divide in_channels=3 and out_channels=4"),
        ({"padding_mode": "wrap"}, ValueError, "padding_mode must be one of"),
        ({"padding": "same", "stride": 2}, ValueError, "which a stride of"),
        ({"kernel_size": (3,)}, ValueError, "kernel_size must be one integer or 2"),
        ({"in_channels": 0}, ValueError, "in_channels must be greater than zero"),
        ({"dilation": True}, TypeError, "dilation should be of type int"),
    ],
)
def test_layers_refuse_at_once(options, error, message):
    with pytest.raises(error, match=message):
        nn.Conv2d(**{"in_channels": 3, "out_channels": 4, "kernel_size": 3} | options)


def test_more_padding_than_there_is_to_mirror():
    with pytest.raises(ValueError, match="'reflect' takes at most 2 elements from a dimension of 3"):
        nn.Conv1d(1, 1, 3, padding=3, padding_mode="reflect")(rt.ones(1, 3))
