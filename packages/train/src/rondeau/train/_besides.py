"""The parameters that an optimiser holds besides a model's, such as those of a loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from numpy.typing import NDArray

from rondeau import tensor as rt
from rondeau.train.optim import Optimizer


def parameters_besides(parameters: Iterable[rt.Tensor], optimizer: Optimizer) -> dict[str, rt.Tensor]:
    """Return the parameters of an optimiser that are not among a model's, by their number there."""
    ours = {id(parameter) for parameter in parameters}
    held = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    return {str(i): parameter for i, parameter in enumerate(held) if id(parameter) not in ours}


def take_over_besides(besides: Mapping[str, rt.Tensor], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays of a checkpoint to such parameters.

    Raises
    ------
    ValueError
        If they are others.
    """
    wanted, found = (
        {name: (tuple(one.shape), str(one.dtype)) for name, one in of.items()} for of in (besides, arrays)
    )
    if wanted != found:
        raise ValueError(
            f"the parameters that the optimizer holds besides the model's: expected {wanted}, got {found}"
        )
    with rt.no_grad():
        for name, parameter in besides.items():
            parameter.copy_(rt.from_numpy(arrays[name]).to(device=parameter.device))
