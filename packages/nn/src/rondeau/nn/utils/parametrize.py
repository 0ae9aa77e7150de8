"""Parametrised weights: a parameter of a module as a function of other parameters, which are trained in its place.

The names, arguments and ``state_dict`` keys are those of ``torch.nn.utils.parametrize``. What differs: a module keeps
its class, so that it can be pickled; assigning a value copies it; and what `cached` keeps belongs to a thread of Python
and follows its originals.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor import Tensor, is_grad_enabled, no_grad

from .._checks import check_flags, check_tensor, kind_of
from .._computed import PARAMETRIZATIONS, ComputedAttribute, computed_attribute, computed_names
from .._containers import ModuleDict, ModuleList
from .._module import Module
from .._parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
]


def __dir__() -> list[str]:
    return __all__


class _Computed(NamedTuple):
    """A weight, and what identifies the values of the originals that it was computed from."""

    weight: Tensor
    versions: list[tuple[Any, int]]


class _Cache(threading.local):
    """The weights computed since this thread of Python entered `cached`, which may be nested.

    Weights are kept by parametrisation, and by whether operations were recorded: one computed under `no_grad` has no
    gradient.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.weights: dict[tuple[ParametrizationList, bool], _Computed] = {}


_cache = _Cache()


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrised weight only once inside a ``with`` block: at its first use.

    A layer computes its weights once per call, so this saves time where a weight has several uses: in a loop over a
    single-step cell, or in layers that are called repeatedly. If an optimiser or an assignment changes the originals
    inside the block, the weight is computed again. Add up losses that share a weight before backward, or retain the
    graph in all but the last.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> from rondeau.nn.utils import parametrizations, parametrize
    >>> cell, h = parametrizations.orthogonal(nn.RNNCell(3, 3), "weight_hh"), rt.zeros(1, 3)
    >>> with parametrize.cached():
    ...     for x in rt.ones(5, 1, 3):
    ...         h = cell(x, h)
    ...     cell.weight_hh is cell.weight_hh
    True
    >>> cell.weight_hh is cell.weight_hh
    False
    """
    _cache.depth += 1
    try:
        yield
    finally:
        _cache.depth -= 1
        if not _cache.depth:
            _cache.weights.clear()


class ParametrizationList(ModuleList, ComputedAttribute):
    """The parametrisations of one weight, and the originals that it is computed from.

    `register_parametrization` makes one: it is ``module.parametrizations.weight`` for the weight of a module. Called
    without arguments it returns the weight.

    Parameters
    ----------
    modules : iterable of Module
        The parametrisations in the order in which they are applied.
    original : Tensor
        The parameter or buffer that is replaced.
    unsafe : bool
        Whether the result may have another shape or dtype than `original`.

    Attributes
    ----------
    original : Parameter or Tensor
        What the first parametrisation is applied to: the same object as the argument, with the value that the
        parametrisations' ``right_inverse`` gave it.
    original0, original1, ... : Parameter or Tensor
        Instead of it, if the first parametrisation has a ``right_inverse`` that returns a sequence of tensors.
    is_tensor : bool
        Whether there is one original.
    ntensors : int
        The number of originals.

    Examples
    --------
    >>> from rondeau import nn
    >>> from rondeau.nn.utils import parametrizations
    >>> layer = parametrizations.weight_norm(nn.Linear(3, 2))
    >>> layer.parametrizations.weight
    ParametrizationList(
      (0): _WeightNorm()
    )
    >>> layer.parametrizations.weight.original0.shape, layer.parametrizations.weight.original1.shape
    ((2, 1), (2, 3))
    """

    is_tensor: bool
    ntensors: int
    unsafe: bool

    def __init__(self, modules: Iterable[Module], original: Tensor, unsafe: bool = False) -> None:
        super().__init__(modules)
        if not len(self):
            raise ArgumentValueError("a ParametrizationList needs at least one parametrisation")
        check_tensor("original", original)
        check_flags(unsafe=unsafe)
        self.unsafe, self._shape = unsafe, original.shape
        originals = self._inverted(original, must_invert=False)
        self.is_tensor = isinstance(originals, Tensor)
        values = [originals] if isinstance(originals, Tensor) else list(originals)
        self.ntensors = len(values)
        if self.is_tensor and values[0].dtype != original.dtype:
            raise ArgumentValueError(
                "right_inverse must keep the dtype where it returns one tensor, expected "
                f"{original.dtype}, got {values[0].dtype}"
            )
        if not unsafe:
            _check_alike("the parametrisation", self._composed(values), original)
        for name, value in zip(self._original_names(), values, strict=True):
            if self.is_tensor:
                _overwrite(original, value)
                _register(self, name, original)
            elif isinstance(original, Parameter):
                _register(self, name, Parameter(value.detach().clone(), original.requires_grad))
            else:
                _register(self, name, value.detach().clone())

    def forward(self) -> Tensor:
        """Return the weight, computed from the originals."""
        weight: Tensor = self._composed([getattr(self, name) for name in self._original_names()])
        return weight

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the weight becomes `value`, by the parametrisations' ``right_inverse``.

        Assigning to the weight does the same.

        Raises
        ------
        RuntimeError
            If a parametrisation has no ``right_inverse``.
        TypeError, ValueError
            If `value` is not a Tensor, or has another shape than the weight, or what ``right_inverse`` returns does not
            fit the originals.
        """
        if isinstance(value, Tensor) and value.shape != self._shape and not self.unsafe:
            raise ArgumentValueError(
                f"a parametrised weight of shape {self._shape} was assigned a value of shape {value.shape}: assign one "
                "of the same shape"
            )
        originals = self._inverted(value, must_invert=True)
        if isinstance(originals, Tensor) != self.is_tensor:
            wanted = "one Tensor" if self.is_tensor else f"a sequence of {self.ntensors} Tensors"
            raise ArgumentValueError(f"right_inverse must return {wanted}, as when it was registered")
        values = [originals] if isinstance(originals, Tensor) else list(originals)
        if len(values) != self.ntensors:
            raise ArgumentValueError(
                f"right_inverse must return {self.ntensors} Tensors, as when it was registered, got {len(values)}"
            )
        pairs = [(getattr(self, name), new) for name, new in zip(self._original_names(), values, strict=True)]
        for old, new in pairs:
            if new.dtype != old.dtype:
                raise ArgumentTypeError(
                    f"right_inverse returned {new.dtype} for an original of {old.dtype}: assign a value of that dtype"
                )
        for old, new in pairs:
            _overwrite(old, new)

    def value(self) -> Tensor:
        """Return the weight; inside `cached` the one that was computed first."""
        if not _cache.depth:
            return self()  # type: ignore[no-any-return]
        originals = [getattr(self, name) for name in self._original_names()]
        versions = [(t._array, 0 if t._memory is None else t._memory.changed) for t in originals]
        key = self, is_grad_enabled()
        kept = _cache.weights.get(key)
        if kept is None or any(
            a is not b or m != n for (a, m), (b, n) in zip(kept.versions, versions, strict=True)
        ):
            kept = _cache.weights[key] = _Computed(self(), versions)
        return kept.weight

    def value_in_evaluation(self) -> Tensor:
        """Return the weight as it is in evaluation; nothing is recorded, and no buffer changes."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with no_grad():
                return self()  # type: ignore[no-any-return]
        finally:
            for module, training in modes:
                module.training = training

    def assign(self, value: Any) -> None:
        """Do as `right_inverse` does."""
        self.right_inverse(value)

    def _original_names(self) -> list[str]:
        return ["original"] if self.is_tensor else [f"original{k}" for k in range(self.ntensors)]

    def _composed(self, originals: Sequence[Tensor]) -> Any:
        first, *others = self
        value = first(*originals)
        for parametrization in others:
            value = parametrization(value)
        return value

    def _inverted(self, value: Tensor, must_invert: bool) -> Tensor | Sequence[Tensor]:
        """Apply the parametrisations' ``right_inverse`` in turn, the last one first.

        On registration, parametrisations without a ``right_inverse`` are skipped.
        """
        check_tensor("a parametrised weight", value)
        inverted: Any = value
        with no_grad():
            for parametrization in reversed(list(self)):
                inverse = getattr(parametrization, "right_inverse", None)
                if inverse is None and must_invert:
                    raise RuntimeError(
                        f"the parametrisation {type(parametrization).__name__} does not implement right_inverse, so "
                        "the weight cannot be assigned: define right_inverse(self, value), or change the originals"
                    )
                if inverse is None:
                    continue
                try:
                    inverted = inverse(inverted)
                except NotImplementedError:
                    if must_invert:
                        raise
        if isinstance(inverted, Tensor):
            return inverted
        if not isinstance(inverted, Sequence) or not all(isinstance(part, Tensor) for part in inverted):
            raise ArgumentValueError(
                f"right_inverse must return a Tensor or a sequence of Tensors, got {kind_of(inverted)}"
            )
        return inverted

    def _part(self, names: list[str]) -> Any:
        return ModuleList([getattr(self, name) for name in names])


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
        for recorded in (False, True):
            _cache.weights.pop((registered, recorded), None)
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
    originals = [getattr(registered, name) for name in names]
    left = originals[0]
    if leave_parametrized:
        with no_grad():
            value = registered()
        if registered.is_tensor:
            _overwrite(left, value)
        else:
            trained = any(original.requires_grad for original in originals)
            left = Parameter(value, trained) if isinstance(left, Parameter) else value
    group = module._modules[PARAMETRIZATIONS]
    assert isinstance(group, ModuleDict)
    del group[tensor_name]
    if not len(group):
        del module._modules[PARAMETRIZATIONS]
    _register(module, tensor_name, left, persistent=names[0] not in registered._transient)
    return module


def _check_module(module: object, tensor_name: object) -> None:
    if not isinstance(module, Module):
        raise ArgumentTypeError(f"module must be an nn.Module, got {kind_of(module)}")
    if not isinstance(tensor_name, str):
        raise ArgumentTypeError(f"tensor_name must be a string, got {kind_of(tensor_name)}")


def _check_alike(what: str, found: Any, like: Tensor) -> None:
    """Raise ValueError unless `found` is a Tensor with the shape and dtype of another."""
    if not isinstance(found, Tensor):
        raise ArgumentValueError(f"{what} must return a Tensor, got {kind_of(found)}")
    if found.shape != like.shape or found.dtype != like.dtype:
        raise ArgumentValueError(
            f"{what} must keep shape and dtype unless unsafe=True, expected {like.dtype} of shape {like.shape}, got "
            f"{found.dtype} of shape {found.shape}"
        )


def _check_chained(parametrization: Module, before: Tensor) -> None:
    """Check a parametrisation that is to follow others, and its ``right_inverse`` if it has one."""
    with no_grad():
        after = parametrization(before)
        _check_alike("the parametrisation", after, before)
        inverse = getattr(parametrization, "right_inverse", None)
        if inverse is None:
            return
        try:
            inverted = inverse(after)
        except NotImplementedError:
            return
    _check_alike("right_inverse of a parametrisation that follows another", inverted, before)


def _overwrite(old: Tensor, new: Tensor) -> None:
    """Give a tensor another value, which it never shares with the caller's."""
    if new is old:
        return
    if new.shape == old.shape and new.dtype == old.dtype:
        with no_grad():
            old.copy_(new)
    else:
        old.data = new.detach().clone()


def _register(module: Module, name: str, tensor: Tensor, persistent: bool = True) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor, persistent)
