"""Conversion of all parameters of a model to one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor import Tensor, cat, no_grad

from .._checks import check_tensor
from ._listed import listed


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all elements of the parameters, one after the other, as one vector.

    Parameters
    ----------
    parameters : iterable of Tensor
        For example ``model.parameters()``.

    Returns
    -------
    Tensor
        Shape (sum of their sizes,). Gradients flow through it.

    Raises
    ------
    TypeError
        If `parameters` yields anything but Tensors.
    ValueError
        If it yields nothing.

    Examples
    --------
    >>> from rondeau import nn
    >>> nn.utils.parameters_to_vector(nn.Linear(3, 2).parameters()).shape
    (8,)
    """
    vectors = [parameter.reshape(-1) for parameter in listed("parameters", parameters)]
    if not vectors:
        raise ArgumentValueError(
            "parameters must be at least one Tensor, got none; a generator may have been used up before"
        )
    return cat(vectors)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the elements of `vec` into the parameters, in place: the inverse of `parameters_to_vector`.

    Parameters
    ----------
    vec : Tensor
        Shape (sum of the parameters' sizes,).
    parameters : iterable of Tensor
        The parameters to copy to.

    Raises
    ------
    TypeError
        If `vec` is not a Tensor, or `parameters` yields anything but Tensors.
    ValueError
        If the vector is not as long as all parameters together. In this case nothing has been copied.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.Linear(1, 2)
    >>> nn.utils.vector_to_parameters(rt.tensor([1.0, 2.0, 3.0, 4.0]), layer.parameters())
    >>> layer.weight.tolist(), layer.bias.tolist()
    ([[1.0], [2.0]], [3.0, 4.0])
    """
    check_tensor("vec", vec)
    targets = listed("parameters", parameters)
    size = sum(parameter.numel() for parameter in targets)
    if vec.ndim != 1 or vec.shape[0] != size:
        raise ArgumentValueError(
            f"the parameters hold {size} elements, so the vector must have shape ({size},), "
            f"got {tuple(vec.shape)}"
        )
    start = 0
    with no_grad():
        for parameter in targets:
            stop = start + parameter.numel()
            parameter.copy_(vec[start:stop].reshape(parameter.shape))
            start = stop
