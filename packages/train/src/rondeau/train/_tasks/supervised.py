"""`Supervised`: inputs and targets, and any loss of outputs and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train._checks import check_is
from rondeau.train._tasks.class_means import is_of_classes, sum_of_weights
from rondeau.train._tasks.task import (
    Mean,
    NothingCountsError,
    Score,
    Task,
    map_leaves,
    sent,
    tensors_of,
    value_of,
)

Metric = Callable[[NDArray[Any], NDArray[Any]], float]
_KEYS = ("inputs", "targets", "lengths", "mask")


class Parts(NamedTuple):
    """What a batch consists of.

    Attributes
    ----------
    inputs, targets : object
        Tensors, or nestings of them that the model and the loss understand.
    lengths : ndarray or None
        The length of each sequence, (B,).
    mask : ndarray or None
        Which targets count, of booleans.
    more : dict
        What else the batch has, for the model.
    """

    inputs: Any
    targets: Any
    lengths: Any
    mask: Any
    more: dict[str, Any]


class Measured(NamedTuple):
    """A batch's loss and its weight, and its outputs and targets where metrics need them."""

    value: rt.Tensor | float
    weight: float
    outcome: tuple[NDArray[Any], NDArray[Any]] | None


class Supervised(Task):
    """Training on pairs of inputs and targets.

    A batch is ``(inputs, targets)``, ``(inputs, targets, lengths)``, or a dict with ``"inputs"``, ``"targets"`` and,
    where it has them, ``"lengths"`` and ``"mask"``. The model is called as ``model(inputs)``; with ``lengths=``, and
    with every other entry of the dict as a keyword, where the batch has them. Arrays become tensors where the model is,
    those of floats of the dtype of its parameters; lengths and masks stay on the CPU.

    Parameters
    ----------
    loss : callable
        ``loss(outputs, targets) -> Tensor``, the mean over what it is given: a module such as `nn.CrossEntropyLoss`, or
        a function such as `nn.functional.mse_loss`. With a mask (B, ...), it is given only the outputs and targets that
        count, as (N, ...). Of `nn.CrossEntropyLoss` and its like, the targets of an ignored class do not count, and
        where classes have weights, batches count by the sum of those of their targets.
    metrics : mapping of str to callable, optional
        ``metric(outputs, targets) -> float`` by name, on the NumPy arrays of everything that is held out, as those of
        `rondeau.train.metrics`.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau import nn, tensor as rt, train
    >>> from rondeau.data import DataLoader, TensorDataset
    >>> from rondeau.train import metrics
    >>> class Classifier(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.rnn, self.head = nn.GRU(1, 16, batch_first=True), nn.Linear(16, 2)
    ...
    ...     def forward(self, x):
    ...         return self.head(self.rnn(x)[1][-1])
    >>> _ = rt.manual_seed(0)
    >>> x = np.random.default_rng(0).choice([-1.0, 1.0], (240, 6, 1))
    >>> pairs = TensorDataset(x, (x.sum((1, 2)) > 0).astype(int))
    >>> model = Classifier()
    >>> trainer = train.Trainer(
    ...     model,
    ...     train.optim.Adam(model.parameters(), lr=0.02),
    ...     DataLoader(pairs, 40, shuffle=True),
    ...     task=train.Supervised(nn.functional.cross_entropy, {"accuracy": metrics.accuracy}),
    ...     held_out=DataLoader(pairs, 80),
    ...     max_epochs=20,
    ... )
    >>> trainer.fit()
    >>> trainer.evaluation.metrics["accuracy"] > 0.95
    True
    """

    def __init__(
        self,
        loss: Callable[[rt.Tensor, rt.Tensor], rt.Tensor],
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        if not callable(loss):
            raise TypeError(f"loss: expected a function of outputs and targets, got {type(loss).__name__}")
        if isinstance(loss, nn.Module) and (kind := getattr(loss, "reduction", None)) in ("sum", "none"):
            raise ValueError(
                f"loss: expected one that returns a mean, of which those of several batches are made up, got "
                f"{type(loss).__name__} with reduction={kind!r}; a task of your own has another loss"
            )
        check_is("metrics", metrics if metrics is not None else {}, Mapping)
        for name, metric in (metrics or {}).items():
            if not callable(metric):
                raise TypeError(f"metrics[{name!r}]: expected a function, got {type(metric).__name__}")
        if "loss" in (metrics or {}):
            raise ValueError("metrics: expected another name than 'loss', which is that of the held-out loss")
        self.criterion = loss
        self.metrics = dict(metrics or {})

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[rt.Tensor, float, Any]:
        """Return the mean loss of a batch and how many targets count; nothing is carried."""
        outputs, targets = self.predict(model, batch)
        return self.criterion(outputs, targets), self._weight_of(batch, targets), None

    def evaluate(self, model: nn.Module, held_out: Any) -> Score:
        """Return the mean loss over batches, and the metrics of all outputs and targets together."""
        return self.score([self.measure(model, batch, None)[0] for batch in held_out])

    def measure(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Measured, None]:
        """Return the loss of a batch and its weight, and outputs and targets where there are metrics."""
        outputs, targets = self.predict(model, batch)
        value, weight = value_of(self.criterion(outputs, targets)), self._weight_of(batch, targets)
        if not self.metrics:
            return Measured(value, weight, None), None
        for name, part in (("outputs", outputs), ("targets", targets)):
            if not isinstance(part, rt.Tensor):
                raise TypeError(
                    f"metrics: expected {name} that are one tensor, got {type(part).__name__}; a task of your "
                    "own has metrics of others"
                )
        return Measured(value, weight, (as_array(outputs), as_array(targets))), None

    def score(self, measured: Sequence[Measured]) -> Score:
        """Return the mean loss, and the metrics of all outputs and targets together."""
        mean = Mean()
        for value, weight, _ in measured:
            mean.add(value, weight)
        kept = [outcome for _, _, outcome in measured if outcome is not None]
        if not kept:
            return Score(mean.value, mean.weight)
        outputs_of_all, targets_of_all = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        found = {
            name: _number(name, metric(outputs_of_all, targets_of_all))
            for name, metric in self.metrics.items()
        }
        return Score(mean.value, mean.weight, found)

    def predict(self, model: nn.Module, batch: Any) -> tuple[rt.Tensor, rt.Tensor]:
        """Return the outputs and targets of a batch that count."""
        parts = self.parts(model, batch)
        outputs = self.outputs(model, parts)
        if parts.mask is None:
            return outputs, parts.targets
        return self.select(outputs, parts.targets, parts.mask)

    def outputs(self, model: nn.Module, parts: Parts) -> rt.Tensor:
        """Return what the model makes of a batch."""
        lengths = {} if parts.lengths is None else {"lengths": parts.lengths}
        found: rt.Tensor = model(parts.inputs, **lengths, **parts.more)
        return found

    def weight(self, targets: rt.Tensor) -> float:
        """Return how much the targets of a batch count: how many there are, of a nesting in its first tensor."""
        return len(next(iter(tensors_of(targets)), targets))

    def _weight_of(self, batch: Any, targets: rt.Tensor) -> float:
        """Return the weight of a batch, given its targets as `predict` returns them."""
        kind = type(self)
        is_own = kind.predict is not Supervised.predict or kind.weight is not Supervised.weight
        if is_own or not is_of_classes(self.criterion):  # a subclass may choose what counts
            return self.weight(targets)
        # Of the batch as it came: what is on a GPU need not come back.
        given = self.entries(batch)[0]
        classes, mask = as_array(given["targets"]), given["mask"]
        if classes.dtype.kind == "f":  # probabilities
            return self.weight(targets)
        weight = sum_of_weights(self.criterion, classes if mask is None else classes[as_array(mask)])
        if not weight:
            raise NothingCountsError(
                "a batch in which nothing counts: its classes are ignored, or weigh nothing"
            )
        return weight

    def select(self, outputs: rt.Tensor, targets: rt.Tensor, mask: Any) -> tuple[rt.Tensor, rt.Tensor]:
        """Return the outputs and targets at which a mask is true, each (N, ...)."""
        chosen = as_array(mask)
        for name, tensor in (("outputs", outputs), ("targets", targets)):
            if chosen.dtype != np.bool_ or tuple(tensor.shape[: chosen.ndim]) != chosen.shape:
                raise ValueError(
                    f"mask: expected booleans of the first dimensions of the {name}, of shape {tuple(tensor.shape)}, "
                    f"got {chosen.dtype} of shape {chosen.shape}"
                )
        if not chosen.any():
            raise NothingCountsError("a batch in which nothing counts, by its mask")
        return outputs[chosen], targets[chosen]

    def parts(self, model: nn.Module, batch: Any) -> Parts:
        """Return what a batch consists of, with tensors in the place of arrays.

        Raises
        ------
        TypeError
            If it is not what the class says of batches.
        """
        given, more = self.entries(batch)
        dtype = next((p.dtype for p in model.parameters() if p.dtype.kind == "f"), np.dtype(np.float32))
        lengths = given["lengths"]
        return Parts(
            as_tensors(given["inputs"], dtype),
            as_tensors(given["targets"], dtype),
            None if lengths is None else as_array(lengths),
            given["mask"],
            {key: as_tensors(part, dtype) for key, part in more.items()},
        )

    def entries(self, batch: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the entries of a batch as they are: those that `Parts` names, and the others.

        Raises
        ------
        TypeError
            If it is not what the class says of batches.
        """
        if isinstance(batch, Mapping):
            if missing := [key for key in _KEYS[:2] if key not in batch]:
                raise TypeError(f"a batch: expected {missing[0]!r} in a dict, got one with {list(batch)}")
            given = {key: batch.get(key) for key in _KEYS}
            return given, {key: part for key, part in batch.items() if key not in _KEYS}
        if isinstance(batch, (tuple, list)) and len(batch) in (2, 3):
            return dict(zip(_KEYS, (*batch, None, None), strict=False)), {}
        size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise TypeError(
            f"a batch: expected (inputs, targets), (inputs, targets, lengths) or a dict, got {type(batch).__name__}"
            f"{size}; a task of your own reads others"
        )


def _number(name: str, found: Any) -> float:
    """Return what a metric returned as a number of Python."""
    try:
        return float(found)
    except (TypeError, ValueError):
        raise TypeError(f"metrics[{name!r}]: expected a number, got {type(found).__name__}") from None


def as_array(values: Any) -> NDArray[Any]:
    """Return a part of a batch, or an output, as an array on the CPU."""
    return np.asarray(values.detach().cpu().numpy() if isinstance(values, rt.Tensor) else values)


def as_tensors(value: Any, dtype: np.dtype[Any]) -> Any:
    """Do as `sent` does, with arrays of floats of another dtype converted to `dtype`."""

    def converted(leaf: Any) -> Any:
        is_float = isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f"
        return leaf.astype(dtype, copy=False) if is_float else leaf

    return sent(map_leaves(converted, value))
