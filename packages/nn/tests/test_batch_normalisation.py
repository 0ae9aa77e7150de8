import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional as F  # noqa: N812 - the usual name


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return [rt.tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (3, 2, 2, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_first_and_second_derivatives_by_central_differences(shape, training):
    x, w, b = drawn(shape, shape[1], shape[1])
    mean, var = rt.zeros(shape[1], dtype="float64"), rt.full((shape[1],), 2.0, dtype="float64")

    def normalise(x, *parameters):
        return F.batch_norm(x, mean, var, *parameters, training=training)

    for inputs in ([x, w, b], [x]):
        assert rt.gradcheck(normalise, inputs)
        assert rt.gradgradcheck(normalise, inputs)


def test_momentum_none_is_the_mean_over_all_batches():
    layer = nn.BatchNorm1d(1, momentum=None)
    for value in (1.0, 2.0, 6.0):
        layer(rt.tensor([[value - 1], [value + 1]]))
    assert layer.running_mean.item() == pytest.approx(3.0)
    assert layer.running_var.item() == pytest.approx(2.0)  # over n - 1
    assert layer.num_batches_tracked.item() == 3
    layer.reset_parameters()
    assert (layer.running_mean.item(), layer.running_var.item(), layer.num_batches_tracked.item()) == (
        0,
        1,
        0,
    )


def test_evaluation_changes_nothing_and_does_without_statistics_where_there_are_none():
    layer = nn.BatchNorm1d(2).eval()
    before = [t.tolist() for t in layer.buffers()]
    layer(rt.randn(5, 2))
    assert [t.tolist() for t in layer.buffers()] == before
    layer = nn.BatchNorm1d(2, track_running_stats=False, affine=False).eval()
    assert list(layer.state_dict()) == []
    x = rt.randn(50, 2)
    assert_close(layer(x).numpy().mean(0), 0, rtol=1e-7, atol=1e-6)


def test_a_batch_far_from_zero_keeps_its_digits():
    x = (1e4 + np.random.default_rng(3).standard_normal((64, 3, 8, 8))).astype("float32")
    expected = (x - x.mean((0, 2, 3), dtype="float64", keepdims=True)) / x.std(
        (0, 2, 3), dtype="float64", keepdims=True
    )
    assert_close(nn.BatchNorm2d(3)(rt.as_tensor(x)).detach().numpy(), expected, rtol=1e-7, atol=2e-3)


def test_strides_do_not_matter():
    x = np.random.default_rng(1).standard_normal((5, 4, 3, 2))
    layer = nn.BatchNorm2d(3, dtype="float64")
    y = layer(rt.as_tensor(x.transpose(0, 2, 1, 3)))
    assert_same_bits(y, layer(rt.as_tensor(np.ascontiguousarray(x.transpose(0, 2, 1, 3)))).detach().numpy())


def test_an_empty_batch_leaves_the_statistics():
    layer = nn.BatchNorm2d(3)
    assert layer(rt.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert layer.running_mean.tolist() == [0.0] * 3
    assert layer.num_batches_tracked.item() == 1


def test_state_goes_both_ways(torch):
    theirs = torch.nn.BatchNorm2d(3)
    theirs(torch.randn(4, 3, 5, 5))
    ours = nn.BatchNorm2d(3)
    ours.load_state_dict(theirs.state_dict())
    assert {k: v.dtype for k, v in ours.state_dict().items()} == {
        k: v.numpy().dtype for k, v in theirs.state_dict().items()
    }
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    assert ours.num_batches_tracked.item() == 1
    assert ours.double().num_batches_tracked.dtype == np.int64


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.BatchNorm1d(3)(rt.ones(1, 3)),
            ValueError,
            r"Expected more than 1 value per channel when training, got input size \(1, 3\)",
        ),
        (
            lambda: nn.BatchNorm1d(3)(rt.ones(3)),
            ValueError,
            r"must have shape \(N, C\) or \(N, C, L\) with C = 3, got \(3,\)",
        ),
        (lambda: nn.BatchNorm2d(3)(rt.ones(2, 4, 1, 1)), ValueError, r"with C = 3, got \(2, 4, 1, 1\)"),
        (
            lambda: nn.BatchNorm1d(3)(rt.ones(2, 3).double()),
            TypeError,
            "input is float64 and running_mean is float32",
        ),
        (
            lambda: F.batch_norm(rt.ones(2, 3), None, None),
            ValueError,
            "running_mean and running_var must be given",
        ),
        (
            lambda: F.batch_norm(rt.ones(2, 3), rt.ones(2), rt.ones(3)),
            ValueError,
            r"running_mean must have shape \(3,\)",
        ),
        (lambda: F.batch_norm(rt.ones(2, 3).long(), None, None), TypeError, "float32 or float64, got int64"),
        (lambda: nn.BatchNorm1d(0), ValueError, "num_features must be greater than zero"),
        (lambda: nn.BatchNorm1d(1, momentum="0.1"), TypeError, "momentum must be a number"),
        (
            lambda: nn.BatchNorm1d(1, momentum=-0.1),
            ValueError,
            "momentum must be a share from 0 to 1, got -0.1",
        ),
        (
            lambda: nn.BatchNorm1d(1, momentum=float("nan")),
            ValueError,
            "momentum must be a share from 0 to 1",
        ),
        (
            lambda: nn.BatchNorm1d(1, eps=-1),
            ValueError,
            "eps must be a finite number of at least 0, got -1",
        ),
        (
            lambda: nn.BatchNorm1d(1, eps=float("inf")),
            ValueError,
            "eps must be a finite number of at least 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_is_too_large_overflows_without_a_warning():
    x = rt.tensor(np.array([[3e38], [-3e38]], np.float32), requires_grad=True)
    layer = nn.BatchNorm1d(1)
    layer(x).sum().backward()
    assert np.isinf(layer.running_var.numpy()).all()


def test_statistics_that_cannot_be_written_are_refused_before_any_is():
    mean, var = rt.zeros(2), rt.ones(1).expand(2)
    with pytest.raises(ValueError, match="running_var is updated in training, but its array is read-only"):
        F.batch_norm(rt.tensor([[1.0, 2.0], [3.0, 4.0]]), mean, var, training=True)
    assert mean.tolist() == [0.0, 0.0]


def test_the_mean_of_a_batch_far_from_zero_need_not_be_a_number_of_the_dtype():
    x = np.array([[100.43534851], [101.00687408]], np.float32)
    found = F.batch_norm(rt.as_tensor(x), None, None, training=True).numpy()
    half = (x[1, 0].astype(np.float64) - x[0, 0]) / 2
    assert found[:, 0] == pytest.approx(np.array([-half, half]) / np.sqrt(half**2 + 1e-5), rel=3e-7)


def test_a_number_of_batches_below_zero():
    layer = nn.BatchNorm1d(1, momentum=None)
    layer.num_batches_tracked.copy_(rt.tensor(-1))
    with pytest.raises(ValueError, match="num_batches_tracked must be 0 or more before a batch, got -1"):
        layer(rt.tensor([[1.0], [2.0]]))


def test_squares_beyond_the_dtype_do_not_become_zeros():
    """A scale of 1 / inf would make them of every element; the other channel is as ever."""
    x = np.array([[1e30, 1.0], [-2e30, 2.0], [5e29, 4.0]])
    expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    assert_close(
        F.batch_norm(rt.tensor(x.astype(np.float32)), None, None, training=True), expected, rtol=1e-6
    )
    found = F.batch_norm(rt.tensor(x * [1e170, 1.0]), None, None, training=True).numpy()
    assert np.isnan(found[:, 0]).all()
    assert_close(found[:, 1], expected[:, 1], rtol=1e-12)
