"""Module: the base class of every layer and model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.precision import check_precision
from rondeau.tensor import RemovableHandle, Tensor, float32_matmul_precision
from rondeau.tensor.cuda import gpu

from ._computed import computed_attribute, computed_names
from ._parameter import Parameter
from ._safetensors import load_safetensors
from ._state_dict import EXTRA_STATE, IncompatibleKeys, Loading, load_own, own_state


class Module:
    """A part of a model: its parameters, buffers and submodules, and the computation that uses them.

    A subclass calls ``super().__init__()`` first, assigns its `Parameter`s and submodules as attributes,
    which registers them, and defines ``forward``. The module is then called like a function. Names,
    arguments and ``state_dict`` keys are PyTorch's.

    Attributes
    ----------
    training : bool
        True after `train`, False after `eval`; dropout, for example, depends on it.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inner = nn.Linear(3, 3)
    ...
    ...     def forward(self, x):
    ...         return self.inner(self.inner(x))
    >>> model = Twice()
    >>> model(rt.ones(2, 3)).shape
    (2, 3)
    >>> [name for name, _ in model.named_parameters()]
    ['inner.weight', 'inner.bias']
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]  # names of buffers that state_dict leaves out
    _forward_pre_hooks: dict[int, Callable[..., Any]]
    _forward_hooks: dict[int, Callable[..., Any]]
    _precision: str | None = None

    def __init__(self) -> None:
        assign = super().__setattr__  # our own looks into the dictionaries that are created here
        assign("training", True)
        assign("_parameters", {})
        assign("_buffers", {})
        assign("_modules", {})
        assign("_transient", set())
        assign("_forward_pre_hooks", {})
        assign("_forward_hooks", {})

    # -- computing ---------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's output; every subclass defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function: define '
            "forward(self, ...) in the class"
        )

    @property
    def float32_matmul_precision(self) -> str | None:
        """The precision of the products of float32 while the module is called, and in backward through that call.

        It is one of those of `rondeau.tensor.set_float32_matmul_precision`, which it overrides, also for the modules
        inside that have none of their own; None, the default, leaves that of the caller. It is not part of the state.

        Raises
        ------
        ValueError
            If it is set to anything else.

        Examples
        --------
        >>> from rondeau import nn
        >>> layer = nn.GRU(3, 4)
        >>> layer.float32_matmul_precision = "medium"
        """
        return self._precision

    @float32_matmul_precision.setter
    def float32_matmul_precision(self, precision: str | None) -> None:
        if precision is not None:
            check_precision(precision)
        self._precision = precision

    def _at_its_precision(self) -> AbstractContextManager[None]:
        """Return a context in which products have the precision of a call, for what is computed without one."""
        return nullcontext() if self._precision is None else float32_matmul_precision(self._precision)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._precision is not None:
            with float32_matmul_precision(self._precision):
                return self._forward_between_hooks(args, kwargs)
        if not self._forward_pre_hooks and not self._forward_hooks:
            return self.forward(*args, **kwargs)
        return self._forward_between_hooks(args, kwargs)

    def _forward_between_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in tuple(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks.values()):
            changed = hook(self, args, output)
            if changed is not None:
                output = changed
        return output

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, args)`` before every forward; a result other than None replaces ``args``.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` removes the hook.
        """
        _check_callable("hook", hook)
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after every forward; a result other than None replaces ``output``.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` removes the hook.

        Examples
        --------
        >>> from rondeau import nn, tensor as rt
        >>> seen = []
        >>> layer = nn.Linear(2, 3)
        >>> handle = layer.register_forward_hook(lambda module, args, output: seen.append(output.shape))
        >>> _ = layer(rt.ones(5, 2))
        >>> handle.remove()
        >>> _ = layer(rt.ones(5, 2))
        >>> seen
        [(5, 3)]
        """
        _check_callable("hook", hook)
        return RemovableHandle(self._forward_hooks, hook)

    # -- attributes --------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Reached only when ordinary lookup has failed.
        state = self.__dict__
        for registry in ("_parameters", "_buffers", "_modules"):
            if registry in state and name in (members := state[registry]):
                return members[name]
        computed = computed_attribute(state, name)
        if computed is not None:
            try:
                return computed.value()
            except AttributeError as error:  # would be taken for a missing attribute of this module
                raise RuntimeError(f"computing the parametrised '{name}' failed: {error}") from error
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in state:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, but=self._parameters)
            self.register_parameter(name, value)
        elif name in state.get("_parameters", ()):
            if value is not None:
                raise ArgumentTypeError(
                    f"cannot assign '{type(value).__name__}' as parameter '{name}' (nn.Parameter or None "
                    "expected); wrap it in nn.Parameter, or change the values in place"
                )
            self._parameters[name] = None
        elif isinstance(value, Module):
            if "_modules" not in state:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, but=self._modules)
            self.add_module(name, value)
        elif name in state.get("_modules", ()):
            if value is not None:
                raise ArgumentTypeError(
                    f"cannot assign '{type(value).__name__}' as child module '{name}' (nn.Module or None expected)"
                )
            self._modules[name] = None
        elif name in state.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise ArgumentTypeError(
                    f"cannot assign '{type(value).__name__}' as buffer '{name}' (Tensor or None expected)"
                )
            self._buffers[name] = value
        elif (computed := computed_attribute(state, name)) is not None:
            computed.assign(value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                self._forget(name)
                return
        if computed_attribute(self.__dict__, name) is not None:
            raise AttributeError(
                f"attribute '{name}' is parametrised: call nn.utils.parametrize.remove_parametrizations first"
            )
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        registered = (*self._parameters, *self._buffers, *self._modules, *computed_names(self))
        return sorted({*super().__dir__(), *registered})

    def _forget(self, name: str, but: dict[str, Any] | None = None) -> None:
        """Remove `name` wherever it is registered or stored, except in one registry, where it keeps its position."""
        for registry in (self.__dict__, self._parameters, self._buffers, self._modules):
            if registry is not but:
                registry.pop(name, None)
        self._transient.discard(name)

    def _check_new_name(self, kind: str, name: str, registry: Mapping[str, object]) -> None:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"{kind} name must be a string, got {type(name).__name__}")
        # Only one kind of quotes, because KeyError shows the repr of its message.
        if "." in name:
            raise KeyError(
                f"{kind} name must not contain a dot, which separates names in state_dict, got {name!r}"
            )
        if not name:
            raise KeyError(f"{kind} name must not be empty, got {name!r}")
        if computed_attribute(self.__dict__, name) is not None:
            raise KeyError(
                f"attribute '{name}' is parametrised: assign a Tensor, from which its originals are set, or call "
                "nn.utils.parametrize.remove_parametrizations first"
            )
        if name not in registry and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists: choose another name for the {kind}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register a parameter under `name`, which assigning it as an attribute also does.

        Parameters
        ----------
        name : str
            Without a dot, and not yet an attribute.
        param : Parameter or None
            None reserves the name: it becomes an attribute, but is not in ``state_dict``.

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is taken.
        TypeError
            If `param` is not a Parameter.
        """
        self._check_new_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise ArgumentTypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(nn.Parameter or None required)"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a tensor that belongs to the module's state but is not trained, such as a running mean.

        Parameters
        ----------
        name : str
            Without a dot, and not yet an attribute.
        tensor : Tensor or None
            The value.
        persistent : bool
            False leaves it out of ``state_dict``.

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is taken.
        TypeError
            If `tensor` is not a Tensor.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_new_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise ArgumentTypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._transient.discard(name)
        else:
            self._transient.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a submodule under `name`, which assigning it as an attribute also does.

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is taken.
        TypeError
            If `module` is not a Module.
        """
        self._check_new_name("module", name, self._modules)
        if module is not None and not isinstance(module, Module):
            raise ArgumentTypeError(
                f"{type(module).__name__} is not a Module subclass, and cannot be child '{name}'"
            )
        self._modules[name] = module

    register_module = add_module

    # -- walking -----------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the immediate submodules with their names, each module once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the immediate submodules, each once."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it with their dotted names, parents first.

        Parameters
        ----------
        memo : set of Module, optional
            Modules to leave out; those that are yielded are added to it.
        prefix : str
            Prepended to every name.
        remove_duplicate : bool
            Yield a module that is reached twice only under its first name.
        """
        if memo is None:
            memo = set()
        if not isinstance(memo, set):
            raise ArgumentTypeError(f"memo must be a set of Modules, got {type(memo).__name__}")
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters with their dotted names.

        Parameters
        ----------
        prefix : str
            Prepended to every name.
        recurse : bool
            Whether to include those of the submodules.
        remove_duplicate : bool
            Yield a parameter that several modules share only under its first name.
        """
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, each once; for example, for an optimiser."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the buffers with their dotted names; arguments as in `named_parameters`."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named_members(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, member in module.__dict__[registry].items():
                if member is None or (key := id(member)) in seen:
                    continue
                if remove_duplicate:
                    seen.add(key)
                yield (f"{path}.{name}" if path else name), member

    def get_submodule(self, target: str) -> Module:
        """Return the submodule with the dotted name `target`; the empty name is this module.

        Raises
        ------
        AttributeError
            If there is no such attribute, or it is not a module.
        """
        _check_name("target", target)
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(
                    f"{type(module).__name__} has no attribute `{name}` (looking for {target!r})"
                )
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module (looking for {target!r})")
        return module  # type: ignore[no-any-return]

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter with the dotted name `target`.

        Raises
        ------
        AttributeError
            If there is no such attribute, or it is not a parameter.
        """
        _check_name("target", target)
        path, _, name = target.rpartition(".")
        parameter = getattr(self.get_submodule(path), name)
        if not isinstance(parameter, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter (looking for {target!r})")
        return parameter

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer with the dotted name `target`.

        Raises
        ------
        AttributeError
            If there is no such attribute, or it is not a buffer.
        """
        _check_name("target", target)
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        buffer = getattr(module, name)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer (looking for {target!r})")
        return buffer  # type: ignore[no-any-return]

    def apply(self, fn: Callable[[Module], object]) -> Self:
        """Call `fn` on every submodule, at any depth, and then on this module; the usual way to initialise a model.

        Examples
        --------
        >>> from rondeau import nn
        >>> def to_zero(module):
        ...     if isinstance(module, nn.Linear):
        ...         nn.init.zeros_(module.weight)
        >>> nn.Sequential(nn.Linear(2, 2), nn.Tanh()).apply(to_zero)[0].weight.tolist()
        [[0.0, 0.0], [0.0, 0.0]]
        """
        _check_callable("fn", fn)
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # -- modes -------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set training mode, or evaluation mode with ``mode=False``, for this module and all below it."""
        if not isinstance(mode, bool):
            raise ArgumentValueError(f"training mode is expected to be boolean, got {mode!r}")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode: dropout passes its input through."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Make all parameters trainable, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters.

        Parameters
        ----------
        set_to_none : bool
            If False, the gradients become zeros instead of None. They are new tensors, so that a gradient held
            elsewhere keeps its values, and a NaN does not survive, as it would if multiplied by zero.
        """
        for parameter in self.parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            parameter.grad = None if set_to_none else Tensor(np.zeros_like(gradient._array))

    # -- dtype and device --------------------------------------------------------------------------

    def to(
        self, *args: Any, dtype: DTypeLike | None = None, device: Any = None, non_blocking: bool = False
    ) -> Self:
        """Change the dtype or the device of all floating-point parameters and buffers, in place.

        Parameters
        ----------
        *args
            A dtype, a device, a device and a dtype, or a Tensor whose dtype and device are used.
        dtype : dtype, optional
            ``rt.float32`` or ``rt.float64``. Integer buffers keep theirs.
        device : optional
            The device to move to; see `rondeau.tensor`.
        non_blocking : bool
            As of `Tensor.to`.

        Returns
        -------
        Module
            This module. The parameters stay the same objects, so optimisers keep them, and the averages of an optimiser
            follow at its next step. Gradients move too.

        Raises
        ------
        TypeError
            If the dtype is not floating-point.
        ValueError
            If an argument is neither a dtype nor a device.
        RuntimeError
            If the GPU is asked for and none is usable; the message says what to install. As after any error, of memory
            too, nothing has moved.

        Examples
        --------
        >>> from rondeau import nn, tensor as rt
        >>> layer = nn.Linear(3, 2)
        >>> weight = layer.weight
        >>> layer.to("cuda" if rt.cuda.is_available() else "cpu", rt.float64).weight is weight
        True
        >>> weight.dtype
        dtype('float64')
        """
        for argument in args:
            if isinstance(argument, Tensor):
                dtype, device = argument.dtype, argument.device
            elif _names_a_dtype(argument):
                dtype = argument
            elif argument is not None:
                device = argument
        if dtype is not None:
            try:
                dtype = np.dtype(dtype)
            except TypeError:
                raise ArgumentTypeError(
                    f"nn.Module.to only accepts float32 or float64 as dtype, got {dtype!r}"
                ) from None
            if dtype not in (np.float32, np.float64):
                raise ArgumentTypeError(f"nn.Module.to only accepts float32 or float64 as dtype, got {dtype}")

        def moved(tensor: Tensor) -> Any:
            target = dtype if dtype is not None and np.issubdtype(tensor.dtype, np.floating) else None
            return tensor.detach().to(dtype=target, device=device, non_blocking=non_blocking)._array

        # All copies first: where memory runs out, nothing has moved.
        copies = [
            (tensor, moved(tensor), None if tensor.grad is None else Tensor(moved(tensor.grad)))
            for tensor in (*self.parameters(), *self.buffers())
        ]
        for tensor, array, gradient in copies:
            tensor.data = array
            if gradient is not None:
                tensor.grad = gradient
        return self

    def cuda(self, device: Any = None) -> Self:
        """Move all parameters and buffers to the GPU; see `to`."""
        return self.to(device="cuda" if device is None else gpu(device))

    def cpu(self) -> Self:
        """Move all parameters and buffers to the CPU; see `to`."""
        return self.to(device="cpu")

    def float(self) -> Self:
        """Make all floating-point parameters and buffers float32."""
        return self.to(dtype=np.float32)

    def double(self) -> Self:
        """Make all floating-point parameters and buffers float64."""
        return self.to(dtype=np.float64)

    # -- state -------------------------------------------------------------------------------------

    def state_dict(
        self, prefix: str = "", keep_vars: bool = False, *, destination: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return all parameters and persistent buffers by dotted name, and the extra state of `get_extra_state`.

        Parameters
        ----------
        prefix : str
            Prepended to every name.
        keep_vars : bool
            Return the parameters themselves rather than detached tensors.
        destination : dict, optional
            A dict to add them to, which is returned.

        Returns
        -------
        dict of str to Tensor
            The tensors share memory with the module, and change when it trains; copy any that should not.
            A parameter that several modules share appears under each of its names.

        Examples
        --------
        >>> from rondeau import nn
        >>> {name: value.shape for name, value in nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        _check_name("prefix", prefix)
        state: dict[str, Any] = {} if destination is None else destination
        self._save_to_state_dict(state, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(f"{prefix}{name}.", keep_vars, destination=state)
        return state

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Add the module's own entries to a `state_dict`; a subclass may add others, as in PyTorch."""
        for name, tensor in own_state(self).items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not Module.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """Return the state that `state_dict` should include besides the module's tensors.

        A subclass defines this together with `set_extra_state`. If the state is a Tensor, it can also be written to a
        safetensors file and to a checkpoint.
        """
        raise RuntimeError(f"{type(self).__name__} has no extra state: define get_extra_state in the class")

    def set_extra_state(self, state: Any) -> None:
        """Restore a state that `get_extra_state` returned."""
        raise RuntimeError(f"{type(self).__name__} has no extra state: define set_extra_state in the class")

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any] | str | os.PathLike[str],
        strict: bool = True,
        assign: bool = False,
    ) -> IncompatibleKeys:
        """Copy parameters and buffers from a mapping, or from a safetensors file, into this module.

        Parameters
        ----------
        state_dict : mapping of str to array_like, or path
            Tensors, arrays, or another library's CPU tensors that NumPy can read, such as PyTorch's; or the
            path of a ``.safetensors`` file (see `load_safetensors`). Values are converted to the dtype of
            the parameter that they are copied to, and moved to its device.
        strict : bool
            Whether missing and unexpected names are errors. A wrong shape always is.
        assign : bool
            Replace the module's tensors by the given ones, which keep their dtypes: nothing is copied, and optimisers
            still hold the old tensors.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        RuntimeError
            If names or shapes do not match, or a number is out of range for the dtype. The message lists every problem,
            and nothing has been copied, except by modules that override ``_load_from_state_dict``.

        Examples
        --------
        >>> import numpy as np
        >>> from rondeau import nn
        >>> layer = nn.Linear(2, 1)
        >>> layer.load_state_dict({"weight": np.ones((1, 2)), "bias": np.zeros(1)})
        <All keys matched successfully>
        >>> layer.load_state_dict({"weight": np.ones((1, 3))}, strict=False)
        Traceback (most recent call last):
            ...
        RuntimeError: Error(s) in loading state_dict for Linear:
            size mismatch for weight: the shape in the state_dict is (1, 3), in this module it is (1, 2)
        """
        if isinstance(state_dict, str | os.PathLike):
            state_dict = load_safetensors(state_dict)
        elif not isinstance(state_dict, Mapping):
            raise ArgumentTypeError(
                "load_state_dict expects a mapping from names to tensors, or the path of a safetensors file, "
                f"got {type(state_dict).__name__}"
            )
        for name in state_dict:
            _check_name("the names in a state_dict", name)
        loading = Loading(assign)
        self._load_below(loading, dict(state_dict), "")
        problems = loading.problems(strict)
        if problems:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n    " + "\n    ".join(problems)
            )
        for write in loading.writes:
            write()
        return IncompatibleKeys(loading.missing, loading.unexpected)

    def _load_below(self, loading: Loading, state_dict: dict[str, Any], prefix: str) -> None:
        """Let this module and those below it check their entries."""
        # A module that overrides the method may go on to use the values that it has loaded.
        at_once = type(self)._load_from_state_dict is not Module._load_from_state_dict
        loading.visit(self, state_dict, prefix, at_once)
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}{name}."
                part = {key: value for key, value in state_dict.items() if key.startswith(below)}
                module._load_below(loading, part, below)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load the module's own entries of a `state_dict`; a subclass may change them first, as in PyTorch."""
        has_extra = type(self).set_extra_state is not Module.set_extra_state
        load_own(
            self,
            self.set_extra_state if has_extra else None,
            state_dict,
            prefix,
            local_metadata,
            missing_keys if strict else None,
            unexpected_keys if strict else None,
            error_msgs,
        )

    # -- display -----------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return the text inside the parentheses of ``repr``; layers show their configuration."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {module!r}" for name, module in self._modules.items()]
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = "\n".join(([extra] if extra else []) + children).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {lines}\n)"


def _check_callable(name: str, value: object) -> None:
    if not callable(value):
        raise ArgumentTypeError(f"{name} must be a function of the module, got {type(value).__name__}")


def _check_name(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{what} must be a string, got {type(value).__name__}")


def _names_a_dtype(argument: object) -> bool:
    if isinstance(argument, str):
        return argument in ("float32", "float64")
    return isinstance(argument, np.dtype | type)
