import itertools

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional as F  # noqa: N812 - the usual name

SHAPES = [(5,), (1, 1), (4, 3), (65, 17), (130, 65), (0, 4), (3, 4, 5), (2, 3, 4, 2), (2, 3, 0)]
REDUCTIONS = ["mean", "sum", "none"]


def classes_for(shape, rng, ignore_index=None):
    rows = shape[:1] + shape[2:] if len(shape) > 1 else ()
    drawn = np.asarray(rng.integers(0, shape[0] if len(shape) == 1 else shape[1], rows))
    if ignore_index is not None and drawn.size > 1:
        drawn[rng.random(rows) < 0.3] = ignore_index
    return drawn


def number_of_classes(shape):
    return shape[0] if len(shape) == 1 else shape[1]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_of_classes_agrees_with_torch(compare, torch, dtype, shape, reduction):
    rng = np.random.default_rng(len(shape))
    logits = (rng.standard_normal(shape) * 3).astype(dtype)
    weight = rng.random(number_of_classes(shape)).astype(dtype) + np.dtype(dtype).type(0.5)
    for weighted, smoothing, ignore in itertools.product([False, True], [0.0, 0.1, 1.0], [-100, 1]):
        if ignore >= number_of_classes(shape) or (ignore == 1 and shape == (5,)):
            continue
        target = classes_for(shape, rng, ignore)
        options = {"ignore_index": ignore, "reduction": reduction, "label_smoothing": smoothing}
        compare(
            lambda z, t=target, w=weighted, o=options: F.cross_entropy(
                z, rt.as_tensor(t), rt.as_tensor(weight) if w else None, **o
            ),
            lambda z, t=target, w=weighted, o=options: torch.nn.functional.cross_entropy(
                z, torch.from_numpy(t), torch.from_numpy(weight) if w else None, **o
            ),
            logits,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5,), (4, 3), (65, 17), (3, 4, 5), (2, 3, 4, 2)])
def test_cross_entropy_of_probabilities_agrees_with_torch(compare, torch, dtype, shape, reduction):
    rng = np.random.default_rng(len(shape))
    logits = rng.standard_normal(shape).astype(dtype)
    target = rng.random(shape)
    target = (target / target.sum(0 if len(shape) == 1 else 1, keepdims=True)).astype(dtype)
    weight = rng.random(number_of_classes(shape)).astype(dtype)
    for weighted, smoothing in itertools.product([False, True], [0.0, 0.2]):
        options = {"reduction": reduction, "label_smoothing": smoothing}
        compare(
            lambda z, q, w=weighted, o=options: F.cross_entropy(
                z, q, rt.as_tensor(weight) if w else None, **o
            ),
            lambda z, q, w=weighted, o=options: torch.nn.functional.cross_entropy(
                z, q, torch.from_numpy(weight) if w else None, **o
            ),
            logits,
            target,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [s for s in SHAPES if 0 not in s])
def test_nll_agrees_with_torch(compare, torch, dtype, shape, reduction):
    rng = np.random.default_rng(len(shape))
    x = -rng.random(shape).astype(dtype)
    weight = rng.random(number_of_classes(shape)).astype(dtype) + np.dtype(dtype).type(0.5)
    for weighted, ignore in itertools.product([False, True], [-100, 0]):
        target = classes_for(shape, rng, ignore)
        if (target == ignore).all():
            continue
        options = {"ignore_index": ignore, "reduction": reduction}
        compare(
            lambda z, t=target, w=weighted, o=options: F.nll_loss(
                z, rt.as_tensor(t), rt.as_tensor(weight) if w else None, **o
            ),
            lambda z, t=target, w=weighted, o=options: torch.nn.functional.nll_loss(
                z, torch.from_numpy(t), torch.from_numpy(weight) if w else None, **o
            ),
            x,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (2, 3, 4)])
def test_mse_agrees_with_torch(compare, torch, dtype, shape, reduction):
    rng = np.random.default_rng(0)
    x, y = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
    compare(nn.MSELoss(reduction), torch.nn.MSELoss(reduction=reduction), x, y)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_derivatives_of_cross_entropy_by_central_differences(reduction, smoothing):
    rng = np.random.default_rng(2)
    z = rt.tensor(rng.standard_normal((4, 3)), requires_grad=True)
    weight, target = rt.as_tensor(rng.random(3) + 0.5), rt.tensor([2, -100, 0, 2])

    def loss(z):
        return F.cross_entropy(z, target, weight, reduction=reduction, label_smoothing=smoothing)

    assert rt.gradcheck(loss, [z])
    assert rt.gradgradcheck(loss, [z])


def test_derivatives_of_the_other_losses_by_central_differences():
    rng = np.random.default_rng(3)
    z, q = (rt.tensor(rng.random((3, 4)) + 0.1, requires_grad=True) for _ in range(2))
    target = rt.tensor([1, 3, 0])
    for loss, inputs in (
        (lambda z, q: F.cross_entropy(z, q, label_smoothing=0.1), [z, q]),
        (lambda z: F.nll_loss(z.log_softmax(1), target), [z]),
        (F.mse_loss, [z, q]),
    ):
        assert rt.gradcheck(loss, inputs)
        assert rt.gradgradcheck(loss, inputs)


def test_closed_forms():
    # -sum p log q and -sum p log p, in nats.
    q = rt.tensor([[0.5, 0.3, 0.2]], dtype="float64").log()
    p = rt.tensor([[0.6, 0.2, 0.2]], dtype="float64")
    assert F.cross_entropy(q, p).item() == pytest.approx(0.978570, abs=1e-6)
    assert F.cross_entropy(p.log(), p).item() == pytest.approx(0.950271, abs=1e-6)
    assert F.cross_entropy(rt.zeros(7, 32), rt.zeros(7).long()).item() == pytest.approx(np.log(32), abs=1e-6)
    # A one-hot target is a class.
    logits = rt.as_tensor(np.random.default_rng(0).standard_normal((5, 4)))
    classes = rt.tensor([3, 1, 0, 0, 2])
    by_class, by_row = (
        F.cross_entropy(logits, classes),
        F.cross_entropy(logits, F.one_hot(classes, 4).double()),
    )
    assert by_class.item() == pytest.approx(by_row.item(), abs=1e-14)


def test_huge_logits_neither_overflow_nor_lose_the_loss():
    logits = rt.tensor([[1e4, -1e4, 0.0], [-3e38, 3e38, 0.0]], requires_grad=True)
    losses = F.cross_entropy(logits, rt.tensor([1, 1]), reduction="none")
    assert losses.tolist() == [2e4, 0.0]
    losses.sum().backward()
    assert logits.grad.tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


def test_nan_and_infinity_behave_as_in_torch(compare, torch):
    rows = np.array([[0.0, np.nan, 1.0], [-np.inf, 0.0, 1.0], [np.inf, 0.0, 1.0]], np.float32)
    for row in rows:
        for target in range(3):
            compare(
                lambda z, t=target: F.cross_entropy(z, rt.tensor([t])),
                lambda z, t=target: torch.nn.functional.cross_entropy(z, torch.tensor([t])),
                row[None],
            )


def test_every_row_ignored():
    logits = rt.ones(2, 3, requires_grad=True)
    target = rt.tensor([-100, -100])
    assert np.isnan(F.cross_entropy(logits, target).item())
    assert np.isnan(F.nll_loss(logits, target).item())
    total = F.cross_entropy(logits, target, reduction="sum")
    total.backward()
    assert total.item() == 0.0
    assert logits.grad.tolist() == [[0.0] * 3] * 2


def test_an_ignored_row_may_hold_infinity():
    x = rt.tensor([[-np.inf, 0.0], [-1.0, -2.0]])
    assert F.nll_loss(x, rt.tensor([0, 1]), ignore_index=0, reduction="sum").item() == 2.0


def test_backward_twice_gives_the_same_bits():
    logits = rt.tensor(np.random.default_rng(0).standard_normal((9, 5)).astype("float32"), requires_grad=True)
    loss = F.cross_entropy(logits, rt.zeros(9).long())
    (first,) = rt.grad(loss, logits, retain_graph=True)
    before = first.numpy().copy()
    (second,) = rt.grad(loss, logits)
    assert_same_bits(first, before)
    assert_same_bits(second, before)


@pytest.mark.host_only("targets are arrays of NumPy's")
def test_numpy_targets_are_taken_as_they_come():
    logits = rt.zeros(2, 4)
    assert (
        F.cross_entropy(logits, np.array([1, 2])).item() == F.cross_entropy(logits, rt.tensor([1, 2])).item()
    )
    assert F.cross_entropy(logits, np.array([1, 2], np.int32)).item() == pytest.approx(np.log(4))


def test_modules_keep_their_configuration(torch):
    weight = rt.tensor([1.0, 2.0, 0.5])
    logits, target = rt.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]]), rt.tensor([2, 1])
    module = nn.CrossEntropyLoss(weight, ignore_index=1, reduction="sum", label_smoothing=0.1)
    theirs = torch.nn.CrossEntropyLoss(
        torch.tensor(weight.tolist()), ignore_index=1, reduction="sum", label_smoothing=0.1
    )
    expected = theirs(torch.tensor(logits.tolist()), torch.tensor(target.tolist())).item()
    assert module(logits, target).item() == pytest.approx(expected, rel=1e-6)
    assert list(module.state_dict()) == ["weight"]
    assert nn.NLLLoss(weight, ignore_index=1, reduction="sum")(logits, target).item() == pytest.approx(-0.15)


@pytest.mark.parametrize(
    ("shape", "target", "error", "message"),
    [
        ((2, 3), np.array([0, 3]), IndexError, "Target 3 is out of bounds: there are 3 classes, 0 to 2"),
        ((2, 3), np.array([0, -1]), IndexError, "Target -1 is out of bounds"),
        ((2, 3), np.array([0]), ValueError, r"input of shape \(2, 3\) the target must have shape \(2,\), got \(1,\)"),
        ((2, 3, 4), np.zeros((2, 3), int), ValueError, r"the target must have shape \(2, 4\)"),
        ((3,), np.array([0]), ValueError, r"the target must have shape \(\)"),
        ((), np.array(0), ValueError, r"input must have shape \(C,\), \(N, C\) or \(N, C, d1, ...\)"),
        ((2, 0), np.array([0, 0]), ValueError, "with C at least 1"),
        ((2, 3), np.array([True, False]), TypeError, r"integer classes, got bool; use target.long\(\)"),
        ((2, 3), np.ones(2, np.float32), ValueError, r"must have the shape and dtype of the input, \(2, 3\) float32"),
    ],
)  # fmt: skip
def test_wrong_targets(shape, target, error, message):
    with pytest.raises(error, match=message):
        F.cross_entropy(
            rt.ones(*shape), rt.as_tensor(target)
        ).item()  # on a GPU, an error when something is read


def test_wrong_options():
    logits, target = rt.zeros(2, 3), rt.tensor([0, 1])
    with pytest.raises(ValueError, match="average is not a valid value for reduction"):
        F.cross_entropy(logits, target, reduction="average")
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        nn.MSELoss("average")
    with pytest.raises(ValueError, match=r"label_smoothing must be between 0.0 and 1.0. Got: 1.5"):
        F.cross_entropy(logits, target, label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"each of the 3 classes, shape \(3,\), got float32 of shape \(2,\)"):
        F.cross_entropy(logits, target, rt.ones(2))
    with pytest.raises(TypeError, match=r"one float32 for each of the 3 classes, .* got float64 of shape"):
        F.cross_entropy(logits, target, rt.ones(3, dtype="float64"))
    with pytest.raises(TypeError, match=r"input must be float32 or float64, got int64; use input.float\(\)"):
        F.cross_entropy(rt.zeros(2, 3).long(), target)
    with pytest.raises(TypeError, match="input must be float32 or float64, got float16"):
        F.cross_entropy(rt.zeros(2, 3, dtype="float16"), target)


def test_mse_warns_when_it_broadcasts():
    with pytest.warns(UserWarning, match=r"the target has shape \(3,\) and the input \(3, 1\)"):
        F.mse_loss(rt.zeros(3, 1), rt.zeros(3))


@pytest.mark.host_only("classes are an array of NumPy's")
def test_backward_of_cross_entropy_uses_the_classes_that_forward_was_given():
    logits = rt.tensor(np.zeros((500, 4)), requires_grad=True)
    classes = np.zeros(500, np.int64)
    loss = F.cross_entropy(logits, classes, reduction="sum")
    classes[:] = 10**12
    loss.backward()
    assert_same_bits(logits.grad, np.broadcast_to([-0.75, 0.25, 0.25, 0.25], (500, 4)))


def test_rows_without_one_that_counts_differentiate_as_in_torch(torch):
    """The mean of no rows is NaN and its gradient 0, recorded or not, whatever infinities the rows hold."""
    for rows in ([[0.0, 1.0, 2.0]], [[np.inf, -np.inf, np.nan]]):
        for create_graph in (False, True):
            x = rt.tensor(rows, requires_grad=True)
            loss = F.cross_entropy(x, rt.tensor([1]), ignore_index=1)
            (gradient,) = rt.grad(loss, x, create_graph=create_graph)
            assert np.isnan(loss.item())
            assert gradient.tolist() == [[0.0, 0.0, 0.0]]
    x = torch.tensor([[0.0, 1.0, 2.0]], requires_grad=True)
    torch.nn.functional.cross_entropy(x, torch.tensor([1]), ignore_index=1).backward()
    assert x.grad.tolist() == [[0.0, 0.0, 0.0]]
