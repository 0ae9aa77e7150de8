"""What is refused on a GPU, for which `tools.device_arrays` stands: numbers there at the next read, and two devices."""

import numpy as np
import pytest
from tools.device_arrays import no_transfers, transfers

from rondeau import tensor as rt
from rondeau.kernels.runtime.deferred import raise_pending

pytestmark = [
    pytest.mark.usefixtures("device_stand_in"),
    pytest.mark.host_only("the tests name their devices"),
]


def written(x, index, value):
    y = x * 1
    y[index] = value
    return y


OUT_OF_RANGE = {
    "read": (lambda x, i: x[i], "index {} is out of range for a dimension of size 3"),
    "read beside others": (lambda x, i: x[:, i], "index {} is out of range for a dimension of size 3"),
    "written": (lambda x, i: written(x, i, 1.0), "index {} is out of range for a dimension of size 3"),
    "index_select": (lambda x, i: rt.index_select(x, 0, i), "index_select: index {} is out of range"),
    "gather": (lambda x, i: rt.gather(x, 1, i.reshape(1, 2)), "gather: index {} is out of range"),
    "index_add": (lambda x, i: rt.index_add(x, 0, i, x[:2]), "index_add: index {} is out of range"),
    "scatter_add": (
        lambda x, i: rt.scatter_add(x, 1, i.reshape(1, 2), x),
        "scatter_add: index {} is out of range",
    ),
}


@pytest.mark.parametrize("wrong", [3, -4])
@pytest.mark.parametrize(("call", "message"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_an_index_out_of_range_is_an_error_at_the_next_read(call, message, wrong):
    x = rt.ones(3, 3, device="cuda", requires_grad=True)
    index = rt.tensor([0, wrong], device="cuda")
    with no_transfers():
        result = call(x, index).sum()
        result.backward()
    with pytest.raises(IndexError, match=message.format(wrong)):
        result.item()
    assert result.item() is not None  # once


@pytest.mark.parametrize(
    "call",
    [
        lambda x, index: np.take(x, index),
        lambda x, index: np.take_along_axis(np.ones(3), index, axis=0),
        lambda x, index: np.put_along_axis(x, index, 0.0, 0),
    ],
)
def test_indices_that_nobody_would_check_are_refused(call):
    with pytest.raises(TypeError, match="of a GPU would not notice an index out of range: use"):
        call(rt.ones(3, device="cuda"), rt.tensor([7], device="cuda"))


def test_indices_of_the_host_are_checked_there_and_sent():
    x = rt.arange(3.0, device="cuda")
    with pytest.raises(IndexError, match="index 3 is out of range"):
        x[[0, 3]]
    with pytest.raises(IndexError, match="index -4 is out of range"):
        x[np.array([0, -4])] = 1.0
    with pytest.raises(IndexError, match="gather: index -1 is out of range"):
        rt.gather(x, 0, np.array([-1]))
    with pytest.raises(IndexError, match=r"a mask of shape \(2,\) does not fit dimensions of shape \(3,\)"):
        x[np.array([True, False])]
    with pytest.raises(IndexError, match=r"a mask of shape \(2,\) does not fit dimensions of shape \(3,\)"):
        x[rt.tensor([True, False], device="cuda")]
    with pytest.raises(IndexError, match="too long"):
        x[np.array([[True] * 3])]
    with transfers() as seen:
        found = x[[2, 2]], x[np.array([True, False, True])], x[rt.tensor([-1, 0], dtype="int8")]
    assert len(seen.to_device) == 3
    assert not seen.waits
    assert [f.tolist() for f in found] == [[2, 2], [0, 2], [2, 0]]
    long = rt.arange(1000, device="cuda")
    short = rt.tensor([-1, 5], dtype="int8", device="cuda")
    assert long[short].tolist() == [999, 5]
    assert rt.index_select(long, 0, rt.tensor([200], dtype="uint8", device="cuda")).tolist() == [200]
    empty = rt.zeros(0, 2, device="cuda")
    assert empty[rt.zeros(0, dtype="int64", device="cuda")].shape == (0, 2)
    with pytest.raises(IndexError, match="index 0 is out of range for a dimension of size 0"):
        empty[rt.zeros(1, dtype="int64", device="cuda")].tolist()
    raise_pending()


def test_masks_of_a_device_wait_for_the_size_of_what_is_read_but_not_to_be_filled():
    x = rt.arange(4.0, device="cuda", requires_grad=True)
    mask = x.detach() > 1
    with transfers() as seen:
        part = x[mask]
    assert [wait.what for wait in seen.waits] == ["the number of True in a mask"]
    (part * part).sum().backward()
    assert x.grad.tolist() == [0, 0, 4, 6]
    with no_transfers():
        y = written(x, mask, 7.0)
    assert y.tolist() == [0, 1, 7, 7]


def test_numbers_of_a_device_that_are_not_allowed_are_errors_at_the_next_read():
    x, zero, less = (rt.tensor([a, b], device="cuda") for a, b in ((4, 5), (1, 0), (1, -1)))
    for call, message in (
        (lambda: x // zero, "int64 divided by zero"),
        (lambda: x % zero, "int64 divided by zero"),
        (lambda: x**less, "integers to a negative power are not integers"),
        (lambda: 2**less, "integers to a negative power are not integers"),
        (lambda: x.byte().masked_fill(x > 4, rt.tensor(300, device="cuda")), "300 does not fit uint8"),
    ):
        with no_transfers():
            result = call()
        with pytest.raises(ValueError, match=message):
            result.tolist()
    with pytest.raises(ValueError, match="negative power"):
        x**-1
    assert (x ** rt.tensor([2, 0], device="cuda")).tolist() == [16, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: x + y,
        lambda x, y: y.half() * x,
        lambda x, y: y * x[0],  # it would wait for the number
        lambda x, y: x < y,
        lambda x, y: x == y.numpy(),
        lambda x, y: np.maximum(y, x),
        lambda x, y: rt.where(x > 0, x, y),
        lambda x, y: rt.where(y > 0, x, x),
        lambda x, y: rt.cat([x, y]),
        lambda x, y: rt.stack([x, y]),
        lambda x, y: rt.clamp(x, y),
        lambda x, y: rt.einsum("i,i->i", x, y),
        lambda x, y: rt.equal(x, y),
        lambda x, y: rt.allclose(x, y),
        lambda x, y: y[x.long()],
        lambda x, y: rt.index_select(y, 0, x.long()),
        lambda x, y: y.__setitem__(x.long(), 1.0),
        lambda x, y: y.add_(x),
        lambda x, y: x.mul_(y),
        lambda x, y: rt.tensor(1.0).add_(x[0]),
        lambda x, y: np.isclose(x, y),
        lambda x, y: np.vstack([x, y]),
        lambda x, y: np.add(x, 1, out=y.numpy()),
        lambda x, y: np.copyto(x, y),
    ],
)
def test_tensors_of_two_devices_are_refused(call):
    x, y = rt.zeros(3, device="cuda"), rt.ones(3)
    with pytest.raises(
        ValueError,
        match=r"expected all tensors on one device, got (cuda and cpu|cpu and cuda): move one with "
        r'\.to\("cpu"\) or \.to\("cuda"\)',
    ):
        call(x, y)
    assert x.tolist() == [0, 0, 0]
    assert y.tolist() == [1, 1, 1]


def test_numbers_of_the_host_go_along():
    """As in PyTorch, a tensor of zero dimensions is a number, and gradients flow back to where it is."""
    x = rt.tensor([1.0, 2.0], device="cuda")
    two = rt.tensor(2.0, requires_grad=True)
    for result in (x * two, two * x, np.multiply(x, two), rt.where(x > 1, x, two) * 1, rt.maximum(two, x)):
        assert result.device == "cuda"
        assert result.requires_grad
    (x * two).sum().backward()
    assert two.grad.device == "cpu"
    assert two.grad.item() == 3
    assert (x < two).tolist() == [True, False]
    assert rt.allclose(x, rt.tensor(2.0), atol=1)
    assert rt.allclose(1.5, x, rtol=1)
    assert (x * rt.tensor(3)).dtype == rt.float32
    assert (x + np.float64(1)).tolist() == [2, 3]
    assert x.clone().mul_(two.detach()).tolist() == [2, 4]
    written_to = x.clone()
    written_to[0] = rt.tensor(5.0)
    written_to[1:] = np.array([6.0])  # an assignment copies, from any device
    assert written_to.copy_(written_to.cpu() + 1).tolist() == [6, 7]


def test_gradients_are_given_where_the_tensor_is():
    x = rt.ones(2, device="cuda", requires_grad=True)
    (x * 2).backward([1.0, 2.0])
    assert x.grad.tolist() == [2, 4]
    with pytest.raises(ValueError, match="expected a gradient on cuda like the tensor, got one on cpu"):
        (x * 2).backward(rt.ones(2))
    with pytest.raises(ValueError, match=r"a gradient is where its tensor is, on cuda; got one on cpu"):
        x.grad = rt.ones(2)
