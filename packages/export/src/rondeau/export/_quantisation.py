"""Models whose weights have the values that they have in int8, as in `layer.stepper(weights="int8")`."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
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
    # All are computed before the first is replaced: modules that share a parameter may compute others from it.
    found = [(module, name, _rounded_matrix(module, name)) for module, name in _matrices_of(rounded)]
    for module, name, matrix in found:
        _replace(module, name, matrix)
    return rounded


def _matrices_of(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield the modules of a model and the names of their matrices."""
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.Linear):
            yield module, "weight"
        elif isinstance(module, nn.Recurrent):
            for number, suffix in itertools.product(range(module.num_layers), ("", "_reverse")):
                names = [f"weight_{part}_l{number}{suffix}" for part in ("ih", "hh", "hr")]
                yield from ((module, name) for name in names if hasattr(module, name))


def _rounded_matrix(module: nn.Module, name: str) -> NDArray[Any]:
    """Return a matrix as it is in int8; a table of vectors has a scale for each column."""
    found = frozen_array(module, name)
    assert found is not None
    matrix = found.astype(np.float32)
    return _rounded(matrix.T).T if isinstance(module, nn.Embedding) else _rounded(matrix)


def _replace(module: nn.Module, name: str, matrix: NDArray[Any]) -> None:
    """Put the rounded matrix of a module in the place of what it was, or was computed from."""
    if parametrize.is_parametrized(module, name):
        has_one_original = module.parametrizations[name].is_tensor
        parametrize.remove_parametrizations(module, name, leave_parametrized=not has_one_original)
    old = getattr(module, name)
    setattr(module, name, nn.Parameter(rt.tensor(matrix.astype(old.dtype), device=old.device)))
