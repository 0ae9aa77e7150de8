"""How large batches are, and how many epochs a run has, where the command line leaves it to the length of the text.

A model that has made twenty steps has learned nothing, however often they read the text: a short text needs small
batches. With the default model (a GRU of 256 units, Adam), 640 steps bring it well below the perplexity of counted
pairs, on English texts of 1,000 characters to 140,000.
"""

import math
from typing import NamedTuple

from rondeau.train._options import TrainingOptions
from rondeau.train._usage_error import UsageError

STEPS_OF_AN_EPOCH = 64
"""An epoch has as many, where batches can be made small enough."""

_EPOCHS, _MOST_EPOCHS = 10, 30


class Sizes(NamedTuple):
    """Sizes of the batches, and the number of epochs.

    Attributes
    ----------
    batch_size, num_steps : int
    epochs : int or None
        None where the run has another end.
    """

    batch_size: int
    num_steps: int
    epochs: int | None


LONG_TEXT = Sizes(32, 64, _EPOCHS)
"""What a text gets that is long enough for 64 such batches."""

_SHORTEST = 8  # tokens of a row, as long as the text has room for them


def fit_sizes(options: TrainingOptions, num_tokens: int, token: str) -> Sizes:
    """Choose what is "auto" in `options` for a text of `num_tokens` tokens; what is given stays.

    Batch size and steps are halved in turn until an epoch has 64 batches. Where even the smallest batches are fewer,
    there are more epochs.

    Parameters
    ----------
    options : TrainingOptions
    num_tokens : int
        Tokens to train on.
    token : str
        What they are, such as "character".

    Raises
    ------
    UsageError
        If the text is too short for what is given; the message names values that fit.

    Examples
    --------
    >>> fit_sizes(TrainingOptions(), 1_000_000, "character")
    Sizes(batch_size=32, num_steps=64, epochs=10)
    >>> fit_sizes(TrainingOptions(), 4_500, "character")
    Sizes(batch_size=4, num_steps=16, epochs=10)
    >>> fit_sizes(TrainingOptions(num_steps=50, max_steps=300), 4_500, "character")
    Sizes(batch_size=1, num_steps=50, epochs=None)
    """
    batch_size, num_steps = _fit_batches(options, num_tokens)
    if batch_size < 1 or num_steps < 1 or not _steps_of_an_epoch(num_tokens, batch_size, num_steps):
        raise _too_short(options, num_tokens, token)
    if options.epochs != "auto":
        return Sizes(batch_size, num_steps, options.epochs)
    if options.max_steps is not None:
        return Sizes(batch_size, num_steps, None)
    steps = _steps_of_an_epoch(num_tokens, batch_size, num_steps)
    epochs = min(_MOST_EPOCHS, math.ceil(_EPOCHS * STEPS_OF_AN_EPOCH / steps))
    return Sizes(batch_size, num_steps, max(_EPOCHS, epochs))


def _steps_of_an_epoch(num_tokens: int, batch_size: int, num_steps: int) -> int:
    # An epoch begins up to num_steps - 1 tokens late, and the last token is a target alone.
    return max(0, num_tokens - num_steps) // (batch_size * num_steps)


def _fit_batches(options: TrainingOptions, num_tokens: int) -> tuple[int, int]:
    """Return batch size and steps; below 1 where the text has no room for the one that is given."""
    batch_size = LONG_TEXT.batch_size if options.batch_size == "auto" else options.batch_size
    num_steps = LONG_TEXT.num_steps if options.num_steps == "auto" else options.num_steps
    while _steps_of_an_epoch(num_tokens, batch_size, num_steps) < STEPS_OF_AN_EPOCH:
        rows_shrink = options.batch_size == "auto" and batch_size > 1
        steps_shrink = options.num_steps == "auto" and num_steps > _SHORTEST
        if rows_shrink and (2 * batch_size >= num_steps or not steps_shrink):
            batch_size //= 2
        elif steps_shrink:
            num_steps //= 2
        else:
            break
    # One batch must fit.
    if options.num_steps == "auto":
        num_steps = min(num_steps, num_tokens // (batch_size + 1))
    elif options.batch_size == "auto":
        batch_size = min(batch_size, num_tokens // num_steps - 1)
    return batch_size, num_steps


def _too_short(options: TrainingOptions, num_tokens: int, token: str) -> UsageError:
    rows, steps = options.batch_size, options.num_steps
    if num_tokens < 2:
        return UsageError(f"expected at least 2 {token}s to train on, got {num_tokens}; give a longer text")
    if rows != "auto" and steps != "auto":
        fitting = (
            (num_tokens // steps - 1, "--batch_size {}"),
            (num_tokens // (rows + 1), "--num_steps {}"),
            (num_tokens // 2, "--batch_size 1 --num_steps {}"),
        )
        remedy = next(flags.format(most) for most, flags in fitting if most >= 1)
        return UsageError(
            f"--batch_size {rows} and --num_steps {steps} need {steps * (rows + 1):,} {token}s to train on, and the "
            f"text has {num_tokens:,}; give at most {remedy}, or leave both out: they are chosen to fit"
        )
    name, given, most = (
        ("batch_size", rows, num_tokens - 1) if steps == "auto" else ("num_steps", steps, num_tokens // 2)
    )
    return UsageError(
        f"--{name} {given}: the text has {num_tokens:,} {token}s to train on; give at most {most:,}, or leave it out: "
        "it is chosen to fit"
    )
