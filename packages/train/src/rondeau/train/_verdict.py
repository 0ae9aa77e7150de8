"""What a run came to: whether it diverged without a NaN, and whether its model is worth anything."""

import math

from rondeau.train._diverged import DivergedError
from rondeau.train._evaluate import Evaluation
from rondeau.train._request import Config
from rondeau.train._trainer import Trainer

_FAR_ABOVE_GUESSING = 2.0
_FEW_TOKENS = 100
_EARLY = 0.8  # of a run: where its best step comes before, the rest of it was too much


def check_converged(train_loss: float, vocab_size: int) -> None:
    """Refuse a run whose last losses are far above those of a model that knows nothing.

    Parameters
    ----------
    train_loss : float
        The last one, in nats per token.
    vocab_size : int
        Guessing every token evenly has the logarithm of it as loss.

    Raises
    ------
    DivergedError
        If it is more than twice that.
    """
    guessing = math.log(vocab_size)
    if train_loss > _FAR_ABOVE_GUESSING * guessing:
        raise DivergedError(
            f"the training diverged: its loss ended at {train_loss:,.4g}, while guessing every token evenly has "
            f"{guessing:.3g}; give a lower --lr, or a smaller --clip_norm"
        )


def compare_with_counting(config: Config, trainer: Trainer, score: Evaluation, counted: float) -> str | None:
    """Return what to tell of a model that predicts the held-out part worse than counted pairs do, and None of a better.

    Parameters
    ----------
    config : Config
    trainer : Trainer
        That has ended.
    score : Evaluation
        Of the model, on the held-out part.
    counted : float
        The bigram model's loss there.
    """
    if score.loss <= counted:
        return None
    best, last = trainer.best_step or trainer.step, trainer.step
    words = config.text.tokens in ("words", "regex")
    if score.num_tokens < _FEW_TOKENS:
        remedy = "so short a text teaches and measures little; try a longer one"
    elif words and best < last:
        remedy = "its words are too rare in this text; try a longer one, or --tokens bpe or characters"
    elif best < _EARLY * last:
        remedy = (
            f"after step {best:,} it learned its own part by heart, and the rest no better; try a longer text, or a "
            "smaller --hidden_size"
        )
    else:
        others = "a longer text, or --tokens bpe or characters" if words else "or a smaller --batch_size"
        remedy = f"it was still learning when the run ended; try more {_limit_reached(trainer)}, {others}"
    return f"this model predicts worse than counted pairs (bigram): {remedy}"


def _limit_reached(trainer: Trainer) -> str:
    """Return the option that ended a run."""
    if trainer.max_steps is not None and trainer.step >= trainer.max_steps:
        return "--max_steps"
    if trainer.max_minutes is not None and trainer.seconds >= 60 * trainer.max_minutes:
        return "--max_minutes"
    return "--epochs"
