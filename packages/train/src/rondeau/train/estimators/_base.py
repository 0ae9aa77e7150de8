"""What all estimators share: their parameters, their network, and its training by `Trainer`."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted, validate_data

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train import optim
from rondeau.train._checks import (
    ABOVE_ZERO_OR_INFINITE,
    AT_LEAST_ZERO,
    Interval,
    check_flag,
    check_integer,
    check_number,
    check_real,
)
from rondeau.train._diverged import DivergedError
from rondeau.train._tasks.supervised import Supervised, as_tensors
from rondeau.train._tasks.task import evaluating
from rondeau.train._trainer import Trainer
from rondeau.train.estimators._randomness import Randomness
from rondeau.train.estimators._sequences import (
    Sequences,
    as_float32,
    as_steps,
    checked_lengths,
    listed,
    padded,
)
from rondeau.train.estimators._shuffled import Rows, Samples, Shuffled, in_order
from rondeau.train.estimators._watch import Watch

_FRACTION = Interval("a number in (0, 1)", 0, 1, includes_low=False, includes_high=False)


class RecurrentEstimator(BaseEstimator, metaclass=ABCMeta):  # type: ignore[misc]
    """Parameters, network and training of every estimator."""

    # The parameters on which the shapes of the weights depend.
    _SHAPING: tuple[str, ...] = ("cell", "hidden_size", "num_layers", "bidirectional")

    _optimizer: optim.Adam
    _has_features: bool  # whether X was (n, T, I) or a list, in the first fit
    _width: int  # features of a step

    def __init__(
        self,
        cell: Any = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        epochs: int = 50,
        batch_size: int = 32,
        lr: float = 0.01,
        max_norm: float = 1.0,
        random_state: Any = None,
        *,
        verbose: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        device: str = "cpu",
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.max_norm = max_norm
        self.random_state = random_state
        self.verbose = verbose
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    @abstractmethod
    def _new_model(self, width: int, num_outputs: int) -> nn.Module:
        """Return a network of sequences with `width` features a step."""

    @abstractmethod
    def _task(self) -> Supervised:
        """Return what a step of training is; its metric ``"score"`` validates, or where it has none, minus its loss."""

    def _split(self, samples: Samples, orders: np.random.RandomState) -> tuple[Rows, Rows]:
        """Return which samples are trained on and which validate."""
        train, validation = train_test_split(
            np.arange(len(samples)), test_size=self.validation_fraction, random_state=orders
        )
        return train, validation

    def _goes_on(self, incremental: bool) -> bool:
        """Return whether a fit goes on from the weights that there are, after a check that they fit the parameters."""
        if not (hasattr(self, "model_") and (incremental or self.warm_start)):
            return False
        for name, was in self._made_with.items():
            if not np.array_equal(getattr(self, name), was):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, and the weights were made with {was!r}: go on with that, or "
                    "fit again with warm_start=False"
                )
        return True

    def _train(self, samples: Samples, width: int, num_outputs: int, incremental: bool) -> None:
        """Train for `epochs`, or for one more where it is incremental."""
        self._check_parameters(incremental)
        goes_on = self._goes_on(incremental)
        if not goes_on:
            self._randomness = Randomness(self.random_state)
            self.loss_curve_: list[float] = []
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        with self._randomness.used() as orders:
            rows, validation = self._divided(samples, orders)
            if not goes_on:
                self._made_with = {name: getattr(self, name) for name in self._SHAPING}
                self.model_ = self._new_model(width, num_outputs)
            if goes_on and incremental:
                self._optimizer.param_groups[0]["lr"] = self.lr  # which may have been changed in between
            else:
                self._optimizer = optim.Adam(self.model_.parameters(), lr=self.lr)
            patience = math.inf if incremental else self.n_iter_no_change
            watch = Watch(patience, self.tol, bool(self.verbose))
            trainer = Trainer(
                self.model_,
                self._optimizer,
                Shuffled(samples, rows, self.batch_size, orders),
                task=self._task(),
                held_out=None if validation is None else in_order(samples, validation),
                device=self.device,
                max_epochs=1 if incremental else self.epochs,
                clip_norm=self.max_norm,
                log_every=1,
                callbacks=[watch],
            )
            try:
                trainer.fit()
            except DivergedError as error:
                raise DivergedError(
                    f"{error}: here lr, which is {self.lr:g}, and max_norm, {self.max_norm:g}"
                ) from error
        self.n_iter_ = trainer.epoch
        self.loss_curve_ += watch.losses
        if self.early_stopping:
            self.validation_scores_ = [*(self.validation_scores_ or []), *watch.scores]
            self.best_validation_score_ = watch.best_score

    def _divided(self, samples: Samples, orders: np.random.RandomState) -> tuple[Rows, Rows | None]:
        """Return which samples are trained on, and which validate if there is early stopping.

        Raises
        ------
        ValueError
            If one part is too small.
        """
        if not self.early_stopping:
            return np.arange(len(samples)), None
        rows, validation = self._split(samples, orders)
        share = f"validation_fraction {self.validation_fraction:g} of {len(samples)} samples"
        if len(validation) < 2:
            raise ValueError(f"early_stopping: {share} is {len(validation)}, and a score needs 2: raise it")
        if not len(rows):
            raise ValueError(f"early_stopping: {share} leaves none to train on: lower it")
        return rows, validation

    def _check_parameters(self, incremental: bool) -> None:
        for name in ("epochs", "batch_size", "n_iter_no_change"):
            check_integer(name, getattr(self, name), 1)
        check_number("max_norm", self.max_norm, ABOVE_ZERO_OR_INFINITE)
        check_number("tol", self.tol, AT_LEAST_ZERO)
        check_number("validation_fraction", self.validation_fraction, _FRACTION)
        for name in ("early_stopping", "warm_start", "bidirectional"):
            check_flag(name, getattr(self, name))
        if not isinstance(self.verbose, bool | np.bool_):  # scikit-learn's may be an integer
            check_real("verbose", self.verbose)
        rt.device(self.device)
        if incremental and self.early_stopping:
            raise ValueError(
                "partial_fit makes one pass, so that there is nothing to stop early: early_stopping=False"
            )

    def _recurrent(self, width: int) -> nn.Recurrent:
        return nn.Recurrent(
            self._found_cell(),
            width,
            self.hidden_size,
            self.num_layers,
            batch_first=True,
            bidirectional=self.bidirectional,
        )

    def _found_cell(self) -> Any:
        found = self.cell
        if isinstance(found, str):
            found = getattr(nn.cells, found) if found in nn.cells.__all__ else None
        if found is None:
            raise ValueError(
                f"cell expected one of {', '.join(nn.cells.__all__)}, or a cell; got {self.cell!r}"
            )
        if getattr(found, "inputs", None):
            raise ValueError(
                f"cell expected one that reads X alone, got {found.name}, which needs its inputs "
                f"{', '.join(found.inputs)}: train an nn.Recurrent of it, to which they can be passed"
            )
        return found

    def _sequences_to_fit(
        self, X: Any, y: Any, lengths: Any, goes_on: bool, **checks: Any
    ) -> tuple[Sequences, NDArray[Any]]:
        """Return sequences and a target for each; `checks` are those of scikit-learn's ``validate_data`` for y."""
        rows = listed("X", X)
        if rows is None:
            array, y = validate_data(self, y=y, **self._checks_of_array(X, goes_on), **checks)
            return self._noted(self._as_steps(array), lengths, array.ndim == 3, goes_on), y
        y = validate_data(self, "no_validation", y, **checks)
        if len(y) != len(rows):
            raise ValueError(f"y: expected a target for each of {len(rows)} sequences, got {len(y)}")
        return self._noted_list(rows, lengths, goes_on), y

    def _noted_list(self, rows: list[Any], lengths: Any, goes_on: bool) -> Sequences:
        """Return the sequences of a list, after a note of their form or a check that it is that of the first fit."""
        values, own = _from_list(rows, lengths)
        return self._noted(values, own, True, goes_on)

    def _noted(
        self, values: NDArray[np.float32], lengths: Any, has_features: bool, goes_on: bool
    ) -> Sequences:
        """Return sequences, after a note of their form or a check that it is that of the first fit."""
        sequences = Sequences(values, checked_lengths(lengths, len(values)))
        if goes_on:
            self._check_width(sequences)
            return sequences
        self._has_features, self._width = has_features, values.shape[2]
        if has_features:  # of one step: the number of steps may be another in predict
            self.n_features_in_ = self._width
        return sequences

    def _sequences_to_predict(self, X: ArrayLike, lengths: Any) -> Sequences:
        check_is_fitted(self)
        rows = listed("X", X)
        if rows is None:
            array = validate_data(self, **self._checks_of_array(X, goes_on=True))
            sequences = Sequences(self._as_steps(array), checked_lengths(lengths, len(array)))
        else:
            sequences = _from_list(rows, lengths)
        self._check_width(sequences)
        return sequences

    def _as_steps(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Return an array of X as (n, T, I)."""
        return as_steps(array)

    def _checks_of_array(self, X: Any, goes_on: bool) -> dict[str, Any]:
        """Return arguments of scikit-learn's ``validate_data``, which takes X.shape[1] for the number of features."""
        has_features = goes_on and self._has_features
        return {
            "X": self._with_features(X) if goes_on else X,
            "reset": not goes_on,
            "dtype": "numeric",
            "allow_nd": True,
            "ensure_2d": not has_features,  # and check their number, which is of steps unless X is (n, T, I)
        }

    def _with_features(self, X: Any) -> Any:
        """Return X as (n, T, 1) where it is (n, T) and the fit was on a list of sequences (T_i,)."""
        if self._has_features and self._width == 1:
            array = np.asarray(X)
            return array[:, :, None] if array.ndim == 2 else X
        return X

    def _check_width(self, sequences: Sequences) -> None:
        width = sequences.values.shape[2]
        if width != self._width:
            raise ValueError(f"X expected {self._width} features a step, as in fit, got {width}")

    def _outputs(self, values: NDArray[np.float32], **more: Any) -> NDArray[np.float64]:
        """Return what the network makes of sequences, as float64."""
        dtype = next(self.model_.parameters()).dtype
        # A cell that draws noise draws the same in every prediction, so that two of the same data are equal.
        with rt.Generator(0).as_default(), evaluating(self.model_):
            outputs = self.model_(as_tensors(values, dtype), **as_tensors(more, dtype))
        found: NDArray[np.float64] = outputs.cpu().numpy().astype(np.float64)
        return found


def _from_list(rows: list[Any], lengths: Any) -> Sequences:
    if lengths is not None:
        raise ValueError(
            "lengths: X is a list of sequences, which have their own; give an array, or no lengths"
        )
    values, own = padded("X", rows)
    return Sequences(as_float32("X", values), own)
