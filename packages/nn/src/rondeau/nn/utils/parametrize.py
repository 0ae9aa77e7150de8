"""Parametrised weights: a parameter of a module as a function of other parameters, which are trained in its place.

The names, arguments and ``state_dict`` keys are those of ``torch.nn.utils.parametrize``. What differs: a module keeps
its class, so that it can be pickled; assigning a value copies it; and what `cached` keeps belongs to a thread of Python
and follows its originals.
"""

from __future__ import annotations

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor import Tensor, no_grad

from .._checks import check_flags, kind_of
from .._computed import PARAMETRIZATIONS, computed_attribute, computed_names
from .._containers import ModuleDict
from .._module import Module
from .._parameter import Parameter
from ._parametrization_cache import cached, forget
from ._parametrization_list import ParametrizationList, check_alike, overwrite, register

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
]


def __dir__() -> list[str]:
    return __all__


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a weight of a module from the weight it has now, which becomes the original that is trained.

    From now on ``module.weight`` is ``parametrization(original)``, computed when it is read, with its gradient. The
    original is a parameter ``parametrizations.weight.original``. Several parametrisations of one weight are applied
    one after the other.

    Parameters
    ----------
    module : Module
        Any module: a recurrent layer, `Linear`, `Embedding`, a convolution, your own.
    tensor_name : str
        The name of a parameter or buffer, such as ``"weight"`` or ``"weight_hh_l0_reverse"``.
    parametrization : Module
        A module whose forward takes the original and returns the weight. A method ``right_inverse``, if it has one,
        takes a weight and returns the original from which forward makes it, or a tuple of originals, which forward then
        takes. With it, a weight that fulfils the constraint keeps its present value, and the weight can be assigned.
        Without it, the original takes the weight's present value.
    unsafe : bool
        Do not check that the weight keeps its shape and dtype.

    Returns
    -------
    Module
        `module`.

    Raises
    ------
    ValueError
        If there is no such parameter or buffer, or the parametrisation changes its shape or dtype.
    TypeError
        If an argument has the wrong type.

    Notes
    -----
    Where several originals replace a parameter, an optimiser that was made before does not hold them.

    Examples
    --------
    A recurrent matrix without connections of units to themselves:

    >>> from rondeau import nn, tensor as rt
    >>> from rondeau.nn.utils import parametrize
    >>> class NoAutapses(nn.Module):
    ...     def forward(self, weight):
    ...         return weight * (1 - rt.eye(*weight.shape))
    >>> layer = nn.RNN(3, 2)
    >>> _ = parametrize.register_parametrization(layer, "weight_hh_l0", NoAutapses())
    >>> (layer.weight_hh_l0 * rt.eye(2) == 0).all().item()
    True
    >>> [name for name, _ in layer.named_parameters() if "hh" in name]
    ['bias_hh_l0', 'parametrizations.weight_hh_l0.original']
    """
    _check_module(module, tensor_name)
    if not isinstance(parametrization, Module):
        raise ArgumentTypeError(f"parametrization must be an nn.Module, got {kind_of(parametrization)}")
    check_flags(unsafe=unsafe)
    parametrization.train(module.training)
    registered = computed_attribute(module.__dict__, tensor_name)
    if isinstance(registered, ParametrizationList):
        if not unsafe:
            _check_chained(parametrization, registered())
        registered.append(parametrization)
        registered.unsafe |= unsafe
        forget(registered)
        return module
    is_buffer = tensor_name in module._buffers
    original = (module._buffers if is_buffer else module._parameters).get(tensor_name)
    if original is None:
        raise ArgumentValueError(
            f"{type(module).__name__} has no parameter, buffer or parametrised tensor named {tensor_name!r}"
            + (": it is None" if tensor_name in module._parameters or is_buffer else "")
        )
    group = module._modules.get(PARAMETRIZATIONS)
    if group is None:
        group = ModuleDict()
        module.add_module(PARAMETRIZATIONS, group)
    assert isinstance(group, ModuleDict)
    try:
        computed = ParametrizationList([parametrization], original, unsafe)
        group[tensor_name] = computed
    finally:
        if not len(group):
            del module._modules[PARAMETRIZATIONS]
    if tensor_name in module._transient:
        computed._transient.update(computed._buffers)
    module._forget(tensor_name)
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Return whether a module has parametrised weights, or whether the one of this name is parametrised.

    Examples
    --------
    >>> from rondeau import nn
    >>> from rondeau.nn.utils import parametrizations, parametrize
    >>> layer = parametrizations.weight_norm(nn.Linear(3, 2))
    >>> parametrize.is_parametrized(layer), parametrize.is_parametrized(layer, "bias")
    (True, False)
    """
    _check_module(module, "" if tensor_name is None else tensor_name)
    found = computed_names(module)
    return bool(found) if tensor_name is None else tensor_name in found


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a weight a parameter of its own again.

    Parameters
    ----------
    module : Module
    tensor_name : str
        The name of the parametrised weight.
    leave_parametrized : bool
        True keeps the weight's present value. False gives it that of the original, which is possible if there is only
        one.

    Returns
    -------
    Module
        `module`. Where there was one original, it is the parameter again, so optimisers keep it.

    Raises
    ------
    ValueError
        If the weight is not parametrised, or several originals should be left unparametrised.

    Examples
    --------
    >>> from rondeau import nn
    >>> from rondeau.nn.utils import parametrizations, parametrize
    >>> layer = parametrizations.weight_norm(nn.Linear(3, 2))
    >>> _ = parametrize.remove_parametrizations(layer, "weight")
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight']
    """
    _check_module(module, tensor_name)
    check_flags(leave_parametrized=leave_parametrized)
    registered = computed_attribute(module.__dict__, tensor_name)
    if not isinstance(registered, ParametrizationList):
        raise ArgumentValueError(f"{type(module).__name__} has no parametrised tensor named {tensor_name!r}")
    if not (leave_parametrized or registered.is_tensor):
        raise ArgumentValueError(
            f"leave_parametrized=False would need one original, and {tensor_name} has {registered.ntensors}"
        )
    names = registered._original_names()
    originals = registered._originals()
    left = originals[0]
    if leave_parametrized:
        with no_grad():
            value = registered()
        if registered.is_tensor:
            overwrite(left, value)
        else:
            trained = any(original.requires_grad for original in originals)
            left = Parameter(value, trained) if isinstance(left, Parameter) else value
    group = module._modules[PARAMETRIZATIONS]
    assert isinstance(group, ModuleDict)
    del group[tensor_name]
    if not len(group):
        del module._modules[PARAMETRIZATIONS]
    register(module, tensor_name, left, persistent=names[0] not in registered._transient)
    return module


def _check_module(module: object, tensor_name: object) -> None:
    if not isinstance(module, Module):
        raise ArgumentTypeError(f"module must be an nn.Module, got {kind_of(module)}")
    if not isinstance(tensor_name, str):
        raise ArgumentTypeError(f"tensor_name must be a string, got {kind_of(tensor_name)}")


def _check_chained(parametrization: Module, before: Tensor) -> None:
    """Check a parametrisation that is to follow others, and its ``right_inverse`` if it has one."""
    with no_grad():
        after = parametrization(before)
        check_alike("the parametrisation", after, before)
        inverse = getattr(parametrization, "right_inverse", None)
        if inverse is None:
            return
        try:
            inverted = inverse(after)
        except NotImplementedError:
            return
    check_alike("right_inverse of a parametrisation that follows another", inverted, before)
