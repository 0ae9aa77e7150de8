"""One comparison with PyTorch for everything: shape, dtype, values, and every gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from comparing import assert_close
from rondeau import tensor as rt

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def close(ours: Any, theirs: Any, what: str) -> None:
    """Compare with the array of the oracle, relative to its largest element, or to 1 where all are 0."""
    assert ours.dtype == theirs.dtype, what
    least = 0.0 if np.any(theirs) else 1.0
    assert_close(ours, theirs, of_largest=TOLERANCE[str(theirs.dtype)], least=least, what=what)


def compare(
    ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray[Any, Any], seed: int = 0
) -> None:
    """Run both on `arrays` and compare the results, and the gradients of a random weighting of them."""
    torch = pytest.importorskip("torch")
    mine = [rt.tensor(array.copy(), requires_grad=True) for array in arrays]
    reference = [torch.from_numpy(array.copy()).requires_grad_() for array in arrays]
    result, expected = ours(*mine), theirs(*reference)
    close(result.detach().numpy(), expected.detach().numpy(), "result")
    cotangent = np.random.default_rng(1000 + seed).standard_normal(result.shape).astype(result.dtype)
    result.backward(rt.as_tensor(cotangent))
    expected.backward(torch.from_numpy(cotangent))
    for at, (own, other) in enumerate(zip(mine, reference, strict=True)):
        assert (own.grad is None) == (other.grad is None), f"gradient {at}"
        if own.grad is not None:
            close(own.grad.numpy(), other.grad.numpy(), f"gradient {at}")


def compare_modules(ours: Any, theirs: Any, *arrays: np.ndarray[Any, Any], seed: int = 0) -> None:
    """Load PyTorch's parameters into ours and compare results, gradients of inputs and of parameters."""
    ours.load_state_dict(theirs.state_dict())
    compare(ours, theirs, *arrays, seed=seed)
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        close(gradients[name].numpy(), parameter.grad.numpy(), f"gradient of {name}")


@pytest.fixture(name="compare")
def _compare() -> Callable[..., None]:
    return compare


@pytest.fixture(name="compare_modules")
def _compare_modules() -> Callable[..., None]:
    return compare_modules


@pytest.fixture(name="close")
def _close() -> Callable[..., None]:
    return close


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Every float dtype in turn."""
    return str(request.param)


@pytest.fixture
def torch() -> Any:
    """PyTorch, or a skip."""
    return pytest.importorskip("torch")
