"""Training that has diverged: numbers that are no longer finite."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.transfers import on_host


class DivergedError(RuntimeError):
    """A loss, gradient, weight or average of a training, or what a model predicts, is no longer a finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau import data, nn, tensor as rt, train
    >>> model = nn.LanguageModel(vocab_size=3, recurrent="gru", hidden_size=8)
    >>> model.head.bias.data[0] = np.nan
    >>> batches = data.SequentialBatches(data.TokenStream([0, 1, 2] * 40), 2, 5)
    >>> trainer = train.Trainer(model, train.optim.SGD(model.parameters(), lr=0.1), batches, max_steps=1)
    >>> try:
    ...     trainer.fit()
    ... except train.DivergedError as error:
    ...     print(str(error).partition(":")[0])
    the loss became nan at step 1, with learning rate 0.1
    """


def first_not_finite(arrays: Iterable[tuple[str, NDArray[Any]]]) -> tuple[str, float] | None:
    """Return the name of the first array that holds NaN or infinity, and which; None if all are finite.

    Examples
    --------
    >>> import numpy as np
    >>> first_not_finite([("w", np.ones(3)), ("b", np.array([0.0, -np.inf]))])
    ('b', -inf)
    """
    there: list[tuple[str, Any]] = []
    for name, array in arrays:
        if array.dtype.kind != "f" or not array.size:
            continue
        # NaN is both the smallest and the largest. Two passes, and no array of flags.
        extremes = array.min(), array.max()
        if is_of_device(array):
            there += [(name, extreme.astype(np.float64)) for extreme in extremes]
            continue
        for extreme in map(float, extremes):
            if not math.isfinite(extreme):
                return name, extreme
    if not there:
        return None
    values = on_host(np.stack([extreme for _, extreme in there])).tolist()  # one transfer for all of them
    return next(((name, v) for (name, _), v in zip(there, values, strict=True) if not math.isfinite(v)), None)
