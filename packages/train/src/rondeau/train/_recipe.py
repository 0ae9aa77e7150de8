"""From the options of a run to its objects: model, optimiser, schedule, trainer."""

from collections.abc import Iterable
from pathlib import Path

from rondeau import nn
from rondeau.data import RandomBatches, SequentialBatches, TokenStream
from rondeau.nn import cells
from rondeau.train import lr_scheduler, optim
from rondeau.train._callback import Callback
from rondeau.train._options import ModelOptions, TrainingOptions
from rondeau.train._trainer import Trainer
from rondeau.train._usage_error import UsageError


def make_model(options: ModelOptions, vocab_size: int) -> nn.LanguageModel:
    """Make the model, its weights drawn from the default generator.

    Raises
    ------
    UsageError
        If the options do not fit each other.
    """
    known = nn.LanguageModel.CELLS
    if options.cell not in known:
        why = ", which needs a proj_size: this command gives none" if options.cell in cells.__all__ else ""
        raise UsageError(f"--cell: expected one of {', '.join(known)}, got {options.cell}{why}")
    if options.tie_weights and options.embedding_size != options.hidden_size:
        own = "one-hot input" if options.embedding_size is None else options.embedding_size
        raise UsageError(
            f"--tie_weights: expected --embedding_size equal to --hidden_size, {options.hidden_size}, got {own}"
        )
    for name in ("recurrent_dropout", "weight_dropout"):
        if getattr(options, name) and not known[options.cell].recurrent:
            raise UsageError(
                f"--{name}: expected a cell with recurrent matrices, got --cell {options.cell}; use --zoneout"
            )
    try:
        model = nn.LanguageModel(
            vocab_size,
            options.cell,
            options.hidden_size,
            options.num_layers,
            embedding_size=options.embedding_size,
            dropout=options.dropout,
            tie_weights=options.tie_weights,
            zoneout=options.zoneout,
            recurrent_dropout=options.recurrent_dropout,
            weight_dropout=options.weight_dropout,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.cell.startswith("lstm") and "f" in model.recurrent.cell.gates:
        nn.init.forget_bias_(model.recurrent, options.forget_bias)
    return model


def make_optimizer(options: TrainingOptions, model: nn.Module) -> optim.Optimizer:
    """Make the optimiser.

    Raises
    ------
    UsageError
        If a number is out of its range.
    """
    parameters = list(model.parameters())
    decay, momentum = options.weight_decay, options.momentum
    if momentum and options.optimizer not in ("sgd", "rmsprop"):
        raise UsageError(
            f"--momentum: goes with --optimizer sgd or rmsprop, got --optimizer {options.optimizer}"
        )
    try:
        match options.optimizer:
            case "adam":
                return optim.Adam(parameters, options.lr, weight_decay=decay)
            case "adamw":
                return optim.AdamW(parameters, options.lr, weight_decay=decay)
            case "adagrad":
                return optim.Adagrad(parameters, options.lr, weight_decay=decay)
            case "rmsprop":
                return optim.RMSprop(parameters, options.lr, weight_decay=decay, momentum=momentum)
            case "sgd":
                return optim.SGD(parameters, options.lr, momentum, weight_decay=decay)
    except ValueError as error:
        raise UsageError(str(error)) from error


def make_schedule(
    options: TrainingOptions, optimizer: optim.Optimizer, total_steps: int | None
) -> lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau | None:
    """Make the schedule of a run of `total_steps` steps.

    Raises
    ------
    UsageError
        If a decay over the run has no length to go by, or a number is out of its range.
    """
    kind, warmup = options.schedule, options.warmup_steps
    if kind == "plateau":
        if warmup:
            raise UsageError("--warmup_steps: does not go with --schedule plateau")
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1)
    if kind == "constant" and not warmup:
        return None
    main: lr_scheduler.LRScheduler
    if kind == "constant":
        main = lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    else:
        main = _make_decay(options, optimizer, total_steps)
    if not warmup:
        return main
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, main], [warmup])


def _make_decay(
    options: TrainingOptions, optimizer: optim.Optimizer, total_steps: int | None
) -> lr_scheduler.LRScheduler:
    kind, final = options.schedule, options.final_lr
    if total_steps is None:
        raise UsageError(
            f"--schedule: {kind} falls over the whole run, so it needs --epochs or --max_steps; "
            "with --max_minutes alone, give --schedule constant or plateau"
        )
    steps = total_steps - options.warmup_steps
    if steps < 1:
        raise UsageError(
            f"--warmup_steps: expected less than the run's {total_steps} steps, got {options.warmup_steps}"
        )
    if final == 0 and kind == "exponential":
        raise UsageError("--final_lr: expected a fraction of --lr above 0 with --schedule exponential, got 0")
    if kind == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=final * options.lr)
    if kind == "linear":
        return lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=final, total_iters=steps)
    return lr_scheduler.ExponentialLR(optimizer, final ** (1 / steps))


def make_trainer(
    options: TrainingOptions,
    model: nn.Module,
    train: TokenStream,
    held_out: TokenStream,
    *,
    ends: TrainingOptions | None = None,
    seed: int,
    log_every: int = 50,
    evaluate_every: int | None = None,
    callbacks: Iterable[Callback] = (),
) -> Trainer:
    """Make the trainer with its batches, optimiser and schedule.

    `ends`, by default `options`, say where the run ends. The schedule is planned for the end that `options` say; from
    there on the rate is held.

    Raises
    ------
    UsageError
        If an option is out of its range, or the text is too short for one batch.
    """
    ends = options if ends is None else ends
    if ends.epochs is None and ends.max_steps is None and ends.max_minutes is None:
        raise UsageError("--epochs: nothing ends this run; give --epochs, --max_steps or --max_minutes")
    for name, watches in (
        ("patience", options.patience is not None),
        ("schedule", options.schedule == "plateau"),
    ):
        if watches and not len(held_out):
            raise UsageError(
                f"--{name}: {getattr(options, name)} watches the held-out loss; give --held_out a fraction above 0"
            )
    sampler = SequentialBatches if options.sampling == "sequential" else RandomBatches
    try:
        batches = sampler(train, options.batch_size, options.num_steps, seed=seed)
        trainer = Trainer(
            model,
            make_optimizer(options, model),
            batches,
            held_out=held_out if len(held_out) else None,
            max_epochs=options.epochs,
            max_steps=options.max_steps,
            max_minutes=options.max_minutes,
            clip_norm=options.clip_norm,
            evaluate_every=evaluate_every,
            log_every=log_every,
            patience=options.patience,
            callbacks=callbacks,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    trainer.scheduler = make_schedule(options, trainer.optimizer, trainer.total_steps)
    trainer.scheduler_steps = trainer.total_steps
    trainer.max_epochs, trainer.max_steps, trainer.max_minutes = ends.epochs, ends.max_steps, ends.max_minutes
    return trainer


def default_output(corpus: str | None, options: ModelOptions, clock: str) -> Path:
    """Return a new folder under runs/, named after the corpus, the cell and the time."""
    stem = "embedded" if corpus is None else Path(corpus).stem
    first = Path("runs") / f"{stem}-{options.cell}-{clock}"
    path, number = first, 1
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path
