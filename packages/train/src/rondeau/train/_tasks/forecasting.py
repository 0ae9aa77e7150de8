"""`Forecasting`: the next values of a series, as one number each or as quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train._checks import Interval, check_integer, check_number, checked_list
from rondeau.train._tasks.supervised import Supervised

_LEVEL = Interval("a number in (0, 1)", 0, 1, includes_low=False, includes_high=False)


class Forecasting(Supervised):
    """Training on windows of a series and the values that follow.

    Batches are those of `Supervised`: inputs (B, T, I), targets (B, horizon) or (B, horizon, D). What is known of the
    future (a calendar, a plan) is an entry of a dict, ``"covariates"`` (B, horizon, K), which the model takes as a
    keyword. The model returns forecasts of the targets' shape, with quantiles one dimension more, (..., Q).

    Parameters
    ----------
    horizon : int
        How many steps ahead are forecast.
    quantiles : sequence of float, optional
        Levels in (0, 1), ascending. The loss is then the mean pinball loss over all levels, which is least at the
        quantiles of what may follow (Koenker, Bassett, "Regression quantiles", 1978). Default: the mean square error.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau import nn, tensor as rt, train
    >>> from rondeau.data import DataLoader, TensorDataset
    >>> class Forecaster(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.rnn, self.head = nn.GRU(1, 16, batch_first=True), nn.Linear(16, 4 * 3)
    ...
    ...     def forward(self, x):
    ...         return self.head(self.rnn(x)[1][-1]).reshape(-1, 4, 3)
    >>> _ = rt.manual_seed(0)
    >>> wave = np.sin(np.arange(300) / 4)
    >>> windows = np.lib.stride_tricks.sliding_window_view(wave, 24)
    >>> pairs = TensorDataset(windows[:, :20, None], windows[:, 20:])
    >>> model = Forecaster()
    >>> trainer = train.Trainer(
    ...     model,
    ...     train.optim.Adam(model.parameters(), lr=0.01),
    ...     DataLoader(pairs, 32, shuffle=True),
    ...     task=train.Forecasting(4, quantiles=(0.1, 0.5, 0.9)),
    ...     held_out=DataLoader(pairs, 64),
    ...     max_epochs=15,
    ... )
    >>> trainer.fit()
    >>> trainer.evaluation.metrics["mae"] < 0.1
    True
    """

    def __init__(self, horizon: int, quantiles: Sequence[float] | None = None) -> None:
        check_integer("horizon", horizon, 1)
        levels = None
        if quantiles is not None:
            levels = checked_list("quantiles", quantiles, "levels")
            for i, level in enumerate(levels):
                check_number(f"quantiles[{i}]", level, _LEVEL)
            if not levels or sorted(set(levels)) != levels:
                raise ValueError(f"quantiles: expected ascending levels, got {levels}")
        self.horizon, self.quantiles = horizon, levels
        super().__init__(self._squares if levels is None else self._pinball, {"mae": self._mae})

    def predict(self, model: nn.Module, batch: Any) -> tuple[rt.Tensor, rt.Tensor]:
        """Return the forecasts and targets of a batch that count, after a check of their shapes."""
        parts = self.parts(model, batch)
        outputs, targets = self.outputs(model, parts), parts.targets
        if targets.ndim < 2 or targets.shape[1] != self.horizon:
            raise ValueError(
                f"expected targets (B, {self.horizon}) or (B, {self.horizon}, D), got {tuple(targets.shape)}"
            )
        levels = () if self.quantiles is None else (len(self.quantiles),)
        if tuple(outputs.shape) != (*targets.shape, *levels):
            raise ValueError(
                f"expected forecasts of shape {(*targets.shape, *levels)}, got {tuple(outputs.shape)}"
            )
        return (outputs, targets) if parts.mask is None else self.select(outputs, targets, parts.mask)

    def _squares(self, outputs: rt.Tensor, targets: rt.Tensor) -> rt.Tensor:
        return nn.functional.mse_loss(outputs, targets)

    def _pinball(self, outputs: rt.Tensor, targets: rt.Tensor) -> rt.Tensor:
        """Return the mean of ``max(q (y - f), (q - 1) (y - f))``."""
        levels = rt.tensor(self.quantiles, dtype=outputs.dtype, device=outputs.device)
        short = targets.unsqueeze(-1) - outputs
        return rt.maximum(levels * short, (levels - 1) * short).mean()

    def _mae(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the mean absolute error, of the quantile nearest to the median."""
        if self.quantiles is not None:
            nearest = min(range(len(self.quantiles)), key=lambda i: abs(self.quantiles[i] - 0.5))  # type: ignore[index]
            outputs = outputs[..., nearest]
        error = np.abs(outputs.astype(np.float64) - targets)
        return float(error.mean()) if error.size else math.nan
