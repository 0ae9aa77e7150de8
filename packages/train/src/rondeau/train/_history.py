"""The metrics of a run in memory, as curves to draw."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.train._callback import Callback, Row
from rondeau.train._trainer import Trainer


class History(Callback):
    """Keeps the rows of metrics of this process.

    Attributes
    ----------
    rows : list of dict
        One for every `log_every` steps and every evaluation: ``step``, ``epoch``, ``tokens``, ``train_loss`` (the mean
        since the row before), ``lr``, ``seconds``; ``grad_norm`` (the mean before clipping) with `clip_norm`;
        ``held_out_loss`` and ``held_out_perplexity`` in rows of an evaluation.

    Examples
    --------
    >>> from rondeau import data, nn, tensor as rt, train
    >>> _ = rt.manual_seed(0)
    >>> tokens = data.TokenStream([0, 1, 2] * 40)
    >>> model = nn.LanguageModel(vocab_size=3, recurrent="gru", hidden_size=8)
    >>> optimizer = train.optim.Adam(model.parameters(), lr=0.05)
    >>> history = train.History()
    >>> batches = data.SequentialBatches(tokens, 2, 5)
    >>> train.Trainer(model, optimizer, batches, max_steps=40, log_every=10, callbacks=[history]).fit()
    >>> steps, losses = history.curve("train_loss")
    >>> steps
    array([10, 20, 30, 40])
    >>> bool((np.diff(losses) < 0).all())
    True
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def on_row(self, trainer: Trainer, row: Row) -> None:
        """Keep the row."""
        self.rows.append(row)

    def curve(self, column: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the steps of the rows that hold a column, and its values there.

        Parameters
        ----------
        column : str
            Such as ``"train_loss"`` or ``"held_out_perplexity"``.

        Returns
        -------
        tuple of two ndarrays of shape (N,)
            Made for ``axes.plot(*history.curve("train_loss"))``.

        Raises
        ------
        KeyError
            If no row holds it.
        """
        points = [(row["step"], row[column]) for row in self.rows if column in row]
        if not points:
            there = ", ".join(sorted({name for row in self.rows for name in row})) or "no rows yet"
            raise KeyError(f"no row of metrics holds {column!r}; there: {there}")
        steps, values = zip(*points, strict=True)
        return np.array(steps, dtype=np.int64), np.array(values)
