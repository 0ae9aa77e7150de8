"""A copy of a model whose weights are averages of those that the model had."""

import copy
from collections.abc import Iterable
from typing import Any, TypeAlias

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train._checks import check_is
from rondeau.train.optim._averaging import Average, MultiAverage, get_swa_avg_fn

Pair: TypeAlias = tuple[rt.Tensor, rt.Tensor]


class AveragedModel(nn.Module):
    """A copy of a model with averaged weights, for stochastic weight averaging and exponential moving averages.

    The first `update_parameters` copies the weights, each further one takes them into the average. Of a model with
    batch normalisation, either average the running statistics too (`use_buffers`), or compute them for the averaged
    weights at the end (`update_bn`).

    Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization" (arXiv:1803.05407);
    Polyak and Juditsky 1992.

    Parameters
    ----------
    model : Module
        It is copied.
    device : device_like, optional
        Where the copy is.
    avg_fn : callable, optional
        ``(averaged, current, num_averaged) -> averaged``, of one tensor, such as `get_ema_avg_fn` returns. Default: the
        plain mean, `get_swa_avg_fn`.
    multi_avg_fn : callable, optional
        The same of lists of tensors of one dtype, changed in their place, such as `get_ema_multi_avg_fn` returns.
    use_buffers : bool
        Average the buffers too. Otherwise they are copied from the model.

    Attributes
    ----------
    module : Module
        The copy.
    n_averaged : Tensor
        The number of updates.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If both `avg_fn` and `multi_avg_fn` are given.

    Notes
    -----
    ``state_dict()`` has the names of the model after ``"module."``, and ``n_averaged``, as PyTorch's; the averaging
    function is no part of it.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> from rondeau.train.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    >>> model = nn.Linear(2, 1)
    >>> averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    >>> for value in (1.0, 5.0):
    ...     _ = nn.init.constant_(model.weight, value)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight
    Parameter containing:
    tensor([[2., 2.]], requires_grad=True)
    >>> list(averaged.state_dict())
    ['n_averaged', 'module.weight', 'module.bias']
    """

    n_averaged: rt.Tensor

    def __init__(
        self,
        model: nn.Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        check_is("model", model, nn.Module)
        check_is("use_buffers", use_buffers, bool)
        for name, function in (("avg_fn", avg_fn), ("multi_avg_fn", multi_avg_fn)):
            if function is not None and not callable(function):
                raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("avg_fn, multi_avg_fn: expected one of them at most, got both")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", rt.tensor(0, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers
        self._counted: tuple[int, int] | None = None  # the version of n_averaged after an update of ours

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the copy."""
        return self.module(*args, **kwargs)

    @rt.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the weights of a model into the average.

        Parameters
        ----------
        model : Module
            The one that was copied, or one of its kind.

        Raises
        ------
        TypeError
            If it is not a module.
        ValueError
            If its parameters or buffers have other names, shapes or dtypes than those of the copy. Nothing has changed
            then.
        """
        parameters, buffers = self._pairs(model)
        averages, copied = (parameters + buffers, []) if self.use_buffers else (parameters, buffers)
        if self._is_empty():
            copied = parameters + buffers
        elif self.multi_avg_fn is not None:
            for dtype in {mine.dtype: None for mine, _ in averages}:
                averaged_ones, current_ones = zip(*(p for p in averages if p[0].dtype == dtype), strict=True)
                self.multi_avg_fn(averaged_ones, current_ones, self.n_averaged)
        else:
            average = self.avg_fn or get_swa_avg_fn()
            for averaged, current in averages:
                averaged.copy_(average(averaged, current, self.n_averaged))
        for mine, current in copied:
            mine.copy_(current)
        self.n_averaged.add_(1)
        self._counted = self._version()

    def _is_empty(self) -> bool:
        """Return whether there has been no update, without reading it from a GPU after one of this object."""
        return self._counted != self._version() and int(self.n_averaged) == 0

    def _version(self) -> tuple[int, int]:
        """Return what changes whenever `n_averaged` is assigned or written."""
        memory = self.n_averaged._memory
        return id(self.n_averaged._array), 0 if memory is None else memory.changed

    def _pairs(self, model: nn.Module) -> tuple[list[Pair], list[Pair]]:
        """Return the parameters, and the buffers, of the copy with those of a model that is checked to be like it."""
        check_is("model", model, nn.Module)
        members = []
        for named in (nn.Module.named_parameters, nn.Module.named_buffers):
            mine: dict[str, rt.Tensor] = dict(named(self.module))
            others: dict[str, rt.Tensor] = dict(named(model))
            for name in mine | others:
                here, there = _described(mine.get(name)), _described(others.get(name))
                if here != there:
                    raise ValueError(
                        f"the averaged model is of another model: its {name} is {here}, the model's is {there}"
                    )
            members.append([(mine[name], others[name]) for name in mine])
        parameters, buffers = members
        return parameters, buffers

    def check_fits(self, model: nn.Module) -> None:
        """Raise TypeError or ValueError unless a model is like the copy, so that it can be taken into the average."""
        self._pairs(model)


def _described(tensor: rt.Tensor | None) -> str:
    return "none" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"


@rt.no_grad()
def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Compute the running statistics of a model's batch normalisation from the batches of one pass.

    Parameters
    ----------
    loader : iterable
        Batches: a tensor or array, or a tuple or list that begins with one; the model is called with it.
    model : Module
        Such as an `AveragedModel`. It stays in the mode, training or evaluation, in which it is.
    device : device_like, optional
        Where the batches are moved to.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> model = nn.BatchNorm1d(1)
    >>> update_bn([rt.tensor([[0.0], [4.0]]), rt.tensor([[2.0], [10.0]])], model)
    >>> model.running_mean, model.running_var
    (tensor([4.]), tensor([20.]))
    """
    check_is("model", model, nn.Module)
    layers = [module for module in model.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    was_training = model.training
    model.train()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over batches
        for batch in loader:
            inputs = rt.as_tensor(batch[0] if isinstance(batch, (list, tuple)) else batch)
            model(inputs if device is None else inputs.to(device))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.train(was_training)
