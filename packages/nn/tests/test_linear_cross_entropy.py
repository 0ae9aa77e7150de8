"""`linear_cross_entropy`: PyTorch's, the two functions that it stands for, their derivatives, and refusals."""

import itertools

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.ops import linear_cross_entropy as kernels
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS

F = nn.functional
REDUCTIONS = ["mean", "sum", "none"]


@pytest.fixture
def blocked(monkeypatch):
    """Use blocks for any size."""
    monkeypatch.setattr(kernels, "is_blocked", lambda *sizes: True)


def problem(N=70, P=4, V=150, dtype="float64"):
    """Return input, weight and bias as arrays, and classes of which some are ignored."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((N, P), (V, P), (V,))]
    return arrays, np.where(rng.random(N) < 0.2, -100, rng.integers(0, V, N))


def leaves(arrays):
    return [rt.tensor(array, requires_grad=True) for array in arrays]


def blocks(x, weight, bias, classes, **options):
    return F.linear_cross_entropy(x, weight, classes, linear_bias=bias, **options)


def whole(x, weight, bias, classes, **options):
    return F.cross_entropy(F.linear(x, weight, bias), classes, **options)


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_agrees_with_torch(compare, torch, dtype, reduction):
    arrays, classes = problem(dtype=dtype)
    of_classes = np.random.default_rng(1).random(150).astype(dtype)
    for weighted, smoothing, ignored in itertools.product([False, True], [0.0, 0.1], [-100, 7]):
        given = np.where(classes == -100, ignored, classes)
        options = {"reduction": reduction, "ignore_index": ignored, "label_smoothing": smoothing}

        def ours(x, w, b, t=given, weighted=weighted, options=options):
            weight = rt.tensor(of_classes) if weighted else None
            return F.linear_cross_entropy(x, w, t, linear_bias=b, weight=weight, **options)

        def theirs(x, w, b, t=given, weighted=weighted, options=options):
            weight = torch.from_numpy(of_classes) if weighted else None
            target = torch.from_numpy(t)
            return torch.nn.functional.linear_cross_entropy(
                x, w, target, linear_bias=b, weight=weight, **options
            )

        compare(ours, theirs, *arrays)


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_shapes_and_probabilities_as_torch_takes_them(compare, torch, dtype, shape):
    (_, weight, bias), _ = problem(V=5, dtype=dtype)
    x = np.random.default_rng(2).standard_normal(shape).astype(dtype)
    for target in (
        np.full(shape[:-1], 2),
        np.random.default_rng(3).random((*shape[:-1], 5)).astype(dtype),
    ):
        compare(
            lambda x, w, b, t=target: F.linear_cross_entropy(x, w, rt.tensor(t), linear_bias=b),
            lambda x, w, b, t=target: torch.nn.functional.linear_cross_entropy(
                x, w, torch.from_numpy(t), linear_bias=b
            ),
            x,
            weight,
            bias,
        )


def test_the_module_agrees_with_torch(close, torch):
    (x, _, _), classes = problem(V=6, dtype="float32")
    weight, options = np.linspace(0.5, 2, 6, dtype="float32"), {"reduction": "sum", "label_smoothing": 0.1}
    ours = nn.LinearCrossEntropyLoss(4, 6, bias=True, weight=rt.tensor(weight), **options)
    theirs = torch.nn.LinearCrossEntropyLoss(4, 6, bias=True, weight=torch.from_numpy(weight), **options)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    classes = np.where(classes == -100, -100, classes % 6)
    loss, expected = ours(rt.tensor(x), classes), theirs(torch.from_numpy(x), torch.from_numpy(classes))
    loss.backward()
    expected.backward()
    close(loss.detach().numpy(), expected.detach().numpy(), "loss")
    for name in ("weight", "bias"):
        gradient, of_torch = (getattr(module.linear, name).grad.numpy() for module in (ours, theirs))
        close(gradient, of_torch, name)


def test_few_logits_are_computed_as_a_whole():
    arrays, classes = problem(dtype="float32")
    assert not kernels.is_blocked(70, 4, 150)
    results = []
    for function in (blocks, whole):
        given = leaves(arrays)
        loss = function(*given, classes)
        loss.backward()
        results.append([loss.detach().numpy(), *(leaf.grad.numpy() for leaf in given)])
    assert_same_bits(*results)


def test_many_logits_are_computed_in_blocks():
    """Of a size that is blocked without further ado."""
    arrays, classes = problem(256, 2, 2**12, "float32")
    assert kernels.is_blocked(256, 2, 2**12)
    results = []
    for function in (blocks, whole):
        given = leaves(arrays)
        loss = function(*given, classes)
        loss.backward()
        results.append([loss.detach().numpy(), *(leaf.grad.numpy() for leaf in given)])
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected, rtol=1e-5, atol=1e-7)
    assert (
        results[0][2].tobytes() != results[1][2].tobytes()
    )  # each class's sums over rows are in another order


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_second_derivatives_are_those_of_the_whole(reduction):
    arrays, classes = problem(20, 3, 12)
    cotangent = np.random.default_rng(5).standard_normal(20 if reduction == "none" else ())
    results = []
    for function in (blocks, whole):
        given = leaves(arrays)
        loss = function(*given, classes, reduction=reduction, label_smoothing=0.1)
        g = rt.tensor(cotangent, requires_grad=True)
        first = rt.grad(loss, given, g, create_graph=True)
        squares = sum((f * f * f).sum() for f in first)
        results.append([*first, *rt.grad(squares, [*given, g])])
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.usefixtures("blocked")
def test_gradients_are_those_of_central_differences():
    arrays, classes = problem(6, 2, 5)
    assert rt.autograd.gradcheck(lambda *given: blocks(*given, classes), leaves(arrays))
    assert rt.autograd.gradgradcheck(lambda *given: blocks(*given, classes), leaves(arrays))


@pytest.mark.usefixtures("blocked")
def test_backward_again_and_with_a_factor():
    arrays, classes = problem()
    once = leaves(arrays)
    blocks(*once, classes).backward()
    given = leaves(arrays)
    loss = blocks(*given, classes)
    loss.backward(retain_graph=True)
    kept = [leaf.grad.numpy().copy() for leaf in given]
    assert_same_bits(kept, [leaf.grad.numpy() for leaf in once])
    (loss * 3).backward(retain_graph=True)
    for leaf, of_one in zip(given, kept, strict=True):
        assert_close(leaf.grad, 4 * of_one, rtol=1e-14)
    loss.backward()
    for leaf, of_one in zip(given, kept, strict=True):
        assert_close(leaf.grad, 5 * of_one, rtol=1e-14)


@pytest.mark.usefixtures("blocked")
def test_gradients_that_nobody_wants():
    (x, weight, bias), classes = problem()
    weight = rt.tensor(weight, requires_grad=True)
    expected = leaves([x, weight.detach().numpy(), bias])
    blocks(*expected, classes).backward()
    loss = blocks(rt.tensor(x), weight, rt.tensor(bias), classes)
    loss.backward()
    assert_same_bits(weight.grad.numpy(), expected[1].grad.numpy())
    with rt.no_grad():
        assert not blocks(rt.tensor(x), weight, None, classes).requires_grad


@pytest.mark.usefixtures("blocked")
def test_all_rows_ignored(compare, torch):
    arrays, _ = problem(40, 3, 20)
    classes = np.full(40, -100)
    for reduction in REDUCTIONS:
        compare(
            lambda x, w, b, r=reduction: blocks(x, w, b, classes, reduction=r),
            lambda x, w, b, r=reduction: torch.nn.functional.linear_cross_entropy(
                x, w, torch.from_numpy(classes), linear_bias=b, reduction=r
            ),
            *arrays,
        )
    assert np.isnan(blocks(*leaves(arrays), classes).item())


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("function", [blocks, whole])
def test_second_derivatives_of_ignored_rows_are_zero(function):
    (x, weight, bias), _ = problem(3, 2, 4)
    x[0, 1] = np.inf
    given = leaves([x, weight, bias])
    first = rt.grad(function(*given, np.array([-100, 1, 2])), given[0], create_graph=True)[0]
    of_x, _, of_bias = rt.grad(first.square().sum(), given)
    assert_same_bits(of_x[0], np.zeros(2))
    assert_close([first[0]], [np.zeros(2)])
    assert np.isfinite(of_x).all()
    assert np.isfinite(of_bias).all()

    given = leaves([weight, weight, bias])
    first = rt.grad(function(*given, np.full(4, -100)), given, create_graph=True)
    squares = sum(gradient.square().sum() for gradient in first)
    for found, array in zip(rt.grad(squares, given), given, strict=True):
        assert_close(found, np.zeros(array.shape), atol=0)


@pytest.mark.usefixtures("blocked")
def test_a_weight_changed_in_place_before_backward_is_refused():
    arrays, classes = problem()
    x, weight, bias = leaves(arrays)
    loss = blocks(x, weight, bias, classes)
    with rt.no_grad():
        weight += 1
    with pytest.raises(RuntimeError, match=r"'_LinearCrossEntropy', .* was changed in place after forward"):
        loss.backward()


@pytest.mark.usefixtures("blocked")
def test_the_caller_may_overwrite_classes_before_backward():
    arrays, classes = problem()
    expected, given = leaves(arrays), leaves(arrays)
    blocks(*expected, classes, reduction="none").sum().backward()
    overwritten = classes.copy()
    loss = blocks(*given, overwritten, reduction="none").sum()
    overwritten[:] = 0
    loss.backward()
    assert_same_bits([leaf.grad.numpy() for leaf in given], [leaf.grad.numpy() for leaf in expected])


@pytest.mark.skipif(not MULTIPLIES_PAIRS, reason="the processor does not multiply bfloat16")
@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_products_of_the_precision_medium(reduction):
    """Also in the backward pass that computes the logits again, outside the block."""
    arrays, classes = problem(P=64, dtype="float32")
    results = []
    for function, precision in itertools.product((blocks, whole), ("medium", "highest")):
        given = leaves(arrays)
        with rt.float32_matmul_precision(precision):
            loss = function(*given, classes, reduction=reduction).sum()
        loss.backward()
        results.append([loss.detach().numpy(), *(leaf.grad.numpy() for leaf in given)])
    for medium, of_whole, highest in zip(results[0], results[2], results[1], strict=True):
        largest = np.abs(highest).max()
        assert_close(medium, of_whole, atol=4e-3 * largest, rtol=0)
        assert 1e-6 * largest < np.abs(medium - highest).max() < 3e-2 * largest


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input": [[1.0]]}, TypeError, "linear_cross_entropy: input must be a Tensor, got list"),
        (
            {"input": rt.ones(2, 3, 4)},
            ValueError,
            r"input must have shape \(in,\) or \(N, in\), got \(2, 3, 4\); use input.reshape",
        ),
        (
            {"input": rt.ones(3, 5)},
            ValueError,
            r"input of shape \(3, 5\) must have 4 .* linear_weight has shape \(6, 4\)",
        ),
        ({"linear_weight": rt.ones(4)}, ValueError, r"linear_weight must have shape \(out, in\), got \(4,\)"),
        ({"linear_bias": rt.ones(4)}, ValueError, r"linear_bias must have shape \(6,\), got \(4,\)"),
        (
            {"linear_bias": rt.ones(6).double()},
            TypeError,
            "linear_bias is float64 and linear_weight is float32",
        ),
        ({"target": rt.tensor([0, 1])}, ValueError, r"target must have shape \(3,\), got \(2,\)"),
        ({"target": rt.tensor([True] * 3)}, TypeError, "target must be integer classes, got bool"),
        (
            {"target": rt.tensor([0, 1, 6])},
            IndexError,
            "Target 6 is out of bounds: there are 6 classes, 0 to 5",
        ),
        ({"weight": rt.ones(5)}, ValueError, r"weight must have one float32 for each of the 6 classes"),
        (
            {"weight": rt.ones(6).double()},
            TypeError,
            r"weight must have one float32 for each of the 6 classes",
        ),
        ({"reduction": "max"}, ValueError, "max"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be between 0.0 and 1.0. Got: 1.5"),
        ({"ignore_index": 1.5}, TypeError, "ignore_index must be an integer"),
    ],
)
@pytest.mark.parametrize("blocked", [False, True])
def test_refusals(monkeypatch, change, error, message, blocked):
    monkeypatch.setattr(kernels, "is_blocked", lambda *sizes: blocked)
    given = {"input": rt.ones(3, 4), "linear_weight": rt.ones(6, 4), "target": rt.tensor([0, 1, 5])}
    with pytest.raises(error, match=message):
        F.linear_cross_entropy(**given | change)


def test_the_module_refuses_a_wrong_class_weight():
    with pytest.raises(
        ValueError, match=r"LinearCrossEntropyLoss: weight must have one float32 .* shape \(6,\)"
    ):
        nn.LinearCrossEntropyLoss(4, 6, weight=rt.ones(5))
    assert "label_smoothing=0.1" in repr(nn.LinearCrossEntropyLoss(4, 6, label_smoothing=0.1))


def doubled_by_a_hook(layer):
    layer.register_forward_hook(lambda module, given, logits: 2 * logits)


def doubled_by_its_input(layer):
    layer.register_forward_pre_hook(lambda module, given: (2 * given[0],))


def doubled_by_its_forward(layer):
    forward = layer.forward
    layer.forward = lambda input: 2 * forward(input)


@pytest.mark.parametrize("double", [doubled_by_a_hook, doubled_by_its_input, doubled_by_its_forward])
def test_what_calling_the_layer_does_besides_counts(double, blocked):
    rt.manual_seed(0)
    (x, _, _), classes = problem(dtype="float32")
    module, model = nn.LinearCrossEntropyLoss(4, 150), nn.LanguageModel(150, "rnn", 4)
    ids = rt.tensor(np.maximum(classes, 0).reshape(7, 10))
    expected = F.cross_entropy(2 * module.linear(rt.tensor(x)), classes), model(ids)[0]
    double(module.linear)
    double(model.head)
    assert_same_bits(module(rt.tensor(x), classes).detach(), expected[0].detach())
    if double is not doubled_by_its_input:  # which would double the bias less
        theirs = F.cross_entropy(2 * expected[1], ids.T.reshape(-1))
        assert_same_bits(model(ids, targets=ids)[0].detach(), theirs.detach())


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss, nn.LinearCrossEntropyLoss(3, 2)])
def test_the_weights_of_classes_get_no_gradient(loss):
    weight, x = rt.ones(2, requires_grad=True), rt.zeros(2, 2)
    options = {"weight": weight}
    if isinstance(loss, nn.Module):
        loss.weight, x, options = weight, rt.zeros(2, 3), {}
    with pytest.raises(RuntimeError, match=r"weight requires gradients, and .*: pass weight.detach\(\)"):
        loss(x, rt.tensor([0, 1]), **options)
    with rt.no_grad():
        assert loss(x, rt.tensor([0, 1]), **options).item() >= 0
