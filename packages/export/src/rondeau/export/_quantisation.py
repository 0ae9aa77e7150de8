"""Models whose weights have the values that they have in int8, as in `layer.stepper(weights="int8")`."""

from __future__ import annotations

import copy
import itertools
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.export._description import Affine, Block, Description, Layer, Lookup
from rondeau.kernels.numerics.rounding import quantise_rows
from rondeau.nn.freezing import frozen_array
from rondeau.nn.utils import parametrize

__all__ = ["rounded_to_int8", "with_rounded_weights"]


def with_rounded_weights(description: Description) -> Description:
    """Return a model whose matrices have the values that they have in int8."""
    return description._replace(blocks=tuple(_rounded_block(block) for block in description.blocks))


def _rounded_block(block: Block) -> Any:
    if isinstance(block, Lookup):
        return block._replace(table=_rounded(block.table.T).T)
    if isinstance(block, Affine):
        return block._replace(weight=_rounded(block.weight))
    if not isinstance(block, Layer):
        return block
    weights = block.weights
    matrices = {name: getattr(weights, name) for name in ("weight_ih", "weight_hh", "weight_hr")}
    rounded: dict[str, Any] = {
        name: _rounded(matrix) for name, matrix in matrices.items() if matrix is not None
    }
    reverse = None if block.reverse is None else _rounded_block(block.reverse)
    return block._replace(weights=weights._replace(**rounded), reverse=reverse)


def _rounded(matrix: NDArray[Any]) -> NDArray[Any]:
    numbers, scales = quantise_rows(matrix)
    return numbers.astype(np.float32) * scales[:, None]


def rounded_to_int8(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose matrices have the values that they have when it is exported in int8.

    It has every other number as it is, and may be evaluated where the model is, to know what int8 costs.

    Parameters
    ----------
    model : Module

    Returns
    -------
    Module
        In evaluation mode; parametrised weights are parameters of their own, and tied ones are no longer tied, for
        each is rounded by its own rows.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau import export, nn
    >>> layer = nn.Linear(8, 2)
    >>> rounded = export.rounded_to_int8(layer)
    >>> distance = np.abs(rounded.weight.detach().numpy() - layer.weight.detach().numpy())
    >>> bool((distance <= np.abs(layer.weight.detach().numpy()).max(1, keepdims=True) / 253).all())
    True
    """
    rounded = copy.deepcopy(model).eval()
    for module in list(rounded.modules()):
        if isinstance(module, nn.Embedding):
            _replace(module, "weight", by_columns=True)
        elif isinstance(module, nn.Linear):
            _replace(module, "weight")
        elif isinstance(module, nn.Recurrent):
            for number, suffix in itertools.product(range(module.num_layers), ("", "_reverse")):
                names = [f"weight_{part}_l{number}{suffix}" for part in ("ih", "hh", "hr")]
                for name in filter(partial(hasattr, module), names):
                    _replace(module, name)
    return rounded


def _replace(module: nn.Module, name: str, by_columns: bool = False) -> None:
    """Put the rounded matrix of a module in the place of what it was, or was computed from."""
    found = frozen_array(module, name)
    assert found is not None
    matrix = found.astype(np.float32)
    matrix = _rounded(matrix.T).T if by_columns else _rounded(matrix)
    if parametrize.is_parametrized(module, name):
        parametrize.remove_parametrizations(module, name)
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(rt.tensor(matrix.astype(old.dtype), device=old.device)))
