"""Making tensors, drawing random ones, moving between types, devices and libraries."""

import contextlib
import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.tensor(1),
        lambda m: m.tensor(1.5),
        lambda m: m.tensor(True),
        lambda m: m.tensor([[1, 2], [3, 4]]),
        lambda m: m.tensor([1.0, 2]),
        lambda m: m.tensor([]),
        lambda m: m.tensor(np.float64(2.0)),
        lambda m: m.tensor(np.arange(3)),
        lambda m: m.tensor(np.ones((2, 2), "uint8")),
        lambda m: m.zeros(2, 3),
        lambda m: m.zeros((2, 3)),
        lambda m: m.zeros(()),
        lambda m: m.zeros(0, 3),
        lambda m: m.ones([2], dtype=m.float64),
        lambda m: m.ones(2, dtype=m.bool),
        lambda m: m.full((2, 2), 7),
        lambda m: m.full((2,), 7.5),
        lambda m: m.full((), True),
        lambda m: m.arange(5),
        lambda m: m.arange(5.0),
        lambda m: m.arange(1, 2, 0.25),
        lambda m: m.arange(10, 0, -3),
        lambda m: m.arange(3, dtype=m.float64),
        lambda m: m.linspace(0, 1, 5),
        lambda m: m.eye(3),
        lambda m: m.eye(2, 3),
        lambda m: m.zeros_like(m.tensor([1, 2])),
        lambda m: m.ones_like(m.tensor([1, 2]), dtype=m.float32),
        lambda m: m.full_like(m.ones(2, 2), 3),
        lambda m: m.ones(2).new_zeros(3),
        lambda m: m.ones(2).double().new_ones((3, 1)),
    ],
)
def test_as_torch(make):
    ours, theirs = make(rt), make(torch)
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    assert ours.shape == tuple(theirs.shape)
    assert_same_bits(ours, theirs)


def test_tensor_copies_and_Tensor_shares():
    a = np.zeros(2)
    copied, shared, from_numpy = rt.tensor(a), rt.Tensor(a), rt.from_numpy(a)
    a[0] = 7
    assert (copied[0].item(), shared[0].item(), from_numpy[0].item()) == (0, 7, 7)
    x = rt.tensor([1.0])
    y = rt.tensor(x)
    y[0] = 5
    assert x.item() == 1
    with pytest.raises(TypeError, match="from_numpy expects an ndarray, got list"):
        rt.from_numpy([1])


def test_lists_of_tensors():
    assert rt.tensor([rt.tensor(1.0), 2.0]).tolist() == [1, 2]


def test_shapes_are_integers():
    with pytest.raises(TypeError, match=r"each size in shape must be an integer, got float 2\.5"):
        rt.zeros(2.5)


def test_cuda_without_cupy():
    pytest.importorskip("numpy")
    try:
        import cupy  # noqa: F401
    except ImportError:
        with pytest.raises(
            RuntimeError, match="device 'cuda' needs CuPy, which is not installed: in the clone"
        ):
            rt.ones(1, device="cuda")
        with pytest.raises(RuntimeError, match="needs CuPy"):
            rt.ones(1).to("cuda")
    else:
        pytest.skip("CuPy is installed")
    with pytest.raises(ValueError, match="expected device 'cpu' or 'cuda', got 'tpu'"):
        rt.ones(1, device="tpu")
    assert rt.ones(1).cpu().device == "cpu"


def test_conversion_and_its_gradient():
    x = rt.ones(2, requires_grad=True)
    assert x.to("float32") is x
    assert x.to(rt.float32) is x.float() is x
    y = x.double()
    assert y.dtype == rt.float64
    y.sum().backward()
    assert x.grad.dtype == rt.float32
    assert x.to(rt.ones(1, dtype="float64")).dtype == rt.float64
    assert rt.tensor([0.5, -1.7]).long().tolist() == [0, -1]
    assert rt.tensor([0.0, 2.0]).bool().tolist() == [False, True]
    assert not x.long().requires_grad
    assert x.to("cpu", "float64").dtype == rt.float64


@pytest.mark.host_only("NumPy's memory is shared")
def test_numpy_and_arrays():
    x = rt.tensor([1.0, 2.0])
    assert x.numpy() is x.detach().numpy() is np.asarray(x)
    assert np.array(x, dtype="float64").dtype == np.float64
    with pytest.raises(RuntimeError, match=r"requires gradients would lose them: call detach\(\)\.numpy\(\)"):
        x.requires_grad_().numpy()
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(rt.ones(2), dtype="float64", copy=False)


@pytest.mark.host_only("NumPy's arrays beside tensors")
def test_numpy_on_the_left_records():
    w = rt.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    for result in (
        np.ones(2) * w,
        np.ones(2) + w,
        np.float64(3) * w,
        np.ones((2, 2)) @ w,
        np.exp(w),
        np.sum(w),
        np.where(np.array([True, False]), w, 0),
    ):
        assert isinstance(result, rt.Tensor)
        assert result.requires_grad
    (np.array([3.0, 4.0]) * w - np.array([1.0, 1.0]) / w).sum().backward()
    assert w.grad.tolist() == [4, 4.25]


@pytest.mark.host_only("NumPy's arrays beside tensors")
def test_functions_of_numpy_without_an_operator():
    x = rt.tensor([3.0, 1.0, 2.0])
    assert np.isclose(x, np.array([3.0, 1.0, 2.0])).all()
    assert np.median(x) == 2
    assert np.arctan(x).shape == (3,)
    with pytest.raises(
        TypeError, match=r"np\.median is not an operator of tensors, and this one requires gradients"
    ):
        np.median(x.requires_grad_())
    with pytest.raises(TypeError, match=r"np\.arctan is not an operator"):
        np.arctan(x)


def test_a_tensor_as_target_of_numpy():
    x = rt.ones(2)
    np.add(x, 1, out=x)
    assert x.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="leaf that requires gradients"):
        np.add(x, 1, out=x.requires_grad_())
    assert x.tolist() == [2, 2]


def test_numbers():
    x = rt.tensor(2.5)
    assert (float(x), int(x), bool(x), x.item(), f"{x:.2f}") == (2.5, 2, True, 2.5, "2.50")
    with pytest.raises(
        ValueError, match=r"item\(\) is for a tensor of one element, this one has shape \(2,\)"
    ):
        rt.ones(2).item()
    with pytest.raises(
        ValueError, match=r"truth of a tensor of shape \(2,\) is ambiguous: use \.any\(\) or \.all\(\)"
    ):
        bool(rt.ones(2))
    with pytest.raises(TypeError, match="one integer can be used as an index"):
        [1, 2][rt.tensor(1.0)]


def test_comparison_with_what_is_no_number():
    x = rt.ones(2)
    assert (x == None) is False  # noqa: E711
    assert (x != "text") is True
    assert x in [x]
    assert {x: 1}[x] == 1


@pytest.mark.host_only("tensors of the CPU do not show their device")
def test_repr():
    assert repr(rt.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(rt.tensor([1, 2])) == "tensor([1, 2])"
    assert (
        repr(rt.ones(2, dtype="float64", requires_grad=True))
        == "tensor([1., 1.], dtype=float64, requires_grad=True)"
    )
    assert repr(rt.ones(1, requires_grad=True) * 2) == "tensor([2.], grad_fn=<mul backward>)"
    assert repr(rt.zeros(0, 3)) == "tensor([], shape=(0, 3))"


def test_attributes():
    x = rt.zeros(2, 3)
    assert (x.ndim, x.dim(), x.numel(), x.size(), x.size(1), x.nbytes, x.itemsize) == (
        2,
        2,
        6,
        (2, 3),
        3,
        24,
        4,
    )
    assert x.is_contiguous()
    assert not x.T.is_contiguous()
    assert x.is_floating_point()
    with pytest.raises(ValueError, match="without a copy"):
        x.T.view(6)


def test_data_can_be_replaced():
    x = rt.ones(2, requires_grad=True)
    x.data = np.zeros(2, "float32")
    assert x.tolist() == [0, 0]
    x.data = rt.ones(2)
    assert x.tolist() == [1, 1]
    with pytest.raises(TypeError, match="expected a Tensor or an array as data, got list"):
        x.data = [1, 2]
    with pytest.raises(TypeError, match="must be floating, got int64"):
        x.data = np.zeros(2, "int64")


def test_grad_can_be_set():
    x = rt.ones(2, requires_grad=True)
    x.grad = rt.ones(2)
    x.grad = None
    with pytest.raises(TypeError, match="a gradient is a Tensor or None, got ndarray"):
        x.grad = np.ones(2)
    with pytest.raises(ValueError, match=r"float32 of shape \(2,\); got float64 of shape \(2,\)"):
        x.grad = rt.ones(2, dtype="float64")


def test_copies():
    x = rt.ones(2, requires_grad=True)
    x.grad = rt.ones(2)
    twin = copy.deepcopy([x, x])
    assert twin[0] is twin[1]
    assert twin[0].grad.tolist() == [1, 1]
    with rt.no_grad():
        twin[0].add_(1)
    assert x.tolist() == [1, 1]
    y = pickle.loads(pickle.dumps(x))
    assert y.requires_grad
    assert rt.equal(x, y)
    with pytest.raises(RuntimeError, match="only leaves can be deep-copied"):
        copy.deepcopy(x * 2)
    with pytest.raises(RuntimeError, match="only leaves can be pickled"):
        pickle.dumps(x * 2)


@pytest.mark.parametrize(
    "draw",
    [
        lambda **k: rt.rand(3, 4, **k),
        lambda **k: rt.randn(3, 4, dtype="float64", **k),
        lambda **k: rt.randint(0, 10, (5,), **k),
        lambda **k: rt.randperm(10, **k),
        lambda **k: rt.normal(1.0, 2.0, (4,), **k),
        lambda **k: rt.rand_like(rt.ones(2, 2), **k),
        lambda **k: rt.randn_like(rt.ones(2, 2), **k),
        lambda **k: rt.bernoulli(rt.full((20,), 0.5), **k),
        lambda **k: rt.multinomial(rt.ones(20), 5, **k),
        lambda **k: rt.empty(5).uniform_(2, 3, **k),
        lambda **k: rt.empty(5).normal_(**k),
    ],
)
def test_seeds(draw):
    rt.manual_seed(3)
    first, second = draw(), draw()
    rt.manual_seed(3)
    assert rt.equal(first, draw())
    assert not rt.equal(first, second)
    assert rt.equal(draw(generator=rt.Generator(5)), draw(generator=rt.Generator().manual_seed(5)))


def test_generator_state_is_json():
    g = rt.Generator(1)
    rt.rand(5, generator=g)
    rt.randint(0, 5, (3,), generator=g)
    state = json.loads(json.dumps(g.get_state()))
    expected = rt.randn(7, generator=g)
    other = rt.Generator(2)
    other.set_state(state)
    assert rt.equal(expected, rt.randn(7, generator=other))
    with pytest.raises(ValueError, match="expected the state of a PCG64 generator"):
        g.set_state({"bit_generator": "MT19937"})
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        rt.manual_seed(-1)


def test_a_generator_may_be_the_default_of_a_block_and_a_thread():
    before = rt.default_generator().get_state()
    with rt.Generator(3).as_default() as outer:
        assert rt.default_generator() is outer
        with contextlib.suppress(KeyError), rt.Generator(4).as_default():
            raise KeyError
        drawn = rt.rand(5)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(rt.default_generator).result() is not outer
        rt.manual_seed(3)
        assert rt.equal(rt.rand(5), drawn)
    assert rt.equal(rt.rand(5, generator=rt.Generator(3)), drawn)
    assert rt.default_generator().get_state() == before


def test_distributions():
    g = rt.Generator(0)
    n = 100_000
    u, z = rt.rand(n, generator=g), rt.randn(n, generator=g)
    assert u.dtype == z.dtype == rt.float32
    assert u.min().item() >= 0
    assert u.max().item() < 1
    assert u.mean().item() == pytest.approx(0.5, abs=0.005)
    assert (z.mean().item(), z.std().item()) == pytest.approx((0, 1), abs=0.015)
    i = rt.randint(-2, 3, (n,), generator=g)
    assert (i.min().item(), i.max().item(), i.dtype) == (-2, 2, rt.int64)
    counts = (
        np.bincount(
            rt.multinomial(rt.tensor([[1.0, 0.0, 3.0]]), n, replacement=True, generator=g).numpy()[0],
            minlength=3,
        )
        / n
    )
    assert_close(counts, [0.25, 0, 0.75], rtol=1e-7, atol=0.01)
    assert sorted(rt.multinomial(rt.ones(5), 5, generator=g).tolist()) == [0, 1, 2, 3, 4]


def test_random_errors():
    with pytest.raises(ValueError, match="no integer from 3 to 3 - 1"):
        rt.randint(3, 3, (2,))
    with pytest.raises(ValueError, match=r"called as randint\(high, size\)"):
        rt.randint(3)
    with pytest.raises(ValueError, match="probabilities from 0 to 1"):
        rt.bernoulli(rt.tensor([1.5])).tolist()
    with pytest.raises(ValueError, match="finite, not negative and not all zero"):
        rt.multinomial(rt.zeros(3), 1).tolist()
    with pytest.raises(ValueError, match="fewer than 2 indices have a weight"):
        rt.multinomial(rt.tensor([1.0, 0.0]), 2).tolist()
    with pytest.raises(ValueError, match="std must not be negative, got -1"):
        rt.normal(0.0, -1.0, (2,))
