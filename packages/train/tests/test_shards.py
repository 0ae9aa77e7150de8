"""A training with shards: the same as without them but for rounding and draws, and the same bits on any ranks."""

import copy
import itertools
import queue
import threading

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import DataLoader, RandomBatches, SequentialBatches, TensorDataset, TokenStream
from rondeau.train import (
    Callback,
    CheckpointError,
    DivergedError,
    Forecasting,
    History,
    Score,
    SequenceLabelling,
    Supervised,
    Task,
    Trainer,
    lr_scheduler,
    optim,
)
from rondeau.train.parallel import OneProcess, Ranks
from rondeau.train.parallel._gradients import GradientSums
from rondeau.train.parallel._shards import Shards
from rondeau.train.parallel._tree import Node, largest_within, parents, total

V = 7


class ThreadRanks(Ranks):
    """Ranks that are threads of this process: what they send goes through queues."""

    def __init__(self, rank, queues):
        self.rank, self.size, self.queues = rank, len(queues), queues

    @classmethod
    def run_all(cls, size, function):
        """Call ``function(ranks)`` on so many ranks at once; return what each returned."""
        queues = [[queue.Queue() for _ in range(size)] for _ in range(size)]  # to, from
        found = [None] * size

        def run(rank):
            try:
                found[rank] = function(cls(rank, queues))
            except BaseException as error:
                found[rank] = error
                for of_rank in queues:  # nobody waits for what will not come
                    of_rank[rank].put(error)

        threads = [threading.Thread(target=run, args=[rank], daemon=True) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for outcome in found:
            if isinstance(outcome, BaseException):
                raise outcome
        return found

    def _send(self, rank, value):
        self.queues[rank][self.rank].put(copy.deepcopy(value))

    def _receive(self, rank):
        value = self.queues[self.rank][rank].get(timeout=60)
        if isinstance(value, BaseException):
            raise value
        return value

    def all_gather(self, value):
        for rank in range(self.size):
            self._send(rank, value)
        return [self._receive(rank) for rank in range(self.size)]

    def from_main(self, function):
        return self.all_gather(function() if self.is_main else None)[0]

    def exchange(self, outgoing, incoming):
        for rank, arrays in outgoing.items():
            self._send(rank, [np.array(array) for array in arrays])
        for rank, arrays in incoming.items():
            for mine, sent in zip(arrays, self._receive(rank), strict=True):
                mine[...] = sent

    def run(self, function):
        return function()


# ------------------------------------------------------------------------------------------------- the tree


@pytest.mark.parametrize("count", range(1, 18))
def test_ranges_are_made_up_of_the_fewest_nodes(count):
    nodes = {Node(0, count), *(child for pair in parents(count) for child in pair)}
    for start in range(count):
        for stop in range(start + 1, count + 1):
            found = largest_within(start, stop, count)
            assert [s for node in found for s in range(*node)] == list(range(start, stop))
            assert set(found) <= nodes
            inside = [node for node in nodes if start <= node.start and node.stop <= stop]
            assert all(any(f.start <= n.start and n.stop <= f.stop for f in found) for n in inside)


def test_the_tree_depends_on_the_number_of_shards_alone():
    leaves = {Node(i, i + 1): str(i) for i in range(6)}
    whole = total(Node(0, 6), leaves, lambda left, right: f"({left}{right})")
    assert whole == "(((01)(23))(45))"
    for size in range(1, 8):
        shards = [Shards(6, r, 0) for r in (ThreadRanks(rank, [None] * size) for rank in range(size))]
        parts = {
            node: total(node, leaves, lambda left, right: f"({left}{right})")
            for of_rank in shards
            if of_rank.own
            for node in largest_within(of_rank.own.start, of_rank.own.stop, 6)
        }
        assert total(Node(0, 6), parts, lambda left, right: f"({left}{right})") == whole


# ------------------------------------------------------------------------------------------- sums in slices

SHAPES = [("float32", (3, 5)), ("float64", ()), ("float32", (40,)), ("float64", (7, 2)), ("float32", (0,))]


def gradients_of(shard):
    """Values of such different sizes that sums depend on their order; none of one parameter in odd shards."""
    generator = np.random.default_rng(shard)
    found = [
        (generator.standard_normal(shape) * 10.0 ** generator.integers(-6, 7)).astype(d)
        for d, shape in SHAPES
    ]
    return [None if i == 2 and shard % 2 else np.asarray(g) for i, g in enumerate(found)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_gradients_add_up_to_the_same_bits_on_any_ranks(count, size):
    leaves = {Node(s, s + 1): gradients_of(s) for s in range(count)}

    def add(left, right):
        zero = [np.zeros(shape, dtype) for dtype, shape in SHAPES]
        left, right = (
            [z if g is None else g for g, z in zip(side, zero, strict=True)] for side in (left, right)
        )
        return [a + b for a, b in zip(left, right, strict=True)]

    wanted = [g if g is None else g / g.dtype.type(3) for g in total(Node(0, count), leaves, add)]

    def run(ranks):
        parameters = [rt.zeros(shape, dtype=dtype) for dtype, shape in SHAPES]
        shards = Shards(count, ranks, 0)
        sums = GradientSums(parameters, shards)
        for _ in range(2):  # memory is used again
            present = []
            for shard in shards.own:
                for parameter, gradient in zip(parameters, gradients_of(shard), strict=True):
                    parameter.grad = None if gradient is None else rt.tensor(gradient)
                present.append(sums.take(shard))
                assert all(parameter.grad is None for parameter in parameters)
            sums.finish(3.0, shards.gather(present))
        return [p.grad.numpy().copy() for p in parameters]

    for found in ThreadRanks.run_all(size, run):
        for one, other in zip(found, wanted, strict=True):
            assert_same_bits(one, np.asarray(other))


def test_what_no_shard_has_a_gradient_of_gets_none():
    parameter = rt.zeros(3)
    sums = GradientSums([parameter], Shards(2, OneProcess(), 0))
    sums.finish(1.0, [sums.take(0), sums.take(1)])
    assert parameter.grad is None


# ------------------------------------------------------------------------------------------------ trainings


def stream(length=400, seed=0):
    return TokenStream(np.random.default_rng(seed).integers(0, V, length), V)


def language_model(sampler=SequentialBatches, dropout=0.0, batch_size=5, **options):
    rt.manual_seed(1)
    model = nn.LanguageModel(
        V,
        "lstm",
        6,
        embedding_size=4,
        dropout=dropout,
        zoneout=dropout,
        dtype="float64",
        learn_initial_state=True,
    )
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    batches = sampler(stream(), batch_size=batch_size, num_steps=5, seed=2)
    return Trainer(model, optimizer, batches, **({"max_steps": 20, "held_out": stream(60, 3)} | options))


def tagger(masked=False, shuffled_held_out=False, **options):
    """Batches of 7, 7 and 4 sequences; with a mask, all of some shards' rows are left out."""
    rt.manual_seed(2)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((18, 4, 3))
    y = (x[:, :, 0] > 0).astype(int)
    if masked:
        y[:3] = -100

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = (
                nn.GRU(3, 5, batch_first=True, dtype="float64"),
                nn.Linear(5, 2, dtype="float64"),
            )
            self.unused = nn.Linear(2, 2)

        def forward(self, x, lengths):
            return self.head(self.rnn(x, lengths=lengths)[0])

    model = Tagger()
    data = TensorDataset(x, y, generator.integers(1, 5, 18))
    batches = DataLoader(data, 7, seed=3)
    held_out = DataLoader(data, 5, shuffle=shuffled_held_out, seed=4)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    options = {"max_epochs": 3, "held_out": held_out, "task": SequenceLabelling()} | options
    return Trainer(model, optimizer, batches, **options)


def weights(trainer):
    return {name: tensor.numpy().copy() for name, tensor in trainer.model.state_dict().items()}


def trained(make, **options):
    history = History()
    trainer = make(callbacks=[history], **options)
    trainer.fit()
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
    return trainer, rows


def on_ranks(size, make, **options):
    """Train on ranks that are threads; they make their trainers in turn, since models draw from one generator."""
    lock = threading.Lock()

    def run(ranks):
        with lock:
            trainer = make(parallel=ranks, callbacks=[history := History()], **options)
        trainer.fit()
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
        return weights(trainer), rows

    return ThreadRanks.run_all(size, run)


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert_same_bits(one[name], other[name])


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: language_model(clip_norm=0.05, evaluate_every=7, **o),
        lambda **o: language_model(RandomBatches, accumulate=3, **o),
        tagger,
        lambda **o: tagger(masked=True, shuffled_held_out=True, **o),
    ],
)
@pytest.mark.parametrize("shards", [1, 3])
def test_without_draws_shards_change_nothing_but_rounding(make, shards):
    plain, rows = trained(make)
    cut, cut_rows = trained(make, shards=shards)
    assert len(rows) == len(cut_rows)
    for one, other in zip(rows, cut_rows, strict=True):
        assert one.keys() == other.keys()
        assert_close(list(other.values()), list(one.values()), rtol=1e-9)
    for name, array in weights(plain).items():
        assert_close(weights(cut)[name], array, rtol=1e-7, atol=1e-11)
    assert cut.num_seen == plain.num_seen


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: language_model(dropout=0.3, clip_norm=0.05, evaluate_every=7, averaged=0.9, **o),
        lambda **o: language_model(
            RandomBatches, dropout=0.3, accumulate=2, patience=1, evaluate_every=3, **o
        ),
        lambda **o: tagger(masked=True, shuffled_held_out=True, **o),
    ],
)
def test_the_bits_depend_on_shards_and_not_on_ranks(make):
    alone, rows = trained(make, shards=4)
    for size in (2, 3, 5):
        for found, its_rows in on_ranks(size, make, shards=4):
            assert_same_weights(found, weights(alone))
            assert its_rows == rows


def test_a_model_may_grow():
    class Grows(Callback):
        def on_step(self, trainer):
            if trainer.step == 2:
                trainer.model.append(nn.Linear(2, 2, dtype="float64"))
                trainer.optimizer.add_param_group({"params": [*trainer.model[1].parameters()]})

    def made(**options):
        rt.manual_seed(0)
        x = np.random.default_rng(0).standard_normal((7, 5))
        model = nn.Sequential(nn.Linear(3, 2, dtype="float64"))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        batches = DataLoader(TensorDataset(x[:, :3], x[:, 3:]), 7)
        task = Supervised(nn.functional.mse_loss)
        trainer = Trainer(
            model, optimizer, batches, task=task, max_steps=5, clip_norm=0.5, callbacks=[Grows()], **options
        )
        rt.manual_seed(1)  # a training with shards has drawn a seed
        trainer.fit()
        return weights(trainer)

    plain, cut = made(), made(shards=3)
    assert len(plain) == 4
    for name, array in plain.items():
        assert_close(cut[name], array, rtol=1e-10)


def test_other_shards_draw_other_numbers():
    a, b = (weights(trained(lambda **o: language_model(dropout=0.3, **o), shards=n)[0]) for n in (2, 3))
    assert any(a[name].tobytes() != b[name].tobytes() for name in a)


def test_a_plateau_and_the_best_step_follow_the_shards():
    def make(**options):
        trainer = language_model(dropout=0.3, evaluate_every=2, **options)
        trainer.scheduler = lr_scheduler.ReduceLROnPlateau(
            trainer.optimizer, factor=0.5, patience=0, threshold=0.1
        )
        return trainer

    alone, rows = trained(make, shards=3)
    assert rows[-1]["lr"] < 0.01
    for found, its_rows in on_ranks(2, make, shards=3):
        assert_same_weights(found, weights(alone))
        assert its_rows == rows


def test_ranks_begin_with_the_weights_of_the_first():
    seeds = itertools.count()

    def make(**options):
        trainer = language_model(**options)
        for parameter in trainer.model.parameters():
            parameter.data[...] = np.random.default_rng(next(seeds)).standard_normal(parameter.shape)
        return trainer

    first, second = on_ranks(2, make)
    assert_same_weights(first[0], second[0])


# ----------------------------------------------------------------------------------- statistics and buffers


class Normalised(nn.Module):
    def __init__(self, momentum=0.1):
        super().__init__()
        self.inner, self.norm = (
            nn.Linear(2, 3, dtype="float64"),
            nn.BatchNorm1d(3, momentum=momentum, dtype="float64"),
        )
        self.head = nn.Linear(3, 1, dtype="float64")
        nn.utils.parametrizations.spectral_norm(self.inner)

    def forward(self, x):
        return self.head(self.norm(self.inner(x)))


def normalised(momentum=0.1, **options):
    rt.manual_seed(5)
    model = Normalised(momentum)
    x = np.random.default_rng(0).standard_normal((12, 2))
    batches = [(x, x[:, :1])]
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return Trainer(
        model, optimizer, batches, task=Supervised(nn.functional.mse_loss), **{"max_steps": 2} | options
    )


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_take_the_shards_in_order(momentum):
    trainer = normalised(momentum, max_steps=1, shards=3)
    twin = copy.deepcopy(trainer.model)
    ((x, _),) = trainer.batches
    u = twin.inner.parametrizations.weight[0]._u.numpy().copy()
    for rows in (slice(0, 4), slice(4, 8), slice(8, 12)):
        twin.inner.parametrizations.weight[0]._u._array[...] = u  # each shard begins with the step's vectors
        twin.inner.parametrizations.weight[0]._v._array[...] = trainer.model.inner.parametrizations.weight[
            0
        ]._v._array
        twin(rt.tensor(x[rows]))
    trainer.fit()
    for name, buffer in trainer.model.named_buffers():
        assert_close(buffer.numpy(), dict(twin.named_buffers())[name].numpy(), rtol=1e-12)
    assert int(trainer.model.norm.num_batches_tracked.item()) == 3


def test_buffers_are_the_same_on_all_ranks():
    alone, rows = trained(normalised, shards=3)
    for size in (2, 4):
        for found, its_rows in on_ranks(size, normalised, shards=3):
            assert_same_weights(found, weights(alone))
            assert its_rows == rows


def test_a_norm_that_is_applied_twice_is_refused():
    class Twice(Normalised):
        def forward(self, x):
            return self.head(self.norm(self.norm(self.inner(x))))

    trainer = normalised(shards=2)
    trainer.model.__class__ = Twice
    with pytest.raises(ValueError, match="norm: applied 2 times in one forward"):
        trainer.fit()


# --------------------------------------------------------------------------------------- tasks, ends, state


class Whole(Task):
    """Scores by itself."""

    def loss(self, model, batch, carry):
        x, y = (rt.tensor(part) for part in batch)
        return nn.functional.mse_loss(model(x), y), len(x), None

    def evaluate(self, model, held_out):
        return Score(float(rt.rand(1).item()), 1)


def test_a_task_with_an_evaluation_of_its_own_evaluates_everything_on_every_rank():
    def make(**options):
        return normalised(held_out=[0], evaluate_every=1, **options)

    def whole(**options):
        trainer = make(**options)
        trainer.task = trainer._sharded.task = Whole()
        return trainer

    _, rows = trained(whole, shards=2)
    assert rows[0]["held_out_loss"] != rows[1]["held_out_loss"]
    assert all(its_rows == rows for _, its_rows in on_ranks(3, whole, shards=2))


def test_quantiles_and_their_metrics_are_those_of_all_rows():
    def make(**options):
        rt.manual_seed(0)
        model = nn.Linear(3, 6, dtype="float64")

        class Forecaster(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model

            def forward(self, x):
                return self.inner(x).reshape(-1, 2, 3)

        x = np.random.default_rng(1).standard_normal((10, 3))
        pairs = TensorDataset(x, x[:, :2])
        forecaster = Forecaster()
        return Trainer(
            forecaster,
            optim.SGD(forecaster.parameters(), lr=0.1),
            DataLoader(pairs, 4),
            task=Forecasting(2, quantiles=(0.1, 0.5, 0.9)),
            held_out=DataLoader(pairs, 4),
            max_epochs=2,
            **options,
        )

    plain, _ = trained(make)
    cut, _ = trained(make, shards=3)
    assert_close(cut.evaluation.metrics["mae"], plain.evaluation.metrics["mae"], rtol=1e-9)


class StopsOn(Callback):
    def __init__(self, rank, step):
        self.rank, self.at = rank, step

    def on_step(self, trainer):
        if trainer.parallel.rank == self.rank and trainer.step == self.at:
            trainer.stop("enough")


def test_all_ranks_stop_where_one_does():
    def run(ranks):
        with LOCK:
            trainer = language_model(parallel=ranks, callbacks=[StopsOn(1, 3)])
        trainer.fit()
        return trainer.step, trainer.stopped_by

    LOCK = threading.Lock()
    assert ThreadRanks.run_all(2, run) == [(3, "enough")] * 2


def test_a_stop_that_comes_while_ranks_agree_is_for_the_next_step():
    def run(ranks):
        with LOCK:
            trainer = language_model(parallel=ranks)
        agree = trainer._sharded.agree_on_end

        def stopped_meanwhile(reason):
            agreed = agree(reason)
            if ranks.rank == 1 and trainer.step == 3:
                trainer.stop("enough")
            return agreed

        trainer._sharded.agree_on_end = stopped_meanwhile
        trainer.fit()
        return trainer.step, trainer.stopped_by

    LOCK = threading.Lock()
    assert ThreadRanks.run_all(2, run) == [(4, "enough")] * 2


def test_all_ranks_see_that_a_loss_diverged():
    def run(ranks):
        with LOCK:
            trainer = tagger(parallel=ranks, max_epochs=None, max_steps=1)
        if ranks.rank == 1:  # after the beginning, where weights become those of rank 0
            fit = trainer._begin_alike
            trainer._begin_alike = lambda: (fit(), trainer.model.head.weight.data.__setitem__(0, np.nan))
        with pytest.raises(DivergedError, match="the loss became nan at step 1"):
            trainer.fit()

    LOCK = threading.Lock()
    ThreadRanks.run_all(2, run)


def test_ranks_whose_weights_differ_are_named_at_a_checkpoint():
    def run(ranks):
        with LOCK:
            trainer = language_model(parallel=ranks)
        if ranks.rank == 2:
            trainer.model.head.bias.data[0] += 1
        with pytest.raises(RuntimeError, match="the weights of rank 2 are not those of rank 0"):
            trainer.snapshot()

    LOCK = threading.Lock()
    ThreadRanks.run_all(3, run)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_training_goes_on_with_another_number_of_ranks(size):
    def make(**options):
        return language_model(dropout=0.3, evaluate_every=4, **options)

    whole, _ = trained(make, shards=3)
    snapshots = ThreadRanks.run_all(2, lambda ranks: half(ranks, make))
    lock = threading.Lock()

    def go_on(ranks):
        with lock:
            trainer = make(parallel=ranks, shards=3)
            trainer.restore(snapshots[0])
        trainer.fit()
        return weights(trainer)

    for found in ThreadRanks.run_all(size, go_on):
        assert_same_weights(found, weights(whole))
    alone = make(shards=3)  # without ranks
    alone.restore(snapshots[0])
    alone.fit()
    assert_same_weights(weights(alone), weights(whole))


HALF = threading.Lock()


def half(ranks, make):
    with HALF:
        trainer = make(parallel=ranks, shards=3, callbacks=[StopsOn(0, 7)])
    trainer.fit()
    return copy.deepcopy(trainer.snapshot())


def test_a_checkpoint_of_other_shards_is_refused():
    snapshot = language_model(shards=3).snapshot()
    before = language_model(shards=2)
    with pytest.raises(CheckpointError, match="shards: was 3, is 2; give shards=3"):
        before.restore(snapshot)
    with pytest.raises(CheckpointError, match="shards: was none, is 2; give shards=None"):
        before.restore(language_model().snapshot())
    with pytest.raises(CheckpointError, match="shards: was 3, is none; give shards=3"):
        language_model().restore(snapshot)


def test_a_carried_state_of_other_rows_is_refused():
    trainer = language_model(shards=3, max_steps=1)
    trainer.fit()
    with pytest.raises(CheckpointError, match="the carried state: expected shapes"):
        language_model(shards=3, batch_size=6).restore(trainer.snapshot())


def test_a_checkpoint_without_shards_says_nothing_of_them():
    assert "shards" not in language_model().snapshot().state


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="shards: expected at least 1"):
        language_model(shards=0)
    with pytest.raises(TypeError, match="parallel"):
        language_model(parallel="mpi")
