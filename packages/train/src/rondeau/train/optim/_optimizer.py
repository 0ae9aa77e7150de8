"""What every optimiser shares: parameter groups, the walk over them, and the state dictionary."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.runtime.devices import device_name, is_array, is_of_device
from rondeau.kernels.runtime.transfers import on_device_of, on_host
from rondeau.tensor.autograd import few_rows
from rondeau.train._checks import (
    AT_LEAST_ZERO,
    Interval,
    check_is,
    check_number,
    check_real,
    check_state,
    checked_list,
    plain,
    shown,
)

Array = NDArray[Any]
Group = dict[str, Any]
State = dict[str, Any]
Parameters = Iterable[rt.Tensor] | Iterable[Group]

# What the kernels update, with the largest number that each holds.
_LARGEST = {np.dtype(kind): float(np.finfo(kind).max) for kind in (np.float32, np.float64)}


def check_option(name: str, value: float, interval: Interval) -> None:
    """Raise unless an option is a number in `interval`; the name is what torch calls it.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is out of the interval, or NaN.

    Examples
    --------
    >>> check_option("learning rate", -1.0, AT_LEAST_ZERO)
    Traceback (most recent call last):
    ...
    ValueError: Invalid learning rate: -1.0; expected a finite number >= 0
    """
    check_real(f"Invalid {name}", value)
    if not interval.holds(value):
        raise ValueError(f"Invalid {name}: {shown(value)}; expected {interval.expected}")


def check_at_least_zero(options: Mapping[str, float]) -> None:
    """Raise for the first option that is not a finite number >= 0, as `check_option` does.

    Examples
    --------
    >>> check_at_least_zero({"learning rate": 0.1, "epsilon value": float("nan")})
    Traceback (most recent call last):
    ...
    ValueError: Invalid epsilon value: nan; expected a finite number >= 0
    """
    for name, value in options.items():
        check_option(name, value, AT_LEAST_ZERO)


def average(state: State, name: str, data: Array) -> Array:
    """Return an average of a parameter: zeros where the option that needs it was switched on after the first step.

    Examples
    --------
    >>> state = {"step": 3}
    >>> average(state, "momentum_buffer", np.ones(2)) is state["momentum_buffer"]
    True
    """
    if name not in state:
        state[name] = np.zeros_like(data, order="C")
    found: Array = state[name]
    return found


def _in_c_order(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array in C order and of a dtype: itself if it is so."""
    if array.flags.c_contiguous and array.dtype == dtype:
        return array
    return array.astype(dtype, order="C")


def _on_host(value: Any) -> Any:
    """Return a value that may be a Tensor or an array, on whatever device, where NumPy reads it."""
    array = value._array if isinstance(value, rt.Tensor) else value
    return on_host(array) if is_of_device(array) else value


def _listed(params: Any, what: str) -> list[Any]:
    if isinstance(params, nn.Module):
        raise TypeError(
            f"params: expected an iterable of {what}, got the module {type(params).__name__}; "
            "give its parameters, as module.parameters()"
        )
    return checked_list("params", params, what)


class Optimizer(ABC):
    """Base of the optimisers.

    Parameters
    ----------
    params : iterable of Tensor, or iterable of dict
        What to update. A dict is a group: its ``"params"`` with options of its own.
    defaults : dict
        The options of a group that does not name them.

    Attributes
    ----------
    param_groups : list of dict
        Each with ``"params"`` (list of Tensor) and its options. Schedules change ``"lr"`` here.
    state : dict
        Parameter -> its averages, arrays of the parameter's shape and dtype on its device, and its count of steps.

    Notes
    -----
    A parameter whose gradient is None is skipped: neither it nor its state changes. An update works in place on
    the parameter's memory and, on the CPU, allocates nothing after the first step. It is a change in place as any
    other: what was computed from the parameter before, and saved it, cannot be differentiated after the step. On a GPU
    a step copies nothing and waits for nothing. If a parameter has moved to another device, its averages follow at the
    next step.

    Examples
    --------
    An optimiser of one's own says what a group's options may be, how one step changes a parameter in place, and, in
    `initial_state`, what it remembers. This is sign descent (Bernstein et al., "signSGD", 2018):

    >>> from rondeau import tensor as rt, train
    >>> class SignSGD(train.optim.Optimizer):
    ...     def __init__(self, params, lr):
    ...         super().__init__(params, {"lr": lr})
    ...     def check_options(self, group):
    ...         if group["lr"] <= 0:
    ...             raise ValueError("lr should be above 0")
    ...     def update(self, data, gradient, group, state):
    ...         data -= group["lr"] * np.sign(gradient)
    >>> w = rt.tensor([1.0, -2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> _ = SignSGD([w], lr=0.5).step()
    >>> w.tolist()
    [0.5, -1.5]
    """

    def __init__(self, params: Parameters, defaults: Group) -> None:
        if isinstance(params, rt.Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got one {type(params).__name__}; write [tensor]"
            )
        if isinstance(params, Mapping):
            raise TypeError("params: expected an iterable of Tensors or dicts, got one dict; write [dict]")
        groups = _listed(params, "Tensors or dicts")
        if not groups:
            raise ValueError(
                "optimizer got an empty parameter list; a generator may have been used up before"
            )
        self.defaults = defaults
        self.state: dict[rt.Tensor, State] = {}
        self.param_groups: list[Group] = []
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group: a dict with ``"params"`` and any of the optimiser's options.

        Raises
        ------
        TypeError
            If a parameter is not a Tensor, or the group is not a dict.
        ValueError
            If a parameter is not a leaf, comes twice, or an option is unknown or out of its range.
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"param_group must be a dict with the key 'params', but got {shown(param_group)}")
        params = param_group["params"]
        params = [params] if isinstance(params, rt.Tensor) else _listed(params, "Tensors")
        unknown = sorted(set(param_group) - set(self.defaults) - {"params", "initial_lr"}, key=str)
        if unknown:
            known = ", ".join(self.defaults)
            raise ValueError(f"{type(self).__name__} knows no option {unknown[0]!r}; its options are {known}")
        seen = {id(p) for group in self.param_groups for p in group["params"]}
        for parameter in params:
            if not isinstance(parameter, rt.Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {type(parameter).__name__}"
                )
            if not parameter.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor: give the Tensors it was computed from")
            if id(parameter) in seen:
                raise ValueError("some parameters appear in more than one parameter group, or twice in one")
            seen.add(id(parameter))
        options = {**self.defaults, **{k: v for k, v in param_group.items() if k != "params"}}
        group = {"params": params, **{name: plain(value) for name, value in options.items()}}
        self.check_options(group)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget every gradient; without `set_to_none` it becomes a new tensor of zeros, as in `Module.zero_grad`."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = None if set_to_none else rt.zeros_like(parameter.grad)

    def step(self, closure: Callable[[], rt.Tensor] | None = None) -> rt.Tensor | None:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients again; called first, with gradients enabled.

        Returns
        -------
        Tensor or None
            What `closure` returned.

        Raises
        ------
        TypeError, ValueError
            If an option of a group is out of its range by now, or a parameter, its gradient and its state do not fit
            each other. No parameter has been updated then.
        """
        loss = None
        if closure is not None:
            check_is("closure", closure, Callable)  # type: ignore[arg-type]
            with rt.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._check_group(group)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, group)
        return loss

    def _check_group(self, group: Group) -> None:
        """Refuse what an update would stumble over, while no parameter has been updated."""
        self.check_options(group)
        largest = max(
            (abs(option) for option in group.values() if isinstance(option, int | float)), default=0
        )
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            data = parameter._array
            gradient: Any = few_rows(parameter.grad) or parameter.grad._array
            if data.dtype not in _LARGEST:
                raise TypeError(
                    f"a parameter of shape {data.shape} has dtype {data.dtype}; only float32 and float64 are updated"
                )
            if largest > _LARGEST[data.dtype]:
                options = ", ".join(f"{name}={option}" for name, option in group.items() if name != "params")
                raise ValueError(
                    f"the largest option of {options} is more than {data.dtype} holds, the dtype of a parameter of "
                    f"shape {data.shape}"
                )
            if type(data) is np.ndarray and not data.flags.writeable:
                raise ValueError(
                    f"a parameter of shape {data.shape} is read-only and cannot be updated: give it a copy, "
                    "parameter.data = parameter.detach().clone()"
                )
            if gradient.shape != data.shape:
                raise ValueError(
                    f"a gradient must have the shape of its parameter, {data.shape}, got {gradient.shape}: "
                    "was data assigned since backward?"
                )
            if type(gradient) is not type(data) and is_of_device(gradient) != is_of_device(data):
                raise ValueError(
                    f"a gradient must be on the device of its parameter, {device_name(data)}, got one on "
                    f"{device_name(gradient)}: was data assigned since backward?"
                )
            state = self.state.get(parameter, {})
            for name, value in state.items():
                if type(value) is int or (type(value) is not type(data) and not is_array(value)):
                    continue
                if (value.shape, value.dtype) != (data.shape, data.dtype):
                    raise ValueError(
                        f"state {name!r} is {value.dtype} of shape {value.shape}, its parameter is now {data.dtype} of "
                        f"shape {data.shape}: make a new optimizer after changing a parameter's shape or dtype"
                    )
                if type(value) is not type(data):
                    state[name] = on_device_of(data, value)

    def _step_one(self, parameter: rt.Tensor, group: Group) -> None:
        """Update one parameter that `_check_group` has let pass."""
        assert parameter.grad is not None
        rows = few_rows(parameter.grad)
        if rows is not None and self.keeps_rows_without_gradient(group):
            rt.increment_version(parameter)
            data = parameter._array[rows.ids]
            self.update(data, rows.values, group, {})
            parameter._array[rows.ids] = data
            return
        data = _in_c_order(parameter._array, parameter._array.dtype)  # a copy where it is not contiguous
        gradient = _in_c_order(parameter.grad._array, data.dtype)
        state = self.state.get(parameter)
        if state is None:
            state = self.initial_state(data, group)
        rt.increment_version(parameter)  # before the update, which may fail half-way
        self.update(data, gradient, group, state)
        if state:
            self.state[parameter] = state
        if data is not parameter._array:
            parameter._array[...] = data

    @abstractmethod
    def check_options(self, group: Group) -> None:
        """Raise TypeError for an option of a wrong type and ValueError for one out of its range."""

    def initial_state(self, data: Array, group: Group) -> State:
        """Return the state of a parameter before its first step; none by default."""
        return {}

    def keeps_rows_without_gradient(self, group: Group) -> bool:
        """Return whether an update leaves numbers whose gradient is zero as they are, bit for bit, and has no state.

        Of a table of which few rows were read, only these are then updated. False by default.
        """
        return False

    @abstractmethod
    def update(self, data: Array, gradient: Array, group: Group, state: State) -> None:
        """Update `data` and `state` in place for `gradient`, all C-contiguous and of one shape."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as ``{"state": {index: ...}, "param_groups": [...]}``, parameters as indices in order.

        As in torch, the arrays are the optimiser's own, not copies.
        """
        index: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                index[id(parameter)] = len(index)
            options = {name: value for name, value in group.items() if name != "params"}
            groups.append({**options, "params": [index[id(p)] for p in group["params"]]})
        return {"state": {index[id(p)]: dict(s) for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over copies of the options and averages of a `state_dict`, ours or torch's of the same class.

        Raises
        ------
        TypeError
            If it, or a part of it, is not of the type that `state_dict` has there.
        ValueError
            If the groups, their sizes or a shape differ from this optimiser's, or something is missing. Nothing is
            changed then.
        """
        check_state("an optimizer", state_dict, {"state", "param_groups"})
        check_is("'state' in the state of an optimizer", state_dict["state"], Mapping)
        saved = checked_list(
            "'param_groups' in the state of an optimizer", state_dict["param_groups"], "dicts"
        )
        if len(saved) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"expected {len(self.param_groups)}, got {len(saved)}"
            )
        for i, (group, other) in enumerate(zip(self.param_groups, saved, strict=True)):
            check_state(f"parameter group {i}", other, {"params"})
            check_is(f"'params' of parameter group {i}", other["params"], list, tuple)
            if len(group["params"]) != len(other["params"]):
                raise ValueError(
                    f"loaded state dict's parameter group {i} doesn't match the size of the optimizer's group: "
                    f"expected {len(group['params'])}, got {len(other['params'])}"
                )
        known = set(self.defaults) | {"initial_lr"}
        options = [{k: copy.deepcopy(v) for k, v in other.items() if k in known} for other in saved]
        merged = [{**group, **other} for group, other in zip(self.param_groups, options, strict=True)]
        state = {}
        for group, other in zip(merged, saved, strict=True):
            self.check_options(group)
            if "initial_lr" in group:
                check_number("initial_lr", group["initial_lr"], AT_LEAST_ZERO)
            for parameter, index in zip(group["params"], other["params"], strict=True):
                if index in state_dict["state"]:
                    state[parameter] = self._adopt(parameter._array, index, state_dict["state"][index])
                    missing = sorted(set(self.initial_state(parameter._array, group)) - set(state[parameter]))
                    if missing:
                        raise ValueError(
                            f"loaded state of parameter {index} has no {', '.join(missing)}, only "
                            f"{', '.join(state[parameter])}: is it of another optimizer, or of other options?"
                        )
        for i, other in enumerate(saved):
            if lacking := sorted(set(self.defaults) - set(other)):
                raise ValueError(
                    f"loaded state dict's parameter group {i} has no {', '.join(lacking)}: is it of another optimizer?"
                )
        for group, other in zip(self.param_groups, options, strict=True):
            group.update(other)
        self.state = state

    def _adopt(self, data: Array, index: int, saved: Mapping[str, Any]) -> State:
        """Copy one parameter's saved state: counts as int, averages as arrays like `data` and where it is."""
        check_is(f"loaded state of parameter {index}", saved, Mapping)
        state: State = {}
        for name, value in saved.items():
            if value is None:
                continue
            try:
                array = np.asarray(_on_host(value))
                if array.dtype.kind not in "biuf" or (
                    name == "step"
                    and not (array.size == 1 and np.isfinite(array) and array >= 0 and array % 1 == 0)
                ):
                    raise ValueError
            except (TypeError, ValueError, RuntimeError):
                wanted = "one number of steps" if name == "step" else "an array of numbers"
                raise TypeError(
                    f"loaded state {name!r} of parameter {index}: expected {wanted}, got {shown(value)}"
                ) from None
            if name == "step":
                state[name] = int(array.item())
                continue
            if array.shape != data.shape:
                raise ValueError(
                    f"loaded state {name!r} of parameter {index}: expected shape {data.shape}, got {array.shape}"
                )
            with np.errstate(over="ignore"):  # said below
                state[name] = array.astype(data.dtype, order="C")
            beyond = np.isfinite(array) & ~np.isfinite(state[name])
            if beyond.any():
                raise ValueError(
                    f"loaded state {name!r} of parameter {index}: {array[beyond][0]} does not fit {data.dtype}, "
                    f"whose largest number is {float(np.finfo(data.dtype).max):.4g}"
                )
            state[name] = on_device_of(data, state[name])
        return state

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {value}" for name, value in sorted(group.items()) if name != "params"]
        return "\n".join([*lines, ")"])
