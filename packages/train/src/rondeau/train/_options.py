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
        Only with --tokens characters or words.
    pattern
        The regular expression of --tokens regex. By default words and signs, with the spaces before them.
    bpe_size
        Size of the vocabulary of --tokens bpe.
    min_freq
        Tokens that occur fewer times in the text (without its held-out part) become the unknown token, <unk>.
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
        Fine-tune: begin with the weights and the vocabulary of the run in this folder. The options of tokens and model
        are that run's; of those, only dropout and the like may be given. --checkpoint chooses the weights.
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
        The output layer uses the embedding's weights; --embedding_size is then --hidden_size.
    forget_bias
        The initial bias of an LSTM's forget gates; other cells keep theirs.
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
        End the run after this many steps, of one batch each.
    max_minutes
        End the run after this many minutes of training.
    optimizer
        The optimiser; options that this command does not have keep the defaults of rondeau.train.optim.
    lr
        Learning rate.
    momentum
        The momentum of sgd and rmsprop.
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
        Cut the rows of every batch into this many parts, whose gradients are added up. The results depend on the number
        of shards, to the last bit, but not on how many ranks share them. By default as many as the ranks of --parallel
        mpi, and without it one.
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
        The seed of the initial weights, the batches and dropout: a run with the same seed gives the same bits.
    threads
        Cores to use; by default all, with --parallel mpi a rank's share of them. The results do not depend on it.
    device
        cuda: an NVIDIA GPU, with the extra cuda or cuda12. A run may be continued on another device; its numbers then
        agree apart from rounding.
    log_every
        Steps from one line of metrics.jsonl to the next.
    evaluate_every
        Steps from one evaluation on the held-out part to the next, each with a sample and a checkpoint; by default an
        epoch.
    checkpoint_every
        Steps from one checkpoint to the next, besides those that evaluations write; by default there are no others.
    keep
        How many of the last checkpoints to keep; the best one is always kept.
    log
        Where metrics go besides metrics.jsonl. csv: to the table metrics.csv; tensorboard: to event files in the folder
        tensorboard; both: to both, as if the option were given twice.
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


TEXT_HELP = "a UTF-8 text file, or a data set (tinyshakespeare, timemachine, names)"
CORPUS_HELP = f"{TEXT_HELP}, or a folder that `rondeau corpus build` made; by default Python's own text"


GROUPS = (TextOptions, ModelOptions, TrainingOptions, RunOptions)
NAMES = frozenset({"corpus", *(field.name for group in GROUPS for field in fields(group))})
"""Everything that a configuration may hold."""

OTHER_NAMES = {
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "iterations": "max_steps",
    "max_iter": "max_steps",
    "max_iters": "max_steps",
    "max_epochs": "epochs",
    "num_epochs": "epochs",
    "sequence_length": "num_steps",
    "seq_length": "num_steps",
    "seq_len": "num_steps",
    "bptt": "num_steps",
    "block_size": "num_steps",
    "model": "cell",
    "rnn_size": "hidden_size",
    "nhid": "hidden_size",
    "num_hiddens": "hidden_size",
    "nlayers": "num_layers",
    "n_layer": "num_layers",
    "emsize": "embedding_size",
    "embed_size": "embedding_size",
    "tied": "tie_weights",
    "grad_clip": "clip_norm",
    "max_grad_norm": "clip_norm",
    "random_state": "seed",
    "save": "output",
    "max_new_tokens": "length",
    "num_samples": "length",
}
"""What d2l, scikit-learn, PyTorch's and other examples call an option."""

_Options = TypeVar("_Options", TextOptions, ModelOptions, TrainingOptions, RunOptions)


def pick(options: type[_Options], namespace: Any) -> _Options:
    """Make a group of options from what was parsed; what the parser left out keeps its default."""
    return options(
        **{field.name: namespace[field.name] for field in fields(options) if field.name in namespace}
    )
