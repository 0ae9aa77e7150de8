"""From the options of a run to its objects: model, optimiser, schedule, trainer, logs."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from rondeau import nn
from rondeau.data import RandomBatches, SequentialBatches, TokenStream
from rondeau.nn import cells
from rondeau.train import lr_scheduler, optim
from rondeau.train._callback import Callback
from rondeau.train._csv_log import CSVLog
from rondeau.train._options import ModelOptions, RunOptions, TrainingOptions
from rondeau.train._run import RunFolder
from rondeau.train._run_state import Limits
from rondeau.train._sizes import Sizes
from rondeau.train._tensorboard import TensorBoard
from rondeau.train._trainer import Trainer
from rondeau.train._usage_error import UsageError
from rondeau.train.parallel import Ranks


def make_model(options: ModelOptions, vocab_size: int) -> nn.LanguageModel:
    """Make the model, its weights drawn from the default generator.

    Raises
    ------
    UsageError
        If the options do not fit each other.
    """
    known = nn.LanguageModel.CELLS
    check_cell(options)
    if options.tie_weights and options.embedding_size != options.hidden_size:
        raise UsageError(
            f"--tie_weights: the embedding has the size of the layers, {options.hidden_size} (--hidden_size); leave "
            f"--embedding_size {options.embedding_size} out, or give {options.hidden_size}"
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
            learn_initial_state=options.learn_initial_state,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.cell.startswith("lstm") and "f" in model.recurrent.cell.gates:
        nn.init.forget_bias_(model.recurrent, options.forget_bias)
    if options.precision != "highest":
        model.float32_matmul_precision = options.precision
    return model


def check_cell(options: ModelOptions) -> None:
    """Raise UsageError unless there is a cell of that name for a language model."""
    known = nn.LanguageModel.CELLS
    if options.cell in known:
        return
    why = ""
    if options.cell in cells.__all__:
        has_inputs = bool(getattr(cells, options.cell).inputs)
        needs = "inputs of its own" if has_inputs else "a proj_size"
        why = f", which needs {needs}: this command gives none"
    if near := difflib.get_close_matches(options.cell.lower(), known, n=1, cutoff=0.8):
        why = why or f"; did you mean {near[0]}?"
    raise UsageError(f"--cell: expected one of {', '.join(known)}, got {options.cell}{why}")


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
    sizes: Sizes,
    model: nn.Module,
    train: TokenStream,
    held_out: TokenStream,
    *,
    ends: Limits | None = None,
    seed: int,
    device: str = "cpu",
    log_every: int = 50,
    evaluate_every: int | None = None,
    parallel: Ranks | None = None,
    callbacks: Iterable[Callback] = (),
) -> Trainer:
    """Make the trainer with its batches, optimiser and schedule; `sizes` are those of `fit_sizes`.

    `ends` say where the run ends, by default where `options` and `sizes` do. The schedule is planned for the latter;
    from there on the rate is held.

    Raises
    ------
    UsageError
        If nothing ends the run, or an option needs a held-out part.
    """
    planned = Limits(sizes.epochs, options.max_steps, options.max_minutes)
    if planned == Limits(None, None, None) or ends == Limits(None, None, None):
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
        batches = sampler(train, sizes.batch_size, sizes.num_steps, seed=seed)
        trainer = Trainer(
            model,
            make_optimizer(options, model),
            batches,
            averaged=options.averaged,
            held_out=held_out if len(held_out) else None,
            device=device,
            max_epochs=planned.epochs,
            max_steps=planned.max_steps,
            max_minutes=planned.max_minutes,
            clip_norm=options.clip_norm,
            evaluate_every=evaluate_every,
            log_every=log_every,
            patience=options.patience,
            shards=options.shards,
            parallel=parallel,
            callbacks=callbacks,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    trainer.scheduler = make_schedule(options, trainer.optimizer, trainer.total_steps)
    trainer.scheduler_steps = trainer.total_steps
    trainer.max_epochs, trainer.max_steps, trainer.max_minutes = planned if ends is None else ends
    return trainer


def make_logs(options: RunOptions, run: RunFolder) -> list[CSVLog | TensorBoard]:
    """Make what writes the metrics of a run besides its recorder.

    Raises
    ------
    UsageError
        If a package is missing.
    """
    logs: list[CSVLog | TensorBoard] = []
    if options.log in ("csv", "both"):
        logs.append(CSVLog(run.table))
    if options.log in ("tensorboard", "both"):
        try:
            logs.append(TensorBoard(run.events))
        except ModuleNotFoundError as error:
            raise UsageError(f"--log: {error}") from error
    return logs


def default_output(corpus: str | None, options: ModelOptions, clock: str) -> Path:
    """Return a new folder under runs/, named after the corpus, the cell and the time."""
    stem = "embedded" if corpus is None else Path(corpus).stem
    first = Path("runs") / f"{stem}-{options.cell}-{clock}"
    path, number = first, 1
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path
