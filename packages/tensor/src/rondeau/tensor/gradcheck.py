"""Checks of derivatives against central differences, element by element, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor._backward import grad
from rondeau.tensor._random import default_generator
from rondeau.tensor._tensor import Tensor

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


def __dir__() -> list[str]:
    return __all__


class GradcheckError(AssertionError):
    """A derivative does not agree with central differences.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.ones(1, dtype="float64", requires_grad=True)
    >>> rt.gradcheck(lambda x: x * x.detach(), x)  # half of the derivative is missing
    Traceback (most recent call last):
        ...
    rondeau.tensor.gradcheck.GradcheckError: ...
    """


def _outputs(function: Callable[..., Any], inputs: Sequence[Any]) -> list[Tensor]:
    """Return the differentiable outputs of a function."""
    result = function(*inputs)
    found = result if isinstance(result, (tuple, list)) else (result,)
    return [o for o in found if isinstance(o, Tensor) and o.dtype.kind == "f"]


def _with_the_same_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which draws the same random numbers from the default generator at every call."""
    generator = default_generator()
    state = generator.get_state()

    def repeated(*arguments: Any) -> Any:
        generator.set_state(state)
        return function(*arguments)

    return repeated


def _checked(inputs: Any) -> tuple[tuple[Any, ...], list[Tensor]]:
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ArgumentValueError("gradcheck needs at least one input with requires_grad=True")
    for i, x in enumerate(inputs):
        if isinstance(x, Tensor) and x.requires_grad:
            if x.dtype != np.float64:
                raise ArgumentValueError(f"gradcheck needs float64, input {i} is {x.dtype}: use .double()")
            if not x.is_leaf:
                raise ArgumentValueError(
                    f"gradcheck needs leaves, input {i} was computed: use .detach().requires_grad_()"
                )
    return inputs, wanted


def gradcheck(
    function: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare every element of the Jacobian from backward with central differences.

    These are (f(x + eps) - f(x - eps)) / (2 eps), for every element of every input that requires gradients.

    Parameters
    ----------
    function : callable
        A function of the inputs that returns a Tensor or a tuple. It must return the same result every time; to this
        end the default generator is restored before each call.
    inputs : Tensor or sequence
        Those with ``requires_grad`` are varied; they must be float64 leaves.
    eps : float
        The step.
    atol, rtol : float
        The tolerances; the defaults are PyTorch's.
    raise_exception : bool
        If False, return False instead of raising GradcheckError.

    Returns
    -------
    bool

    Raises
    ------
    GradcheckError
        If an element does not agree; the message names the first.
    ValueError
        If no input requires gradients, or one is not a float64 leaf.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.rand(3, dtype="float64", requires_grad=True)
    >>> rt.gradcheck(lambda x: x.exp() * x, x)
    True
    """
    inputs, wanted = _checked(inputs)
    function = _with_the_same_numbers(function)
    outputs = _outputs(function, inputs)
    analytic = [[np.zeros((o.numel(), x.numel())) for x in wanted] for o in outputs]
    for o, output in enumerate(outputs):
        if not output.requires_grad:
            continue
        for row in range(output.numel()):
            cotangent = np.zeros(output.shape, output.dtype)
            cotangent.reshape(-1)[row] = 1
            gradients = grad(
                output, wanted, Tensor(cotangent, device=output.device), retain_graph=True, allow_unused=True
            )
            for x, g in enumerate(gradients):
                if g is not None:
                    if g.shape != wanted[x].shape or g.dtype != wanted[x].dtype:
                        return _fail(
                            f"the gradient of input {x} has shape {g.shape} and {g.dtype}, the input "
                            f"{wanted[x].shape} and {wanted[x].dtype}",
                            raise_exception,
                        )
                    analytic[o][x][row] = on_host(g._array).reshape(-1)
    numeric = _differences(function, inputs, wanted, outputs, eps)
    for o in range(len(outputs)):
        for x in range(len(wanted)):
            a, n = analytic[o][x], numeric[o][x]
            wrong = ~np.isclose(a, n, rtol=rtol, atol=atol, equal_nan=True)
            if wrong.any():
                row, column = np.argwhere(wrong)[0]
                return _fail(
                    f"output {o}, input {x}: {int(wrong.sum())} of {wrong.size} derivatives are wrong; the first is "
                    f"d output{list(_place(row, outputs[o]))} / d input{list(_place(column, wanted[x]))}: "
                    f"backward gives {a[row, column]:.9g}, central differences {n[row, column]:.9g}",
                    raise_exception,
                )
    return True


def _place(flat: int, tensor: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, tensor.shape)) if tensor.ndim else ()


def _fail(message: str, raise_exception: bool) -> bool:
    if raise_exception:
        raise GradcheckError(message)
    return False


def _differences(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    wanted: Sequence[Tensor],
    outputs: Sequence[Tensor],
    eps: float,
) -> list[list[np.ndarray[Any, Any]]]:
    """Return the Jacobians of all outputs with respect to the wanted inputs, by central differences."""
    jacobians = [[np.zeros((o.numel(), x.numel())) for x in wanted] for o in outputs]

    def evaluate() -> list[np.ndarray[Any, Any]]:
        # Not under no_grad: the function may itself call backward.
        return [np.array(on_host(o._array), dtype=np.float64).reshape(-1) for o in _outputs(function, inputs)]

    for x, tensor in enumerate(wanted):
        for column in range(tensor.numel()):
            place = _place(column, tensor)
            value = tensor._array[place].copy()  # on a device it is a view
            results = []
            for step in (eps, -eps):
                # Through the array, which counts no change: the value is restored, so earlier graphs stay valid.
                tensor._array[place] = value + step
                results.append(evaluate())
            tensor._array[place] = value
            for o, (up, down) in enumerate(zip(*results, strict=True)):
                jacobians[o][x][:, column] = (up - down) / (2 * eps)
    return jacobians


def gradgradcheck(
    function: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare second derivatives with central differences of the first derivatives.

    The function under test maps the inputs, and one cotangent per output drawn from a fixed seed, to the gradients.

    Parameters
    ----------
    function, inputs, eps, atol, rtol, raise_exception
        As for `gradcheck`.

    Returns
    -------
    bool

    Raises
    ------
    GradcheckError, ValueError
        As for `gradcheck`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.rand(3, dtype="float64", requires_grad=True)
    >>> rt.gradgradcheck(lambda x: x.exp() * x, x)
    True
    """
    inputs, _ = _checked(inputs)
    random = np.random.default_rng(0)
    cotangents = [
        Tensor(random.standard_normal(o.shape), requires_grad=True, device=o.device)
        for o in _outputs(function, inputs)
        if o.requires_grad
    ]
    if not cotangents:
        raise ArgumentValueError("gradgradcheck: no output of the function requires a gradient")
    split = len(inputs)
    positions = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]

    def first_derivative(*arguments: Any) -> tuple[Tensor, ...]:
        outputs = [o for o in _outputs(function, arguments[:split]) if o.requires_grad]
        varied = [arguments[i] for i in positions]
        found = grad(outputs, varied, list(arguments[split:]), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        first_derivative,
        (*inputs, *cotangents),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
    )
