"""Function: user-written derivatives."""

import gc
import weakref

import numpy as np
import pytest

from rondeau import tensor as rt


class Cube(rt.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x**2


class Exponential(rt.Function):
    """Saves its own output."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


class SumAndProduct(rt.Function):
    """Two outputs, an argument that is no tensor, a gradient that may be missing."""

    @staticmethod
    def forward(ctx, a, scale, b):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(a, b)
        ctx.scale = scale
        return a + b, a * b * scale

    @staticmethod
    def backward(ctx, d_sum, d_product):
        a, b = ctx.saved_tensors
        ctx_needs.append((ctx.needs_input_grad, d_sum is None, d_product is None))
        zero = a * 0
        d_sum = zero if d_sum is None else d_sum
        d_product = zero if d_product is None else d_product
        return d_sum + d_product * b * ctx.scale, None, d_sum + d_product * a * ctx.scale


ctx_needs = []


def leaf(*values):
    return rt.tensor(values, dtype="float64", requires_grad=True)


@pytest.mark.parametrize("function", [Cube, Exponential], ids=lambda f: f.__name__)
def test_derivatives_of_both_orders(function):
    x = leaf(0.3, -1.2)
    assert rt.gradcheck(function.apply, x)
    assert rt.gradgradcheck(function.apply, x)
    assert rt.gradgradcheck(lambda x: function.apply(function.apply(x)), x)


def test_several_outputs():
    a, b = leaf(2.0, 3.0), leaf(5.0, 7.0)
    assert rt.gradcheck(lambda a, b: SumAndProduct.apply(a, 2.0, b), (a, b))
    assert rt.gradgradcheck(lambda a, b: SumAndProduct.apply(a, 2.0, b), (a, b))


def test_what_backward_is_told():
    a, b = leaf(2.0), rt.tensor([5.0], dtype="float64")
    ctx_needs.clear()
    total, product = SumAndProduct.apply(a, 2.0, b)
    product.backward()
    assert ctx_needs == [((True, False, False), True, False)]
    assert a.grad.item() == 10
    assert total.requires_grad


def test_missing_gradients_are_zeros_by_default():
    class Two(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, g, h):
            assert (g.shape, h.shape) == ((2,), (2,))
            return g + 2 * h

    x = leaf(1.0, 2.0)
    Two.apply(x)[1].sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_nothing_is_needed_where_nothing_is_recorded():
    class Seen(rt.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append((ctx.needs_input_grad, rt.is_grad_enabled()))
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g

    seen = []
    x = leaf(1.0)
    Seen.apply(x)
    with rt.no_grad():
        assert not Seen.apply(x).requires_grad
    Seen.apply(x.detach())
    assert seen == [((True,), False), ((False,), False), ((False,), False)]


def test_flags_of_the_walk():
    class Flags(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            seen.append((ctx.create_graph, ctx.retain_graph, rt.is_grad_enabled(), isinstance(g, rt.Tensor)))
            return g

    seen = []
    y = Flags.apply(leaf(1.0))
    y.backward(create_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert seen == [(True, True, True, True), (False, True, False, True), (False, False, False, True)]
    with pytest.raises(RuntimeError, match=r"graph that the first backward freed \(at 'Flags'\)"):
        y.backward()


def test_outputs_without_a_derivative():
    class Largest(rt.Function):
        @staticmethod
        def forward(ctx, x):
            kept = x * 1
            ctx.mark_non_differentiable(kept)
            return x.max(), x.argmax(), kept

        @staticmethod
        def backward(ctx, g, g_index, g_kept):
            return g.expand(2)

    x = leaf(1.0, 2.0)
    value, index, kept = Largest.apply(x)
    assert (value.requires_grad, index.requires_grad, kept.requires_grad) == (True, False, False)
    value.backward()
    assert x.grad.tolist() == [1, 1]


def test_saved_outputs_without_a_derivative():
    class Largest(rt.Function):
        @staticmethod
        def forward(ctx, x):
            index, scale = x.argmax(), x * 0 + 3
            ctx.mark_non_differentiable(scale)
            ctx.save_for_backward(x, index, scale)
            return x.max(), index, scale

        @staticmethod
        def backward(ctx, g, g_index, g_scale):
            x, index, scale = ctx.saved_tensors
            gradient = x * 0
            gradient[index] = 1
            return gradient * g * scale

    x = leaf(1.0, 2.0)
    value, index, _ = Largest.apply(x)
    value.backward(retain_graph=True)
    assert x.grad.tolist() == [0, 3]
    index.add_(-1)
    with pytest.raises(RuntimeError, match="saved tensor 1 of 'Largest', int64 of shape"):
        value.backward()


def test_an_input_handed_on():
    class Pass(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 7

    x = leaf(1.0)
    y = Pass.apply(x)
    assert y is not x
    y.backward()
    assert x.grad.item() == 7
    assert x.is_leaf


def test_gradients_do_not_alias_by_default():
    class Same(rt.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, g):
            return g, g

    a, b = leaf(1.0), leaf(2.0)
    Same.apply(a, b).backward()
    a.grad.zero_()
    assert b.grad.item() == 1


@pytest.mark.host_only("NumPy's memory is shared")
def test_owned_gradients_are_not_copied():
    class Owned(rt.Function):
        owns_gradients = True

        @staticmethod
        def forward(ctx, a):
            return a * 1

        @staticmethod
        def backward(ctx, g):
            made.append(np.ones(2))
            return rt.Tensor(made[-1])

    made = []
    a = leaf(1.0, 2.0)
    Owned.apply(a).sum().backward()
    assert a.grad.numpy() is made[0]


def test_a_changed_saved_tensor_is_noticed():
    x = leaf(1.0) * 2
    y = Cube.apply(x)
    x.add_(1)
    with pytest.raises(
        RuntimeError, match=r"saved tensor 0 of 'Cube', float64 of shape \(1,\), was changed in place"
    ):
        y.backward()
    z = Exponential.apply(leaf(1.0))
    z.add_(1)
    with pytest.raises(RuntimeError, match="saved tensor 0 of 'Exponential'"):
        z.backward()


@pytest.mark.parametrize("function", [Cube, Exponential, SumAndProduct], ids=lambda f: f.__name__)
def test_memory_returns_without_the_collector(function):
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        y = function.apply(x, 1.0, x) if function is SumAndProduct else function.apply(x)
        y = y[1] if isinstance(y, tuple) else y
        z = y * 2
        seen = [weakref.ref(y), weakref.ref(z), weakref.ref(y.detach().numpy())]
        del y
        z.backward()
        del z
        assert [s() for s in seen] == [None] * 3
    finally:
        gc.enable()


def test_errors():
    class NoTensor(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return 3

    with pytest.raises(
        TypeError, match=r"NoTensor\.forward must return a Tensor or a tuple of them, got int"
    ):
        NoTensor.apply(leaf(1.0))

    class Few(rt.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match=r"Few\.backward returned 1 gradients for 2 arguments"):
        Few.apply(leaf(1.0), leaf(1.0)).backward()

    class Shape(rt.Function):
        @staticmethod
        def forward(ctx, a):
            return a.sum()

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match=r"gradient of shape \(\) for argument 0 of shape \(2,\)"):
        Shape.apply(leaf(1.0, 2.0)).backward()

    class NoGradient(rt.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 1

        @staticmethod
        def backward(ctx, g):
            return 1.0

    with pytest.raises(TypeError, match="must return Tensors or None, gradient 0 is float"):
        NoGradient.apply(leaf(1.0)).backward()
    with pytest.raises(NotImplementedError, match=r"defines the static method forward\(ctx, \*args\)"):
        type("Bare", (rt.Function,), {}).apply(leaf(1.0))


def test_a_gradient_of_another_type_is_converted():
    class Wide(rt.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 1

        @staticmethod
        def backward(ctx, g):
            return g.double()

    x = rt.ones(1, requires_grad=True)
    Wide.apply(x).backward()
    assert x.grad.dtype == rt.float32


def test_hooks_on_outputs():
    a, b = leaf(2.0), leaf(5.0)
    total, product = SumAndProduct.apply(a, 1.0, b)
    product.register_hook(lambda g: g * 10)
    product.retain_grad()
    (total + product).backward()
    assert product.grad.item() == 10
    assert a.grad.item() == 1 + 50


@pytest.mark.parametrize("data", [np.zeros(3, np.float32), np.zeros(2, np.float64)])
def test_saved_tensors_whose_data_were_exchanged_are_refused(data):
    x = rt.ones(2, requires_grad=True)
    y = Cube.apply(x)
    x.data = data
    with pytest.raises(
        RuntimeError,
        match=r"saved tensor 0 of 'Cube' was float32 of shape \(2,\) in forward, and its data are now",
    ):
        y.backward(rt.ones(2))


def test_the_gradient_of_an_output_alone_runs_no_backward():
    class Refusing(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise AssertionError("nothing before the output was asked for")

    y = Refusing.apply(rt.tensor([1.0, 2.0], requires_grad=True))
    (found,) = rt.grad((y * y).sum(), y)
    assert found.tolist() == [4.0, 8.0]


def test_a_function_with_one_output_is_one_node():
    x = rt.tensor([1.0, 2.0], requires_grad=True)
    y = Cube.apply(x)
    assert repr(y.grad_fn) == "<Cube backward>"
    assert y.grad_fn.parents == (x._node,)
    y.retain_grad()
    y.sum().backward()
    assert y.grad.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [3.0, 12.0]
    first, second = SumAndProduct.apply(x, 2.0, x)
    assert first.grad_fn.parents == second.grad_fn.parents
    assert repr(first.grad_fn) == "<output backward>"


@pytest.mark.parametrize("create_graph", [False, True])
def test_backward_gets_gradients_in_the_dtype_of_the_outputs(create_graph):
    found = []

    class Same(rt.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 1

        @staticmethod
        def backward(ctx, g):
            found.append(g.dtype)
            return g

    y = Same.apply(rt.ones(1, requires_grad=True))
    y.register_hook(lambda g: g.double())
    y.backward(create_graph=create_graph)
    assert found == [rt.float32]
