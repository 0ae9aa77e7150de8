"""The training loop, of any task."""

import copy
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import Batches
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.kernels.runtime.devices import is_array
from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor.files.structure import pack, unpack
from rondeau.train._besides import parameters_besides, take_over_besides
from rondeau.train._callback import Callback, Row, check_hooks
from rondeau.train._checkpoint import Snapshot
from rondeau.train._checks import (
    ABOVE_ZERO,
    ABOVE_ZERO_OR_INFINITE,
    AT_LEAST_ZERO,
    BELOW_ONE,
    check_integer,
    check_is,
    check_number,
    check_real,
    checked_list,
)
from rondeau.train._diverged import DivergedError, first_not_finite
from rondeau.train._epochs import Epochs
from rondeau.train._errors import CheckpointError, RunWarning
from rondeau.train._readings import NAMES, Readings
from rondeau.train._showing import counted
from rondeau.train._tasks.language import LanguageModelling
from rondeau.train._tasks.task import (
    Mean,
    Score,
    Scored,
    Task,
    check_batches,
    check_carried,
    checked_loss,
    device_of,
    evaluating,
    map_tensors,
    tensors_of,
)
from rondeau.train.lr_scheduler import LRScheduler, ReduceLROnPlateau
from rondeau.train.optim import Optimizer
from rondeau.train.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from rondeau.train.parallel._learning import ShardedLearning, check_shards
from rondeau.train.parallel._ranks import OneProcess, Ranks

_COLUMNS = ("step", "epoch", "train_loss", "lr", "grad_norm", "seconds")


class Trainer:
    """Trains a model on batches; by default, a language model on batches of tokens.

    Each step: the loss of a batch, as the task defines it, gradients, clipping, the optimiser's update, the schedule's
    step. What a task carries from batch to batch, such as the hidden state of a language model, is detached in between
    and forgotten at the end of an epoch. On the CPU, two runs with the same seeds have the same bits, for any number of
    threads and any interruptions.

    On a GPU a step waits for nothing: batches are sent while the step before runs, and losses and norms stay there
    until a row of metrics is made of them. So a loss that is not finite is noticed at the next row. Checkpoints hold
    arrays of the CPU, and a training that was interrupted on one device continues on the other.

    Parameters
    ----------
    model : Module
        Called as the task does; for a language model as `nn.LanguageModel`:
        ``model(ids (B, T), state) -> (logits (T*B, V) time-major, state)``.
    optimizer : Optimizer
        Of the model's parameters. Others that it holds besides, such as those of a loss, are trained and kept in
        checkpoints as these are.
    batches : iterable
        One iteration is an epoch: `SequentialBatches`, `RandomBatches`, a `DataLoader`, a list. The first epoch is the
        one at which they stand when the trainer is made; whoever reads them afterwards, a callback say, changes nothing
        in the training. A training that is interrupted goes on with the next batch where the batches have `state_dict`
        and `load_state_dict`; elsewhere at the beginning of the epoch, with a warning.
    task : Task, optional
        What a step and an evaluation are: `Supervised`, `SequenceLabelling`, `Forecasting`, or one of your own.
        Default: `LanguageModelling`, for the batches of a token stream.
    scheduler : LRScheduler or ReduceLROnPlateau, optional
        Steps after every update, so count its steps in batches; a plateau's, after every evaluation.
    scheduler_steps : int, optional
        How many of its steps a schedule makes at most; from there on the rate is held: for a run that goes on beyond
        the length that its schedule was planned for.
    held_out : TokenStream, array_like or iterable, optional
        Evaluated every `evaluate_every` steps: tokens for a language model, batches for the other tasks. Where these
        have `state_dict` and `load_state_dict`, a training that is interrupted goes on in their order, too.
    device : {"cpu", "cuda"}, optional
        The model moves there, with the averaged one, and keeps its parameters, which the optimiser holds. Default:
        where the model is.
    accumulate : int
        Batches a step: their gradients add up as if they were one batch, each by its weight. The last step of an epoch
        takes what is left.
    averaged : AveragedModel or float, optional
        Averaged weights, which every step updates: an `optim.swa_utils.AveragedModel` of the model, or the decay of an
        exponential moving average. They are what is evaluated, and so what `patience`, a plateau and the best
        checkpoint go by; the training itself never uses them.
    max_epochs, max_steps : int, optional
    max_minutes : float, optional
        The run ends when the first of these is reached. At least one must be given. Minutes count the time in `fit`,
        that before a resume included, and are the only thing here that depends on the clock.
    clip_norm : float, optional
        The gradients' joint norm is scaled down to this where it is larger, also of parameters that the optimizer
        leaves out. ``math.inf`` leaves every gradient as it is, and the norms are reported all the same.
    evaluate_every : int, optional
        Steps between evaluations. Default: at the end of each epoch. At the end of the run there is always one.
    log_every : int
        Steps between rows of metrics.
    patience : int, optional
        The run ends after this many evaluations in a row that were not the best one. The model keeps its last weights;
        a `Recorder` keeps the best ones.
    evaluation_rows : int
        For a language model: rows into which the held-out tokens are cut for an evaluation; see `evaluate`.
    shards : int, optional
        Cut the rows of every batch into so many parts, each with random numbers of its own, whose gradients are then
        added up. The bits of a training depend on their number, and not on who computes them. Default: with `parallel`,
        as many as there are ranks; else the batch is not cut.
    parallel : Ranks, optional
        Share the shards among the ranks of an MPI job, ``train.MPI()``: each of them makes this trainer and calls
        `fit`. Callbacks are called on all ranks, those that write on rank 0.
    callbacks : sequence of Callback
        `History` keeps curves, `Progress` shows them, `Recorder` writes checkpoints; without any, `fit` is silent.

    Attributes
    ----------
    epoch, step : int
        Epochs completed, steps done.
    num_seen : int
        What was trained on, as the task counts it: tokens, samples, steps of sequences.
    seconds : float
        Time spent in `fit`.
    averaged : AveragedModel or None
    evaluated_model : Module
        What evaluations are of: the copy with averaged weights, where weights are averaged, and else the model.
    evaluation : Evaluation, Score or None
        The last one.
    best_loss, best_step
        The lowest held-out loss so far and its step; None before the first evaluation.
    stopped_by : str or None
        Why `fit` returned.
    parallel : Ranks
        A single process, where the training is not spread.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If nothing ends the run, the optimiser holds none of the model's parameters, or a number is out of its range.
    RuntimeError
        If the device is a GPU and none is usable.

    Examples
    --------
    >>> from rondeau import data, nn, tensor as rt, train
    >>> _ = rt.manual_seed(0)
    >>> tokens = data.TokenStream([0, 1, 2] * 40)
    >>> model = nn.LanguageModel(vocab_size=3, recurrent="gru", hidden_size=8)
    >>> optimizer = train.optim.Adam(model.parameters(), lr=0.05)
    >>> trainer = train.Trainer(model, optimizer, data.SequentialBatches(tokens, 2, 5), max_epochs=10)
    >>> trainer.fit()
    >>> trainer.stopped_by
    '10 epochs are done'
    >>> train.evaluate(model, tokens).perplexity < 1.5  # 3 would be guessing
    True
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        batches: Iterable[Any],
        *,
        task: Task | None = None,
        scheduler: LRScheduler | ReduceLROnPlateau | None = None,
        scheduler_steps: int | None = None,
        held_out: Any = None,
        device: str | None = None,
        accumulate: int = 1,
        averaged: AveragedModel | float | None = None,
        max_epochs: int | None = None,
        max_steps: int | None = None,
        max_minutes: float | None = None,
        clip_norm: float | None = None,
        evaluate_every: int | None = None,
        log_every: int = 50,
        patience: int | None = None,
        evaluation_rows: int = 16,
        shards: int | None = None,
        parallel: Ranks | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        check_is("model", model, nn.Module)
        check_is("optimizer", optimizer, Optimizer)
        check_batches("batches", batches)
        if task is None:
            if not isinstance(batches, Batches):
                raise TypeError(
                    "batches: without a task, expected SequentialBatches or RandomBatches, got "
                    f"{type(batches).__name__}; give task=, such as Supervised(nn.functional.mse_loss)"
                )
            task = LanguageModelling.of(batches, evaluation_rows)
        check_is("task", task, Task)
        if task.unit in _COLUMNS:
            raise ValueError(f"task: its unit {task.unit!r} is a column that rows of metrics have already")
        if held_out is not None and not isinstance(task, LanguageModelling):
            check_batches("held_out", held_out)
        if scheduler is not None:
            check_is("scheduler", scheduler, LRScheduler, ReduceLROnPlateau)
        if parallel is not None:
            check_is("parallel", parallel, Ranks)
        limits = {"max_epochs": max_epochs, "max_steps": max_steps, "max_minutes": max_minutes}
        if all(limit is None for limit in limits.values()):
            raise ValueError("nothing ends this run: give max_epochs, max_steps or max_minutes")
        for name, count in (
            ("max_epochs", max_epochs),
            ("max_steps", max_steps),
            ("scheduler_steps", scheduler_steps),
            ("evaluate_every", evaluate_every),
            ("patience", patience),
        ):
            if count is not None:
                check_integer(name, count, 1)
        check_integer("log_every", log_every, 1)
        check_integer("accumulate", accumulate, 1)
        check_integer("evaluation_rows", evaluation_rows, 1)
        if max_minutes is not None:
            check_number("max_minutes", max_minutes, ABOVE_ZERO)
        if clip_norm is not None:
            check_number("clip_norm", clip_norm, ABOVE_ZERO_OR_INFINITE)
        if patience is not None and held_out is None:
            raise ValueError("patience: early stopping needs held-out data to watch; give held_out")
        if isinstance(scheduler, ReduceLROnPlateau) and held_out is None:
            raise ValueError("ReduceLROnPlateau needs held-out data to watch; give held_out")
        parameters = {id(parameter) for parameter in model.parameters()}
        ours = [p for group in optimizer.param_groups for p in group["params"] if id(p) in parameters]
        if not ours:
            raise ValueError(
                "the optimizer holds none of the model's parameters; make it of model.parameters(), "
                "after the model has its last layers"
            )
        if device is not None:
            model.to(device=device)
        self._any_parameter: rt.Tensor = ours[0]  # says where the model is
        self.model, self.optimizer, self.task, self.batches = model, optimizer, task, batches
        self.parallel: Ranks = OneProcess() if parallel is None else parallel
        self._sharded: ShardedLearning | None = None
        if shards is not None or parallel is not None:
            count = self.parallel.size if shards is None else shards
            self._sharded = ShardedLearning(count, self.parallel, model, task)
        self.scheduler, self.scheduler_steps, self.held_out = scheduler, scheduler_steps, held_out
        self.max_epochs, self.max_steps, self.max_minutes = max_epochs, max_steps, max_minutes
        self.clip_norm, self.evaluate_every, self.log_every = clip_norm, evaluate_every, log_every
        self.patience, self.accumulate = patience, accumulate
        self.averaged = None if averaged is None else _averaged_model(averaged, model).to(device_of(model))
        self.callbacks = checked_list("callbacks", callbacks, "Callbacks")
        for i, callback in enumerate(self.callbacks):
            check_is(f"callbacks[{i}]", callback, Callback)
            check_hooks(f"callbacks[{i}]", callback)
        self.epoch = self.step = self.num_seen = 0
        self.seconds = 0.0
        self.evaluation: Any = None
        self.best_loss: float | None = None
        self.best_step: int | None = None
        self.stopped_by: str | None = None
        self._epochs = Epochs(batches if self._sharded is None else self._sharded.cut(batches))
        self._began = 0.0  # when `fit` would have, had there been no interruptions
        self._carried: Any = None  # with shards, a list of what each of this rank's carries
        self._readings = Readings(self._diverged)  # since the last row of metrics
        self._bad_evaluations = 0

    def fit(self) -> None:
        """Train until an end is reached or `stop` is called.

        Raises
        ------
        DivergedError
            If the loss, the gradients' norm where it is clipped, the held-out loss, or the weights at an evaluation or
            at the end are no longer finite. `Recorder` then keeps the checkpoints that it has.
        """
        self.model.train()
        self.stopped_by = None
        began = self._began = time.perf_counter() - self.seconds
        try:
            self._begin_alike()
            self._tell("on_begin")
            while not self._finished():
                self._train_epoch(began)
            self.check_finite()
            self._tell("on_end")
        except BaseException as error:
            self._tell("on_error", error)
            raise

    def _train_epoch(self, began: float) -> None:
        """Take the steps of the present epoch that are left, or those until the training ends."""
        group: list[Any] = []
        begins = self._epochs.begin()
        if begins:
            self._carried = None
        for batch, is_last in self._epochs.read():
            if begins:
                self._tell("on_begin_epoch")
                begins = False
            group.append(batch)
            if len(group) < self.accumulate and not is_last:
                continue
            self._learn(group)
            self._epochs.advance()
            group = []
            if is_last:
                self.epoch += 1
                self._carried = None
            self.seconds = self._now(began)
            self._report(is_last)
            if is_last:
                self._tell("on_end_epoch")
            self._tell("on_step")
            if self._finished():
                return

    def stop(self, reason: str) -> None:
        """End `fit` after the present step, without another evaluation: `restore` then continues seamlessly."""
        self.stopped_by = reason

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of an epoch; None where the batches do not say how many they are."""
        length = self._epochs.length
        return None if length is None else -(-length // self.accumulate)

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run; None where it is known only that minutes, epochs or `patience` will end it."""
        limits = [] if self.max_steps is None else [self.max_steps]
        if self.max_epochs is not None and self.steps_per_epoch is not None:
            limits.append(self.max_epochs * self.steps_per_epoch)
        return min(limits, default=None)

    @property
    def evaluated_model(self) -> nn.Module:
        """The model with the weights that evaluations are of, averaged ones where the training averages."""
        return self.model if self.averaged is None else self.averaged.module

    def check_finite(self) -> None:
        """Raise unless all weights, those averaged too, the optimiser's averages and the carried state are finite.

        Raises
        ------
        DivergedError
            The message names the first array that is not.
        """
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        weights = (
            (f"the weight {names.get(id(p), '')}", p._array)
            for group in self.optimizer.param_groups
            for p in group["params"]
        )
        averages = (
            (f"the optimiser's {kind} of {names.get(id(p), 'a parameter')}", value)
            for p, state in self.optimizer.state.items()
            for kind, value in state.items()
            if is_array(value)
        )
        carried = ((f"the carried state {i}", t._array) for i, t in enumerate(tensors_of(self._carried)))
        smooth = (
            (f"the averaged weight {name}", parameter._array)
            for name, parameter in (() if self.averaged is None else self.averaged.module.named_parameters())
        )
        found = first_not_finite(chain(weights, averages, carried, smooth))
        if found is not None:
            raise self._diverged(*found, self.step)

    def _diverged(self, what: str, value: float, step: int) -> DivergedError:
        return DivergedError(
            f"{what} became {value} at step {step}, with learning rate "
            f"{self.optimizer.param_groups[0]['lr']:g}: lower the rate, or clip the gradients' norm (more)"
        )

    def _finished(self) -> bool:
        self.stopped_by = self.stopped_by or self.end_reached()
        if self._sharded is None:
            return self.stopped_by is not None
        agreed = self._sharded.agree_on_end(self.stopped_by)
        if agreed is not None:
            self.stopped_by = agreed
        # A signal that calls `stop` while this rank waits for the others is for the next step.
        return agreed is not None

    def end_reached(self) -> str | None:
        """Return why the training ends at the present step; None if it goes on."""
        if self.max_epochs is not None and self.epoch >= self.max_epochs:
            return f"{counted(self.max_epochs, 'epoch')} {'is' if self.max_epochs == 1 else 'are'} done"
        if self.max_steps is not None and self.step >= self.max_steps:
            return f"{counted(self.max_steps, 'step')} {'is' if self.max_steps == 1 else 'are'} done"
        if self.max_minutes is not None and self.seconds >= 60 * self.max_minutes:
            return "1 minute is over" if self.max_minutes == 1 else f"{self.max_minutes:g} minutes are over"
        if self.patience is not None and self._bad_evaluations >= self.patience:
            return f"the held-out loss has not improved for {counted(self.patience, 'evaluation')}"
        return None

    def _learn(self, group: Sequence[Any]) -> None:
        """One step of training on the batches of a group."""
        parameters = self._parameters()
        for parameter in parameters:
            parameter.grad = None
        gradients = self._gradients if self._sharded is None else self._gradients_of_shards
        loss, weight, carried = gradients(group, parameters)
        self._update(parameters)
        self.step += 1
        self.num_seen += weight
        self._readings.add("losses", loss, self.step)
        self._carried = carried

    def _parameters(self) -> list[rt.Tensor]:
        """Return what gets gradients: the model's parameters, and those that the optimiser holds besides, each once."""
        ours = list(self.model.parameters())
        return [*ours, *parameters_besides(ours, self.optimizer).values()]

    def _gradients(self, group: Sequence[Any], parameters: Sequence[rt.Tensor]) -> tuple[Any, Any, Any]:
        """Add the gradients of the mean loss over a group of batches; return that loss, their weight, the carry."""
        carried = self._carried
        if len(group) == 1:
            loss, value, weight, carried = self._finite_loss(group[0], carried)
            _check_counts(weight)
            loss.backward()
            return value, weight, carried
        losses: list[tuple[rt.Tensor | float, float]] = []
        for batch in group:
            loss, value, weight, carried = self._finite_loss(batch, carried)
            (loss * weight).backward()
            losses.append((value, weight))
        whole = sum(weight for _, weight in losses)
        _check_counts(whole)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(whole)
        return _mean_loss(losses), whole, carried

    def _gradients_of_shards(
        self, group: Sequence[Any], parameters: Sequence[rt.Tensor]
    ) -> tuple[Any, Any, Any]:
        """Do as `_gradients`, of batches that are lists of the parts of this rank's shards."""
        assert self._sharded is not None
        losses, carried = self._sharded.gradients(
            group,
            self._carried,
            self.step + 1,
            parameters,
            self._loss,
            lambda: time.perf_counter() - self._began,
        )
        for value, _ in losses:
            if not math.isfinite(value):
                raise self._diverged("the loss", value, self.step + 1)
        whole = sum(weight for _, weight in losses)
        _check_counts(whole)
        self._sharded.add_up(whole)
        return _mean_loss(losses), whole, carried

    def _loss(self, batch: Any, carried: Any) -> tuple[rt.Tensor, rt.Tensor | float, float, Any]:
        """Return the loss of a batch, its value, its weight, and what it hands to the next.

        The value of a loss on a GPU stays there.
        """
        with self._any_parameter.device:
            loss, weight, carried = checked_loss(self.task.loss(self.model, batch, carried))
        value = loss.detach() if loss.is_cuda else loss.item()
        return loss, value, weight, map_tensors(rt.Tensor.detach, carried)

    def _finite_loss(self, batch: Any, carried: Any) -> tuple[rt.Tensor, rt.Tensor | float, float, Any]:
        """Do as `_loss`; raise DivergedError where the loss is on the CPU and not finite."""
        found = self._loss(batch, carried)
        value = found[1]
        if type(value) is float and not math.isfinite(value):
            raise self._diverged("the loss", value, self.step + 1)
        return found

    def _update(self, parameters: Sequence[rt.Tensor]) -> None:
        """Change the weights by the gradients that are there, average them, and step the schedule."""
        if self.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            self._readings.add("grad_norms", norm, self.step + 1)
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        is_planned = self.scheduler_steps is None or self.step < self.scheduler_steps
        if isinstance(self.scheduler, LRScheduler) and is_planned:
            self.scheduler.step()

    def _report(self, ends_epoch: bool) -> None:
        """Evaluate and make a row of metrics, whichever is due."""
        ends = self.end_reached() is not None
        is_turn = ends_epoch if self.evaluate_every is None else self.step % self.evaluate_every == 0
        due = self.held_out is not None and (is_turn or ends)
        if not (due or ends or self.step % self.log_every == 0):
            return
        row: Row = {
            "step": self.step,
            "epoch": self.epoch,
            self.task.unit: self.num_seen,
            "train_loss": _mean(self._readings.read("losses")),
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        if norms := self._readings.read("grad_norms"):
            row["grad_norm"] = _mean(norms)
        self._readings.clear()
        evaluation = self._evaluate() if due else None
        if evaluation is not None:
            row |= evaluation.columns()
        self._tell("on_row", row | {"seconds": round(self.seconds, 3)})
        if evaluation is not None:
            self._tell("on_evaluate", evaluation)

    def _evaluate(self) -> Scored:
        self.check_finite()
        with evaluating(self.evaluated_model):
            if self._sharded is None:
                evaluation = self.task.evaluate(self.evaluated_model, self.held_out)
            else:
                evaluation = self._sharded.evaluate(self.evaluated_model, self.held_out, self.step)
        if isinstance(evaluation, Score) and not evaluation.weight:
            raise ValueError("held_out: expected batches in which something counts, got none")
        loss = float(evaluation.loss)
        if not math.isfinite(loss):
            raise self._diverged("the held-out loss", loss, self.step)
        self.evaluation = evaluation
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_step, self._bad_evaluations = loss, self.step, 0
        else:
            self._bad_evaluations += 1
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss)
        return evaluation

    def _tell(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            if self.parallel.is_main or not callback.main_only:
                getattr(callback, event)(self, *arguments)

    def _now(self, began: float) -> float:
        """Return the seconds in `fit`: with ranks, what rank 0 told of them in this step."""
        if self._sharded is None or self.parallel.size == 1:
            return time.perf_counter() - began
        return self._sharded.seconds

    def _begin_alike(self) -> None:
        """Have all ranks begin with the state of rank 0, but for what each carries."""
        if self._sharded is None or self.parallel.size == 1:
            return
        carried = self._carried
        arrays, state = self.parallel.from_main(lambda: self._snapshot(None)[:2])
        self._take_over(arrays, state)
        self._carried = carried

    def snapshot(self) -> Snapshot:
        """Return all that `restore` needs to continue as if nothing had happened, on this device or another.

        On the CPU the arrays are the trainer's own: write them before the next step. With ranks, all of them must call
        this, and have the same weights then.

        Raises
        ------
        RuntimeError
            If the weights of ranks differ.
        """
        if self._sharded is None:
            return self._snapshot(self._carried)
        self._sharded.check_alike()
        return self._snapshot(self._sharded.gather_carried(self._carried))

    def _snapshot(self, whole_carried: Any) -> Snapshot:
        optimizer = self.optimizer.state_dict()
        averages: dict[str, np.ndarray[Any, Any]] = {}
        counts: dict[str, dict[str, Any]] = {}
        for index, state in optimizer["state"].items():
            averages |= {f"{index}.{k}": on_host(v) for k, v in state.items() if is_array(v)}
            counts[str(index)] = {k: v for k, v in state.items() if not is_array(v)}
        carried = pack(whole_carried)
        arrays = {
            "weights": _arrays(self.model.state_dict()),
            "optimizer": averages,
            "carried": carried.arrays,
        }
        if besides := parameters_besides(self.model.parameters(), self.optimizer):
            arrays["besides"] = _arrays(besides)
        if self.averaged is not None:
            arrays["averaged"] = _arrays(self.averaged.state_dict())
        state = {
            "classes": self._classes(),
            "epoch": self.epoch,
            "step": self.step,
            "seen": self.num_seen,
            "seconds": self.seconds,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "bad_evaluations": self._bad_evaluations,
            **{name: list(self._readings.read(name)) for name in NAMES},
            "carried": carried.structure,
            "optimizer": {"counts": counts, "param_groups": optimizer["param_groups"]},
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "batches": self._epochs.state_dict(),
            "generator": rt.default_generator().get_state(),
        }
        if self._sharded is not None:
            state["shards"] = self._sharded.state_dict()
        if self._held_out_has_state():
            state["held_out"] = dict(self.held_out.state_dict())
        return Snapshot(arrays, state)

    def _held_out_has_state(self) -> bool:
        """Return whether what is held out stands somewhere, as a loader that shuffles does, and by itself."""
        has_state = hasattr(self.held_out, "state_dict") and hasattr(self.held_out, "load_state_dict")
        return has_state and self.held_out is not self.batches

    def _classes(self) -> dict[str, str | None]:
        """Name the task, and what keeps a state of its own, which another class might take for its own."""
        parts = {
            "task": self.task,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "batches": self.batches,
            "averaged": self.averaged,
        }
        return {name: None if part is None else type(part).__name__ for name, part in parts.items()}

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a `snapshot` of a trainer that was made with the same arguments.

        What has a state of its own must be of the class that it was, and so must the task. All else, such as
        `accumulate`, `clip_norm` and what ends the run, is what this trainer was made with.

        Raises
        ------
        CheckpointError
            If it does not fit the model, the optimiser or the batches. Nothing has changed then.
        """
        check_is("snapshot", snapshot, Snapshot)
        before = copy.deepcopy(self._snapshot(None))
        carried = self._carried
        try:
            self._take_over(snapshot.arrays, snapshot.state)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            self._take_over(before.arrays, before.state)
            self._carried = carried
            where = "" if snapshot.path is None else f" {snapshot.path}"
            reason = " ".join(str(error).split())
            raise CheckpointError(f"the checkpoint{where} is of another run: {reason}") from error

    def _take_over(
        self, arrays: Mapping[str, Mapping[str, np.ndarray[Any, Any]]], state: Mapping[str, Any]
    ) -> None:
        before_tasks_were_noted = {"task": type(self.task).__name__}
        classes = before_tasks_were_noted | state["classes"]
        for name, kind in self._classes().items():
            if (was := classes.get(name)) != kind:
                raise ValueError(f"{name}: was {was or 'none'}, is {kind or 'none'}")
        check_shards(state.get("shards"), self._sharded)
        _check_progress(state)
        averages: dict[str, dict[str, Any]] = {k: dict(v) for k, v in state["optimizer"]["counts"].items()}
        for name, array in arrays["optimizer"].items():
            index, _, kind = name.partition(".")
            averages.setdefault(index, {})[kind] = array
        self.model.load_state_dict({name: rt.from_numpy(array) for name, array in arrays["weights"].items()})
        take_over_besides(
            parameters_besides(self.model.parameters(), self.optimizer), arrays.get("besides", {})
        )
        if self.averaged is not None:
            self.averaged.load_state_dict(
                {name: rt.from_numpy(array) for name, array in arrays["averaged"].items()}
            )
        self.optimizer.load_state_dict(
            {
                "state": {int(index): average for index, average in averages.items()},
                "param_groups": state["optimizer"]["param_groups"],
            }
        )
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        carried = unpack(state["carried"], arrays["carried"], device_of(self.model))
        if self._sharded is not None:
            carried = self._sharded.take_over(state["shards"], carried, self.batches)
        else:
            check_carried(carried, self.task.first_carry(self.model, self.batches))
        self._epochs.load_state_dict(state["batches"])
        if self._held_out_has_state() and "held_out" in state:
            self._take_over_held_out(state["held_out"])
        rt.default_generator().set_state(state["generator"])
        self.epoch, self.step, self.num_seen = state["epoch"], state["step"], state["seen"]
        self.seconds = state["seconds"]
        self.best_loss, self.best_step = state["best_loss"], state["best_step"]
        self._bad_evaluations = state["bad_evaluations"]
        self._readings.restore({name: state[name] for name in NAMES})
        self._carried = carried

    def _take_over_held_out(self, state: Any) -> None:
        """Go on in the order of what is held out, unless that is something else now, which it may be."""
        try:
            self.held_out.load_state_dict(state)
        except (TypeError, ValueError) as error:
            warn_caller(f"held_out is not what it was, and is read from its beginning: {error}", RunWarning)


def _averaged_model(averaged: Any, model: nn.Module) -> AveragedModel:
    """Return the averaged weights of a model that a trainer was given, or told the decay of."""
    if isinstance(averaged, AveragedModel):
        averaged.check_fits(model)
        return averaged
    check_number("averaged, which is an AveragedModel or a decay", averaged, BELOW_ONE)
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(averaged))


def _mean_loss(losses: Sequence[tuple[Any, float]]) -> rt.Tensor | float:
    """Return the mean of losses by their weights: a number, or a tensor of the GPU where they are there."""
    if isinstance(losses[0][0], rt.Tensor):
        sums = [loss.double() * weight for loss, weight in losses]
        return rt.stack(sums).sum() / sum(weight for _, weight in losses)
    mean = Mean()
    for loss, weight in losses:
        mean.add(loss, weight)
    return mean.value


def _check_counts(weight: float) -> None:
    if not weight:
        raise ValueError("the batches of a step have weight 0: there is nothing in them to learn from")


def _check_progress(state: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError unless the numbers of a trainer's state are what they say they are."""
    for name in ("epoch", "step", "bad_evaluations"):
        check_integer(name, state[name], 0)
    check_number("seen", state["seen"], AT_LEAST_ZERO)
    if state["best_step"] is not None:
        check_integer("best_step", state["best_step"], 0)
    single = {name: state[name] for name in ("seconds", "best_loss") if state[name] is not None}
    lists = {f"{name}[{i}]": number for name in NAMES for i, number in enumerate(state[name])}
    for name, number in (single | lists).items():
        check_real(name, number)
    if not 0 <= state["seconds"] < math.inf:
        raise ValueError(f"seconds: expected a time >= 0, got {state['seconds']}")


def _mean(values: Sequence[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except OverflowError:  # of finite numbers, which float64 models reach before they diverge
        return math.fsum(value / len(values) for value in values)


def _arrays(state: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a model's state, which a checkpoint holds."""
    for name, value in state.items():
        if not isinstance(value, rt.Tensor):
            raise TypeError(
                f"a checkpoint holds tensors, and the model's state {name!r} is of type {type(value).__name__}: "
                "let get_extra_state return a Tensor"
            )
    return {name: on_host(tensor._array) for name, tensor in state.items()}
