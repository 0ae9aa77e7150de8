"""What may happen beside the training: hooks that a trainer calls."""

import difflib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rondeau.train._trainer import Trainer

Row = dict[str, Any]

# How alike a method's name and a hook's are, from 0 to 1, where the one is taken for a misspelling of the other.
_ALIKE = 0.9

# What other trainers call the same things.
_OUR_WORDS = {
    "start": "begin",
    "batch": "step",
    "validation": "evaluate",
    "eval": "evaluate",
    "log": "row",
    "train": "",
    "fit": "",
}


class Callback:
    """What may happen beside the training; override what is needed.

    With ranks (`Trainer(parallel=)`), callbacks are called on all of them, with the same numbers; what they change must
    be the same everywhere. Those that write or tell set ``main_only = True``, and are called on rank 0.

    The order within a step: the update, `on_row` if a row of metrics is due, `on_evaluate` if it holds an evaluation,
    `on_end_epoch` if the step was the last of an epoch, then `on_step`.

    Raises
    ------
    TypeError
        When a class is defined with a method that looks like a hook but is none, such as ``on_epoch_end``: nothing
        would ever call it.

    Examples
    --------
    Stop where the loss is small enough:

    >>> from rondeau import data, nn, tensor as rt, train
    >>> class GoodEnough(train.Callback):
    ...     def on_row(self, trainer, row):
    ...         if row["train_loss"] < 0.5:
    ...             trainer.stop("the loss is below 0.5")
    >>> _ = rt.manual_seed(0)
    >>> model = nn.LanguageModel(vocab_size=3, recurrent="gru", hidden_size=8)
    >>> optimizer = train.optim.Adam(model.parameters(), lr=0.05)
    >>> batches = data.SequentialBatches(data.TokenStream([0, 1, 2] * 40), 2, 5)
    >>> trainer = train.Trainer(
    ...     model, optimizer, batches, max_epochs=100, log_every=5, callbacks=[GoodEnough()]
    ... )
    >>> trainer.fit()
    >>> trainer.stopped_by
    'the loss is below 0.5'
    """

    main_only = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _check_names(cls.__name__, cls)

    def on_begin(self, trainer: "Trainer") -> None:
        """Before the first step of this process."""

    def on_begin_epoch(self, trainer: "Trainer") -> None:
        """Before the first step of an epoch; ``trainer.epoch`` epochs are completed."""

    def on_row(self, trainer: "Trainer", row: Row) -> None:
        """When a row of metrics is there."""

    def on_evaluate(self, trainer: "Trainer", evaluation: Any) -> None:
        """After an evaluation of what is held out, and after `trainer.best_step` is set; see `trainer.evaluation`."""

    def on_end_epoch(self, trainer: "Trainer") -> None:
        """After the last step of an epoch, which ``trainer.epoch`` counts by now; before `on_step`.

        What it changes, such as a learning rate, is therefore in the checkpoint of this step.
        """

    def on_step(self, trainer: "Trainer") -> None:
        """After each step, when everything is as it is to be continued from."""

    def on_end(self, trainer: "Trainer") -> None:
        """After the last step of this process; `trainer.stopped_by` says why it was the last."""

    def on_error(self, trainer: "Trainer", error: BaseException) -> None:
        """When the training ends with an exception, in place of `on_end`; it is raised again afterwards."""


_HOOKS = {
    name: list(inspect.signature(hook).parameters)[1:]
    for name, hook in vars(Callback).items()
    if name.startswith("on_")
}


def check_hooks(name: str, callback: Callback) -> None:
    """Raise TypeError unless the trainer can call what a callback has: every hook of it, and at least one.

    Examples
    --------
    >>> class Counts(Callback):
    ...     def on_step(self):
    ...         ...
    >>> check_hooks("callbacks[0]", Counts())
    Traceback (most recent call last):
    ...
    TypeError: callbacks[0]: the trainer calls on_step(trainer), but Counts has on_step()
    """
    kind = type(callback).__name__
    _check_names(f"{name}, {kind}", callback)
    own = [
        hook
        for hook in _HOOKS
        if getattr(getattr(callback, hook), "__func__", None) is not vars(Callback)[hook]
    ]
    if not own:
        raise TypeError(f"{name}: {kind} has none of the hooks that a trainer calls: {', '.join(_HOOKS)}")
    for hook in own:
        if not callable(getattr(callback, hook)):
            raise TypeError(f"{name}: {kind}.{hook} must be a method, got {getattr(callback, hook)!r:.80}")
        signature = inspect.signature(getattr(callback, hook))
        try:
            signature.bind(*_HOOKS[hook])
        except TypeError:
            raise TypeError(
                f"{name}: the trainer calls {hook}({', '.join(_HOOKS[hook])}), but {kind} has {hook}{signature}"
            ) from None


def _check_names(whose: str, callback: Any) -> None:
    """Refuse public methods that look like hooks of this trainer or another one, and are none."""
    for name in dir(callback):
        member = inspect.getattr_static(callback, name)
        if name.startswith("_") or name in _HOOKS or not (callable(member) or hasattr(member, "__func__")):
            continue
        likeness = {
            hook: difflib.SequenceMatcher(None, _words(name), _words(hook)).ratio() for hook in _HOOKS
        }
        nearest = max(_HOOKS, key=likeness.__getitem__)
        if name.lower().startswith("on_") or likeness[nearest] >= _ALIKE:
            raise TypeError(
                f"{whose} has {name}, which no trainer calls; did you mean {nearest}? The hooks are "
                f"{', '.join(_HOOKS)}; begin the names of other methods otherwise"
            )


def _words(name: str) -> str:
    """Return the words of a name as this trainer has them, sorted: ``on_epoch_end`` is ``on_end_epoch``."""
    words = (_OUR_WORDS.get(word, word) for word in name.lower().split("_"))
    return " ".join(sorted(filter(None, words)))
