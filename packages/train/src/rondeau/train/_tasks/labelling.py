"""`SequenceLabelling`: a class for every step of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train import metrics as metrics_of_classes
from rondeau.train._checks import check_integer
from rondeau.train._tasks.supervised import Metric, Supervised, as_array
from rondeau.train._tasks.task import NothingCountsError


class SequenceLabelling(Supervised):
    """Training on sequences with a class for each step, as in tagging.

    Batches are those of `Supervised`, with targets (B, T). The model returns logits (B, T, C). Steps past the length of
    a sequence, those that the mask leaves out, and those of the class `ignore_index` do not count.

    Parameters
    ----------
    metrics : mapping of str to callable, optional
        ``metric(logits (N, C), classes (N,)) -> float`` on all steps that count. Default: ``accuracy``.
    ignore_index : int
        The class of steps that do not count.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau import nn, tensor as rt, train
    >>> from rondeau.data import DataLoader, TensorDataset
    >>> class Tagger(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.rnn, self.head = nn.RNN(1, 16, batch_first=True), nn.Linear(16, 2)
    ...
    ...     def forward(self, x, lengths):
    ...         return self.head(self.rnn(x, lengths=lengths)[0])
    >>> _ = rt.manual_seed(0)
    >>> x = np.random.default_rng(0).choice([-1.0, 1.0], (100, 8, 1))
    >>> parity = (np.cumsum(x[:, :, 0] > 0, axis=1) % 2).astype(int)  # of the ones so far
    >>> sequences = TensorDataset(x, parity, np.arange(100) % 8 + 1)
    >>> model = Tagger()
    >>> trainer = train.Trainer(
    ...     model,
    ...     train.optim.Adam(model.parameters(), lr=0.02),
    ...     DataLoader(sequences, 25, shuffle=True),
    ...     task=train.SequenceLabelling(),
    ...     held_out=DataLoader(sequences, 50),
    ...     max_epochs=60,
    ... )
    >>> trainer.fit()
    >>> trainer.evaluation.metrics["accuracy"] > 0.9
    True
    """

    unit = "steps"

    def __init__(self, metrics: Mapping[str, Metric] | None = None, *, ignore_index: int = -100) -> None:
        check_integer("ignore_index", ignore_index, -(2**63))
        default = {"accuracy": metrics_of_classes.accuracy}
        super().__init__(nn.functional.cross_entropy, default if metrics is None else metrics)
        self.ignore_index = ignore_index

    def predict(self, model: nn.Module, batch: Any) -> tuple[rt.Tensor, rt.Tensor]:
        """Return the logits (N, C) and classes (N,) of the steps that count."""
        parts = self.parts(model, batch)
        logits, targets = self.outputs(model, parts), parts.targets
        if logits.ndim != 3 or tuple(logits.shape[:2]) != tuple(targets.shape):
            raise ValueError(
                f"expected logits (B, T, C) of targets (B, T), got {tuple(logits.shape)} and {tuple(targets.shape)}"
            )
        # Of the batch as it came: what is on a GPU need not come back.
        counts = as_array(self.entries(batch)[0]["targets"]) != self.ignore_index
        if parts.mask is not None:
            mask = as_array(parts.mask)
            if mask.dtype != np.bool_ or mask.shape not in (counts.shape, counts.shape[:1]):
                raise ValueError(
                    f"mask: expected booleans of shape {counts.shape}, or {counts.shape[:1]} for whole sequences, got "
                    f"{mask.dtype} of shape {mask.shape}"
                )
            counts &= mask if mask.ndim == 2 else mask[:, None]
        if parts.lengths is not None:
            lengths = parts.lengths
            if lengths.shape != counts.shape[:1] or lengths.dtype.kind not in "iu":
                raise ValueError(
                    f"lengths: expected integers of shape {counts.shape[:1]}, got {lengths.dtype} of shape "
                    f"{lengths.shape}"
                )
            counts &= np.arange(counts.shape[1]) < lengths[:, None]
        if not counts.any():
            raise NothingCountsError(
                "a batch without a step that counts: by its lengths, mask and ignored classes"
            )
        return self.select(logits, targets, counts)
