"""Whether operations are recorded: `no_grad`, `enable_grad`, and detached tensors."""

import threading

import numpy as np
import pytest

from rondeau import tensor as rt


def leaf(values):
    return rt.tensor(values, dtype="float64", requires_grad=True)


def test_no_grad_as_context_and_decorator():
    x = leaf([1.0])
    with rt.no_grad():
        assert not (x * 2).requires_grad
        with rt.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad

    @rt.no_grad()
    def double(t):
        return t * 2

    assert not double(x).requires_grad
    assert double.__name__ == "double"


def test_no_grad_ends_with_an_exception():
    with pytest.raises(ZeroDivisionError), rt.no_grad():
        raise ZeroDivisionError
    assert rt.is_grad_enabled()


async def coroutine():
    return rt.is_grad_enabled(), rt.get_float32_matmul_precision()


async def asynchronous_generator():
    yield await coroutine()


def generator():
    yield rt.is_grad_enabled(), rt.get_float32_matmul_precision()


@pytest.mark.parametrize(
    "block", [rt.no_grad(), rt.enable_grad(), rt.inference_mode(), rt.float32_matmul_precision("medium")]
)
@pytest.mark.parametrize(
    ("decorated", "said"),
    [
        (generator, r"a generator: .*; use `with .*\): *` around the work inside generator"),
        (asynchronous_generator, "a generator: .* inside asynchronous_generator"),
        (coroutine, "a coroutine: .* inside coroutine, with no await in it"),
        (dict, "a class, dict: decorate its methods"),
        (3, "an object of type int: it decorates functions"),
    ],
)
def test_a_block_decorates_only_what_works_during_its_call(block, decorated, said):
    with pytest.raises(TypeError, match=f"^{type(block).__name__} cannot decorate {said}"):
        block(decorated)
    assert rt.is_grad_enabled()


def test_a_block_without_parentheses_refuses_a_class_too():
    with pytest.raises(TypeError, match="no_grad cannot decorate a class, dict"):
        rt.no_grad(dict)


def modes_of_thread():
    return rt.is_grad_enabled(), rt.is_inference_mode_enabled(), rt.get_float32_matmul_precision()


@pytest.mark.parametrize(
    "make", [rt.no_grad, rt.inference_mode, lambda: rt.float32_matmul_precision("medium")]
)
def test_threads_may_share_the_object_of_a_block(make):
    shared, entered, left, found = make(), threading.Event(), threading.Event(), []

    def other():
        with rt.no_grad(), rt.float32_matmul_precision("high"):
            with shared:
                entered.set()
                left.wait()
            found.append(modes_of_thread())
        found.append(modes_of_thread())

    thread = threading.Thread(target=other)
    with shared:
        thread.start()
        entered.wait()
    found.append(modes_of_thread())
    left.set()
    thread.join()
    outside = True, False, "highest"
    assert found == [outside, (False, False, "high"), outside]


@pytest.mark.parametrize("block", [rt.no_grad(), rt.inference_mode(), rt.float32_matmul_precision("medium")])
def test_blocks_of_generators_that_take_turns_leave_nothing(block):
    def inside(block):
        with block:
            yield
            yield

    first, second = inside(rt.float32_matmul_precision("high")), inside(block)
    third = inside(rt.enable_grad())
    for each in (first, second, third):
        next(each)
    for each in (first, second, third):
        each.close()
    assert modes_of_thread() == (True, False, "highest")


def test_set_grad_enabled_may_be_entered_again():
    switch = rt.set_grad_enabled(False)
    for _ in range(2):
        with switch:
            assert not rt.is_grad_enabled()
        assert rt.is_grad_enabled()


def test_set_grad_enabled():
    x = leaf([1.0])
    rt.set_grad_enabled(False)
    assert not (x * 2).requires_grad
    rt.set_grad_enabled(True)
    with rt.set_grad_enabled(False):
        assert not rt.is_grad_enabled()
    assert rt.is_grad_enabled()


def test_the_mode_belongs_to_the_thread():
    seen = []
    with rt.no_grad():
        thread = threading.Thread(target=lambda: seen.append(rt.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_backward_works_under_no_grad():
    x = leaf([2.0])
    y = x * x
    with rt.no_grad():
        y.backward()
        assert not rt.is_grad_enabled()
    assert x.grad.item() == 4


@pytest.mark.host_only("NumPy's memory is shared")
def test_detach_shares_memory_and_stops_gradients():
    x = leaf([2.0])
    d = x.detach()
    assert np.shares_memory(d.numpy(), x.detach().numpy())
    assert not d.requires_grad
    (x * d).backward()
    assert x.grad.item() == 2


def test_leaves():
    x = leaf([1.0])
    y = x * 2
    assert (x.is_leaf, y.is_leaf, rt.ones(1).is_leaf) == (True, False, True)
    assert x.grad_fn is None
    assert repr(y.grad_fn) == "<mul backward>"
    assert y.grad_fn.name == "mul"
    with pytest.raises(RuntimeError, match=r"cannot be switched off: use detach\(\)"):
        y.requires_grad_(False)
    x.requires_grad = False
    assert not x.requires_grad


def test_detach_in_place():
    w = rt.ones(2, requires_grad=True)
    y = w * 3
    assert y.detach_() is y
    assert y.is_leaf
    assert not y.requires_grad
    (y * w).sum().backward()
    assert w.grad.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match=r"detach_\(\) of a view: use detach\(\)"):
        (w * 3)[0].detach_()
