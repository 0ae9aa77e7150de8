"""The derivative of a function along one direction, by differences: what gradients are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drawing import Draw
from .verdict import Finding

Array = NDArray[Any]
Values = dict[str, Array]


def check_gradients(
    draw: Draw,
    function: Callable[[Values], float],
    at: Values,
    gradients: Values,
    dtype: Any,
    what: str = "gradient",
    *,
    step: float = 1e-5,
    tolerance: float = 1e-6,
) -> None:
    """Compare gradients with central differences along one drawn direction.

    Parameters
    ----------
    draw : Draw
        Draws the direction.
    function : callable
        From named float64 arrays to a number.
    at : dict of str to ndarray of float64
        Where.
    gradients : dict of str to ndarray
        For some or all of the names.
    dtype : dtype
        Of the computation that gave the gradients.
    what : str
        What to call them.
    step : float
        Of the differences.
    tolerance : float
        The relative error that is allowed; at least that of `dtype`.

    Raises
    ------
    Finding
        If they disagree by more than the roundings of `dtype` explain, where the function is smooth.
    """
    direction = {name: draw.normal(at[name].shape, np.float64) for name in gradients}
    products = {name: gradients[name].astype(np.float64) * direction[name] for name in gradients}
    found = sum(float(product.sum()) for product in products.values())
    scale = sum(float(np.abs(product).sum()) for product in products.values())

    def moved(step: float, start: Values = at) -> float:
        return function({**start, **{name: start[name] + step * direction[name] for name in direction}})

    def difference(step: float, start: Values = at) -> float:
        return (moved(step, start) - moved(-step, start)) / (2 * step)

    with np.errstate(all="ignore"):
        wanted = difference(step)
        tolerance = max(tolerance, 3e-4 if dtype == np.float32 else 0.0)
        allowed = tolerance * (scale + abs(wanted)) + 1e-7 + 100 * float(np.finfo(dtype).eps)
        if abs(found - wanted) <= allowed:
            return
        # A kink within the step, or a function that differences do not resolve: another step gives another number.
        centre = function(at)
        sides = (moved(step) - centre) / step, (centre - moved(-step)) / step
        others = (difference(step / 10), difference(step * 4))
        unsure = max(abs(sides[0] - sides[1]) / 4, *(abs(other - wanted) for other in others))
        noise = 1e-15 * abs(centre) / step * 100
        if not np.isfinite(wanted) or unsure > 1e-2 * abs(wanted) + noise:
            return
        rounding = float(np.finfo(dtype).eps)
        near = {
            name: value * (1 + rounding * draw.normal(value.shape, np.float64)) for name, value in at.items()
        }
        allowed += 10 * unsure + noise + 300 * abs(difference(step, near) - wanted)
    if not abs(found - wanted) <= allowed:
        text = f"along a drawn direction the {what} gives {found:.9g}, differences give {wanted:.9g}"
        raise Finding("wrong result", f"{text} ({', '.join(gradients)})", what)
