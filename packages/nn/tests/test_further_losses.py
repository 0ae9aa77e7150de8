"""Binary cross-entropy, absolute losses and divergence: what the drawn configurations of tests/ do not show."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional as F  # noqa: N812 - the usual name

LOSSES = {
    "probabilities": F.binary_cross_entropy,
    "logits": lambda x, t: F.binary_cross_entropy_with_logits(
        x, t, rt.tensor([0.5], dtype="float64"), pos_weight=rt.tensor([3.0], dtype="float64")
    ),
    "absolute": F.l1_loss,
    "rounded": lambda x, t: F.smooth_l1_loss(x, t, beta=0.4),
    "divergence": lambda x, t: F.kl_div(x, t, "batchmean"),
    "divergence of logarithms": lambda x, t: F.kl_div(x, t, "sum", log_target=True),
}


@pytest.mark.parametrize("name", LOSSES)
def test_first_and_second_derivatives_by_central_differences(name):
    rng = np.random.default_rng(0)
    x, t = (rt.tensor(rng.uniform(0.1, 0.9, (3, 4)), requires_grad=True) for _ in range(2))
    assert rt.gradcheck(LOSSES[name], [x, t])
    assert rt.gradgradcheck(LOSSES[name], [x, t])


def test_a_wrong_certainty_costs_100_and_has_a_finite_gradient(compare, torch):
    p, t = np.array([0.0, 0.0, 1.0, 1.0], "float32"), np.array([0.0, 1.0, 0.0, 1.0], "float32")
    assert F.binary_cross_entropy(rt.tensor(p), rt.tensor(t), reduction="none").tolist() == [0, 100, 100, 0]
    compare(
        lambda p: F.binary_cross_entropy(p, rt.tensor(t)),
        lambda p: torch.nn.functional.binary_cross_entropy(p, torch.tensor(t)),
        p,
    )


def test_logits_neither_overflow_nor_cancel():
    x, t = (
        rt.tensor([-1000.0, 1000.0, -20.0, 20.0], dtype="float64"),
        rt.tensor([1.0, 0.0, 0.0, 1.0], dtype="float64"),
    )
    losses = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    assert_close(losses, [1000.0, 1000.0, np.log1p(np.exp(-20)), np.log1p(np.exp(-20))], rtol=1e-14)


def test_kinks_and_infinities_follow_pytorch(compare, torch):
    x = np.array([-np.inf, -1.0, -0.5, 0.0, 0.5, 1.0, np.inf], "float32")
    for name in ("l1_loss", "smooth_l1_loss"):
        compare(
            lambda x, n=name: getattr(F, n)(x, rt.zeros(7), reduction="none"),
            lambda x, n=name: getattr(torch.nn.functional, n)(x, torch.zeros(7), reduction="none"),
            x,
        )


def test_no_probability_costs_nothing():
    x = rt.tensor([[-1.0, -2.0]], requires_grad=True)
    loss = F.kl_div(x, rt.tensor([[0.0, 1.0]]), "sum")
    loss.backward()
    assert loss.item() == 2.0
    assert x.grad.tolist() == [[0.0, -1.0]]


def test_warnings():
    with pytest.warns(UserWarning, match="'batchmean' divides by the number of samples"):
        F.kl_div(rt.zeros(2, 2), rt.ones(2, 2))
    for loss in (F.l1_loss, F.smooth_l1_loss, lambda x, t: F.kl_div(x, t, "sum")):
        with pytest.warns(UserWarning, match=r"the target has shape \(2,\) and the input \(3, 2\)"):
            loss(rt.zeros(3, 2), rt.ones(2))


def test_empty_inputs_follow_pytorch(torch):
    for name in ("l1_loss", "smooth_l1_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"):
        for reduction in ("none", "mean", "sum"):
            ours = getattr(F, name)(rt.zeros(0, 3), rt.zeros(0, 3), reduction=reduction)
            theirs = getattr(torch.nn.functional, name)(
                torch.zeros(0, 3), torch.zeros(0, 3), reduction=reduction
            )
            assert_same_bits(ours, theirs)


def test_weights_are_buffers():
    loss = nn.BCEWithLogitsLoss(rt.ones(2), pos_weight=rt.ones(2))
    assert list(loss.state_dict()) == ["weight", "pos_weight"]
    assert list(nn.BCELoss(rt.ones(2)).state_dict()) == ["weight"]


def ones(size=1):
    return rt.ones(size)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.binary_cross_entropy(rt.tensor([1.5]), ones()),
            ValueError,
            "all elements of input must be between 0 and 1, got 1.5 to 1.5",
        ),
        (lambda: F.binary_cross_entropy(rt.tensor([float("nan")]), ones()), ValueError, "between 0 and 1"),
        (lambda: F.binary_cross_entropy(ones(), rt.tensor([-1.0])), ValueError, "all elements of target"),
        (
            lambda: F.binary_cross_entropy(ones(), ones(2)),
            ValueError,
            r"must have the shape of the input, \(1,\), got \(2,\)",
        ),
        (
            lambda: F.binary_cross_entropy(ones(), ones(), ones(2)),
            ValueError,
            r"weight of shape \(2,\) must broadcast",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(ones(2), ones(2), pos_weight=rt.ones(3)),
            ValueError,
            r"pos_weight of shape \(3,\)",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(ones(), ones().long()),
            TypeError,
            "input is float32 and target is int64",
        ),
        (
            lambda: F.l1_loss(ones(), ones(), reduction="average"),
            ValueError,
            "average is not a valid value for reduction",
        ),
        (lambda: F.l1_loss(ones().long(), ones()), TypeError, "input must be float32 or float64, got int64"),
        (lambda: F.l1_loss(ones(), [1.0]), TypeError, "target must be a Tensor, got list"),
        (lambda: F.l1_loss(ones(), None), TypeError, "target must be a Tensor, got NoneType"),
        (lambda: F.binary_cross_entropy(ones(), None), TypeError, "target must be a Tensor, got NoneType"),
        (lambda: F.smooth_l1_loss(ones(), ones(), beta=-1), ValueError, "beta must be at least 0, got -1"),
        (lambda: nn.SmoothL1Loss(beta="1"), TypeError, "beta must be a number"),
        (lambda: nn.KLDivLoss("average"), ValueError, "'batchmean'"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call().item()  # on a GPU, an error when something is read


@pytest.mark.parametrize("beta", [1e-50, 1e-40, 1e-30, 1e30])
def test_extreme_betas_follow_pytorch(beta, torch):
    d = np.array([-2.0, -1e-3, 0.0, 1e-35, 5.0, 1e25], np.float32)
    x, theirs = rt.tensor(d, requires_grad=True), torch.tensor(d, requires_grad=True)
    found = F.smooth_l1_loss(x, rt.zeros(6), "sum", beta)
    wanted = torch.nn.functional.smooth_l1_loss(
        theirs.double(), torch.zeros(6).double(), reduction="sum", beta=beta
    )
    found.backward()
    wanted.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert_close(x.grad, theirs.grad, rtol=1e-5, atol=1e-37)


def test_a_beta_that_is_no_number():
    with pytest.raises(ValueError, match="beta must be at least 0, got nan"):
        nn.SmoothL1Loss(beta=float("nan"))


def test_the_gradient_of_a_target_of_zero_is_the_limit():
    """Of t log t it is log t + 1, which goes to -inf; a finite number there would be taken for right."""
    x, t = rt.tensor([-1.0, -1.0], requires_grad=True), rt.tensor([0.0, 1.0], requires_grad=True)
    loss = F.kl_div(x, t, "sum")
    loss.backward()
    assert loss.item() == 1.0
    assert t.grad.tolist() == [-np.inf, 2.0]
    assert x.grad.tolist() == [0.0, -1.0]
