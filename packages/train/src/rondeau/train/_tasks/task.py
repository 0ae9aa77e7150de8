"""`Task`: what a trainer asks of a kind of model, and `Score`, what an evaluation comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train._checks import AT_LEAST_ZERO, check_is, check_number
from rondeau.train._readings import numbers_of

if TYPE_CHECKING:
    from rondeau.train.parallel._shards import Shards


class NothingCountsError(ValueError):
    """A batch in which nothing counts, by its mask or otherwise."""


@dataclass(frozen=True)
class Score:
    """What an evaluation comes to.

    Attributes
    ----------
    loss : float
        The mean over everything that counts.
    weight : float
        How much that was: samples, steps or tokens, as the task says.
    metrics : dict of str to float

    Examples
    --------
    >>> Score(0.25, 100, {"accuracy": 0.9}).columns()
    {'held_out_loss': 0.25, 'held_out_accuracy': 0.9}
    """

    loss: float
    weight: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def columns(self) -> dict[str, float]:
        """Return the columns of a row of metrics; what is not finite, which JSON lacks, is left out."""
        columns = {"loss": self.loss, **self.metrics}
        return {f"held_out_{name}": float(value) for name, value in columns.items() if math.isfinite(value)}

    def headline(self) -> str:
        """Return what a line of progress says."""
        named = {"loss": self.loss, **self.metrics}
        return ", ".join(f"held-out {name} {value:.4g}" for name, value in named.items())


class Scored(Protocol):
    """What a trainer asks of a score: a `Score`, or an `Evaluation` of tokens."""

    @property
    def loss(self) -> float:
        """The mean loss, by which evaluations are compared."""

    def columns(self) -> dict[str, float]:
        """Return the columns of a row of metrics."""

    def headline(self) -> str:
        """Return what a line of progress says."""


class Task:
    """What a step of training and an evaluation are; a subclass defines `loss`, and may define the rest.

    While they are computed, the model's device is the default device: what ``rt.tensor`` makes of a batch is there.
    `sent` does the same for a nesting without a copy on the CPU.

    Attributes
    ----------
    unit : str
        What the weight of a batch counts, as rows of metrics call it: ``"tokens"``, ``"samples"``.

    Examples
    --------
    A model with two heads:

    >>> import numpy as np
    >>> from rondeau import nn, tensor as rt, train
    >>> from rondeau.data import DataLoader, TensorDataset
    >>> class TwoHeads(train.Task):
    ...     def loss(self, model, batch, carry):
    ...         inputs, size, sign = (rt.tensor(part) for part in batch)
    ...         outputs = model(inputs)
    ...         squares = nn.functional.mse_loss(outputs[:, 0], size)
    ...         crosses = nn.functional.binary_cross_entropy_with_logits(outputs[:, 1], sign)
    ...         return squares + crosses, len(inputs), None
    >>> _ = rt.manual_seed(0)
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> batches = DataLoader(TensorDataset(x, abs(x[:, 0]), np.float32(x[:, 0] > 0)), 16, shuffle=True)
    >>> model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2))
    >>> optimizer = train.optim.Adam(model.parameters(), lr=0.05)
    >>> trainer = train.Trainer(model, optimizer, batches, task=TwoHeads(), held_out=batches, max_epochs=40)
    >>> trainer.fit()
    >>> trainer.evaluation.loss < 0.2
    True
    """

    unit = "samples"

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[rt.Tensor, float, Any]:
        """Return the mean loss of a batch, its weight, and what the next batch of the epoch is to be given.

        Parameters
        ----------
        model : Module
        batch : object
            As the batches yield it.
        carry : object
            What the batch before returned, detached; None for the first of an epoch.

        Returns
        -------
        loss : Tensor
            A number.
        weight : float
            How much the batch counts in means over batches: how many samples, steps or tokens it has. 0 for nothing.
        carry : object
            None, a tensor, or a tuple, list or dict of them.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(model, batch, carry)")

    def evaluate(self, model: nn.Module, held_out: Any) -> Scored:
        """Return the score of a model, which is in evaluation and records no gradients meanwhile.

        Parameters
        ----------
        model : Module
        held_out : object
            What the trainer was given; by default an iterable of batches, of which the mean loss is taken.
        """
        measured, carry = [], None
        for batch in held_out:
            found, carry = self.measure(model, batch, carry)
            measured.append(found)
        return self.score(measured)

    def measure(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Any, Any]:
        """Return what `score` needs to know of a batch, and what the next is to be given.

        Whatever is on the CPU may be sent to another process.
        """
        loss, weight, carry = checked_loss(self.loss(model, batch, carry))
        return (value_of(loss), weight), carry

    def score(self, measured: Sequence[Any]) -> Scored:
        """Return the score, from what `measure` returned for all batches."""
        mean = Mean()
        for value, weight in measured:
            mean.add(value, weight)
        return Score(mean.value, mean.weight)

    def measure_shards(
        self, model: nn.Module, held_out: Any, shards: Shards, draws: Sequence[rt.Generator]
    ) -> list[Any]:
        """Return what `score_shards` needs to know of each shard of this rank.

        Parameters
        ----------
        model : Module
        held_out : object
        shards : Shards
        draws : sequence of Generator
            What each of them draws from.
        """
        measured: list[list[Any]] = [[] for _ in shards.own]
        carried: list[Any] = [None for _ in shards.own]
        for parts in shards.cut(held_out):
            for i, (part, draw) in enumerate(zip(parts, draws, strict=True)):
                found = None
                if part is not None:
                    with draw.as_default(), suppress(NothingCountsError):
                        found, carried[i] = self.measure(model, part, carried[i])
                measured[i].append(found)
        return measured

    def score_shards(self, model: nn.Module, held_out: Any, measured: Sequence[Any]) -> Scored:
        """Return the score, from what `measure_shards` returned for all shards."""
        batches = zip(*measured, strict=True)
        return self.score([found for batch in batches for found in batch if found is not None])

    def first_carry(self, model: nn.Module, batches: Any) -> Any:
        """Return a carry like those of these batches, to check the one of a checkpoint against; None if unknown."""
        return None


def checked_loss(found: Any) -> tuple[rt.Tensor, float, Any]:
    """Return what `Task.loss` returned, the weight as a number of Python.

    Raises
    ------
    TypeError, ValueError
        If it is something else.

    Examples
    --------
    >>> checked_loss((rt.tensor(0.5), np.int64(3), None))
    (tensor(0.5), 3, None)
    """
    if not isinstance(found, tuple) or len(found) != 3:
        raise TypeError(f"a task's loss: expected (loss, weight, carry), got {type(found).__name__}")
    loss, weight, carry = found
    check_is("the loss that a task returns", loss, rt.Tensor)
    if isinstance(weight, rt.Tensor):
        weight = weight.item() if weight.numel() == 1 else weight.tolist()
    if isinstance(weight, (np.ndarray, np.generic)) and weight.size == 1:
        weight = weight.item()
    check_number("the weight of a batch", weight, AT_LEAST_ZERO)
    return loss, weight, carry


def evaluates_batch_by_batch(kind: type[Task]) -> bool:
    """Return whether `Task.evaluate` of a class does what its `measure_shards` and `score_shards` do.

    Examples
    --------
    >>> class Whole(Task):
    ...     def evaluate(self, model, held_out):
    ...         return Score(0.0, 1)
    >>> evaluates_batch_by_batch(Task), evaluates_batch_by_batch(Whole)
    (True, False)
    """
    parts = {"measure", "score", "measure_shards", "score_shards"}
    return next(bool(parts & vars(c).keys()) for c in kind.__mro__ if (parts | {"evaluate"}) & vars(c).keys())


def value_of(loss: rt.Tensor | float) -> rt.Tensor | float:
    """Return the number of a loss; of one on a GPU, a tensor that stays there."""
    if not isinstance(loss, rt.Tensor):
        return loss
    value: rt.Tensor | float = loss.detach() if loss.is_cuda else loss.item()
    return value


class Mean:
    """A weighted mean. Numbers on a GPU stay there until the mean is asked for.

    Examples
    --------
    >>> mean = Mean()
    >>> mean.add(1.0, 3)
    >>> mean.add(5.0, 1)
    >>> mean.value
    2.0
    """

    def __init__(self) -> None:
        self._terms: list[float] = []
        self._unread: list[tuple[rt.Tensor, float]] = []
        self.weight: float = 0

    def add(self, value: rt.Tensor | float, weight: float) -> None:
        """Add a value."""
        if isinstance(value, rt.Tensor) and value.is_cuda:
            self._unread.append((value.detach(), weight))
        else:
            self._terms.append((value.item() if isinstance(value, rt.Tensor) else value) * weight)
        self.weight += weight

    @property
    def value(self) -> float:
        """The mean of what was added; NaN of nothing."""
        unread, self._unread = self._unread, []
        values = numbers_of([value for value, _ in unread])
        self._terms += [value * weight for value, (_, weight) in zip(values, unread, strict=True)]
        return math.fsum(self._terms) / self.weight if self.weight else math.nan


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout and the recording of gradients off, and afterwards back to what they were.

    Meanwhile the model's device is the default device.
    """
    training = model.training
    model.eval()
    try:
        with rt.no_grad(), device_of(model):
            yield
    finally:
        model.train(training)


def device_of(model: nn.Module) -> rt.device:
    """Return the device of a model: that of its first parameter or buffer, and else the default device.

    Examples
    --------
    >>> device_of(nn.Linear(2, 1))
    device(type='cpu')
    """
    found = next(chain(model.parameters(), model.buffers()), None)
    return rt.get_default_device() if found is None else found.device


def sent(value: Any) -> Any:
    """Return the parts of a batch on the default device: arrays become tensors, tensors move, all else stays.

    On the CPU a tensor shares the memory of its array. A copy from pinned memory, as `DataLoader(pin_memory=True)`
    yields, is not waited for; that memory must not be written before the step is done.

    Examples
    --------
    >>> sent({"inputs": np.zeros((2, 3)), "names": ["a", "b"]})["inputs"].shape
    (2, 3)
    """
    device = rt.get_default_device()

    def send(leaf: Any) -> Any:
        tensor = rt.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf
        return tensor.to(device=device, non_blocking=True) if isinstance(tensor, rt.Tensor) else leaf

    return map_leaves(send, value)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply `function` to everything in a nesting of tuples, named ones too, lists and dicts."""
    if isinstance(value, dict):
        return {key: map_leaves(function, part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [map_leaves(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return function(value)


def map_tensors(function: Callable[[rt.Tensor], Any], value: Any) -> Any:
    """Apply `function` to every tensor in a nesting; all else stays."""
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, rt.Tensor) else leaf, value)


def tensors_of(value: Any) -> list[rt.Tensor]:
    """Return the tensors in a nesting, in order."""
    found: list[rt.Tensor] = []
    map_tensors(found.append, value)
    return found


def sent_ids(ids: NDArray[np.int64]) -> Any:
    """Return ids for a model: the array itself on the CPU, as models have it there, and else a tensor of `sent`."""
    return ids if rt.get_default_device() == "cpu" else sent(ids)


def check_carried(carried: Any, first: Any) -> None:
    """Raise ValueError unless what is carried, if anything is, is like what the task says it begins with."""
    if carried is None or first is None:
        return
    wanted, found = (
        [(tensor.shape, tensor.dtype) for tensor in tensors_of(state)] for state in (first, carried)
    )
    if wanted != found:
        raise ValueError(f"the carried state: expected shapes and dtypes {wanted}, got {found}")


def check_batches(name: str, batches: Any) -> None:
    """Raise TypeError unless something can be iterated over again and again."""
    if not isinstance(batches, Iterable):
        raise TypeError(f"{name}: expected batches, such as a DataLoader, got {type(batches).__name__}")
    if isinstance(batches, Iterator):
        raise TypeError(
            f"{name}: expected batches that can be iterated over once an epoch, got {type(batches).__name__}, which "
            "one loop uses up; give a list or a DataLoader"
        )
