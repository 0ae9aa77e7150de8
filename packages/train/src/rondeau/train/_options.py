"""The options of ``rondeau train``, and of its ``config.yaml``, with their defaults and what they mean.

Nothing heavy is imported here: ``--help`` needs this file alone.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar


@dataclass(frozen=True)
class TextOptions:
    """The text and its tokens.

    Parameters
    ----------
    tokens
        What the model reads and writes: characters, words, the matches of --pattern, or byte pairs (BPE).
    normalise
        d2l: reduce the text to lower-case letters and single spaces first, as the book "Dive into Deep Learning" does.
        Of --tokens characters and words.
    pattern
        The regular expression of --tokens regex. By default words and signs, with the spaces before them.
    bpe_size
        Size of the vocabulary of --tokens bpe.
    min_freq
        Tokens that the text holds less often (without its held-out part) become the unknown token.
    held_out
        The last part of the text, as a fraction, is never trained on: it measures the model. The vocabulary is made
        without it.
    """

    tokens: Literal["characters", "words", "regex", "bpe"] = "characters"
    normalise: Literal["d2l"] | None = None
    pattern: str | None = None
    bpe_size: int = 1000
    min_freq: int = 0
    held_out: float = 0.1


@dataclass(frozen=True)
class ModelOptions:
    """The model.

    Parameters
    ----------
    init_from
        Begin with the weights and the vocabulary of this run, to go on learning on another text. Options of tokens and
        model are that run's; of those, only dropout and the like may be given. --checkpoint chooses the weights.
    cell
        The recurrent cell: rnn, gru, lstm; ctrnn, gru_layer_norm, gru_original, hgrn, indrnn, li_gru, linear_rnn,
        lstm_coupled, lstm_layer_norm, lstm_peephole, mgu, min_gru, min_lstm, mlstm, rg_lru, rnn_relu, rnn_tanh (the
        same as rnn) or slstm, as rondeau.nn.cells describes them.
    hidden_size
        Hidden units of a layer.
    num_layers
        Recurrent layers.
    embedding_size
        Tokens enter as learned vectors of this size; by default as one-hot vectors.
    dropout
        Probability of dropping an element of the embeddings, or of the output of a layer, in training.
    tie_weights
        The output layer uses the embedding's weights, so that --embedding_size is --hidden_size.
    forget_bias
        What the forget gates of an LSTM start with; other cells keep theirs.
    zoneout
        Probability of a hidden unit keeping its old state at a step, in training.
    recurrent_dropout
        Probability of hiding a unit from the recurrent matrices, the same units at every step, in training.
    weight_dropout
        Probability of dropping an element of the recurrent matrices, in training.
    learn_initial_state
        Learn the state that a text begins with, which is zero otherwise.
    precision
        medium: products round their operands to bfloat16, where the processor or the GPU is faster with them; high: to
        TF32, on a GPU; highest: float32.
    """

    init_from: str | None = None
    cell: str = "gru"
    hidden_size: int = 256
    num_layers: int = 1
    embedding_size: int | None = None
    dropout: float = 0.0
    tie_weights: bool = False
    forget_bias: float = 1.0
    zoneout: float = 0.0
    recurrent_dropout: float = 0.0
    weight_dropout: float = 0.0
    learn_initial_state: bool = False
    precision: Literal["highest", "high", "medium"] = "highest"


@dataclass(frozen=True)
class TrainingOptions:
    """The training.

    Parameters
    ----------
    sampling
        sequential: each batch continues the one before, and the hidden state is carried. random: it does not.
    batch_size
        Rows of a batch, read side by side. auto: 32, and fewer for a short text.
    num_steps
        Tokens of a row, over which gradients are propagated back. auto: 64, and fewer for a short text.
    epochs
        Passes through the text. The run ends with the first of --epochs, --max_steps and --max_minutes. auto: 10, more
        for a very short text, and no limit where --max_steps is given.
    max_steps
        Batches.
    max_minutes
        Minutes of training.
    optimizer
        Its other options have the defaults of rondeau.train.optim.
    lr
        Learning rate.
    momentum
        Of sgd and rmsprop.
    weight_decay
        An L2 penalty; for adamw, decoupled from the gradient.
    schedule
        How the rate falls over the run; plateau: to a tenth whenever two evaluations in a row were no better.
    final_lr
        Where cosine, linear and exponential end, as a fraction of --lr.
    warmup_steps
        Steps over which the rate first rises to --lr.
    clip_norm
        Gradients whose joint norm is larger are scaled down to it; none: they stay as they are.
    patience
        End the run after this many evaluations in a row without a new best.
    averaged
        Decay of an exponential moving average of the weights, such as 0.999, in [0, 1). Evaluations, samples,
        --init_from and the commands generate and evaluate then use the averaged weights.
    shards
        Cut the rows of every batch into so many parts, whose gradients are added up. The bits depend on their number,
        and not on how many ranks share them; by default as many as the ranks of --parallel mpi, and without it one.
    """

    sampling: Literal["sequential", "random"] = "sequential"
    batch_size: int | Literal["auto"] = "auto"
    num_steps: int | Literal["auto"] = "auto"
    epochs: int | Literal["auto"] | None = "auto"
    max_steps: int | None = None
    max_minutes: float | None = None
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad"] = "adam"
    lr: float = 4e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "linear", "exponential", "plateau"] = "cosine"
    final_lr: float = 0.05
    warmup_steps: int = 0
    clip_norm: float | None = 5.0
    patience: int | None = None
    averaged: float | None = None
    shards: int | None = None


@dataclass(frozen=True)
class RunOptions:
    """The run.

    Parameters
    ----------
    output
        The run's folder; by default a new one under runs/.
    seed
        Of the initial weights, the batches and dropout: with the same seed, the same bits.
    threads
        Cores to use; by default all, with --parallel mpi a rank's share of them. The results do not depend on it.
    device
        cuda: an NVIDIA GPU, with the extra cuda or cuda12. A run may be continued on another device; its numbers then
        agree but for rounding.
    log_every
        Steps from one line of metrics.jsonl to the next.
    evaluate_every
        Steps from one evaluation on the held-out part, sample and checkpoint to the next; by default an epoch.
    checkpoint_every
        Steps from one checkpoint file to the next, beside those of evaluations. Only about files: what a layer calls
        checkpoint_every, states computed again to save memory, is not an option of this command.
    keep
        How many of the last checkpoints to keep; the best one is always kept.
    log
        Where metrics go besides metrics.jsonl: csv, to the table metrics.csv; tensorboard, to event files in the folder
        tensorboard; or both, as if the option is given twice.
    """

    output: str | None = None
    seed: int = 0
    threads: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    log_every: int = 50
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    keep: int = 3
    log: Literal["csv", "tensorboard", "both"] | None = None


CORPUS_HELP = (
    "a UTF-8 text file, a data set (tinyshakespeare, timemachine, names), or the folder of `rondeau corpus build`; by "
    "default Python's own text"
)


GROUPS = (TextOptions, ModelOptions, TrainingOptions, RunOptions)
NAMES = frozenset({"corpus", *(field.name for group in GROUPS for field in fields(group))})
"""Everything that a configuration may hold."""

_Options = TypeVar("_Options", TextOptions, ModelOptions, TrainingOptions, RunOptions)


def pick(options: type[_Options], namespace: Any) -> _Options:
    """Make a group of options from what was parsed; what the parser left out keeps its default."""
    return options(
        **{field.name: namespace[field.name] for field in fields(options) if field.name in namespace}
    )
