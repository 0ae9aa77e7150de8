"""`ParametrizationList`: the parametrisations of one weight, and the originals that it is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor import Tensor, no_grad

from .._checks import check_flags, check_tensor, kind_of
from .._computed import ComputedAttribute
from .._containers import ModuleList
from .._module import Module
from .._parameter import Parameter
from ._parametrization_cache import computed_once

__all__ = ["ParametrizationList", "check_alike", "overwrite", "register"]


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
            check_alike("the parametrisation", self._composed(values), original)
        for name, value in zip(self._original_names(), values, strict=True):
            if self.is_tensor:
                overwrite(original, value)
                register(self, name, original)
            elif isinstance(original, Parameter):
                register(self, name, Parameter(value.detach().clone(), original.requires_grad))
            else:
                register(self, name, value.detach().clone())

    def forward(self) -> Tensor:
        """Return the weight, computed from the originals."""
        weight: Tensor = self._composed(self._originals())
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
        pairs = list(zip(self._originals(), values, strict=True))
        for old, new in pairs:
            if new.dtype != old.dtype:
                raise ArgumentTypeError(
                    f"right_inverse returned {new.dtype} for an original of {old.dtype}: assign a value of that dtype"
                )
        for old, new in pairs:
            overwrite(old, new)

    def value(self) -> Tensor:
        """Return the weight; inside `cached` the one that was computed first."""
        return computed_once(self, self._originals, self)

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

    def _originals(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._original_names()]

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


def check_alike(what: str, found: Any, like: Tensor) -> None:
    """Raise ValueError unless `found` is a Tensor with the shape and dtype of another."""
    if not isinstance(found, Tensor):
        raise ArgumentValueError(f"{what} must return a Tensor, got {kind_of(found)}")
    if found.shape != like.shape or found.dtype != like.dtype:
        raise ArgumentValueError(
            f"{what} must keep shape and dtype unless unsafe=True, expected {like.dtype} of shape {like.shape}, got "
            f"{found.dtype} of shape {found.shape}"
        )


def overwrite(old: Tensor, new: Tensor) -> None:
    """Give a tensor another value, which it never shares with the caller's."""
    if new is old:
        return
    if new.shape == old.shape and new.dtype == old.dtype:
        with no_grad():
            old.copy_(new)
    else:
        old.data = new.detach().clone()


def register(module: Module, name: str, tensor: Tensor, persistent: bool = True) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor, persistent)
