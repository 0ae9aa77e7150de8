"""Samplers: the exact tables over arange(35), what every epoch must hold, and resuming in its midst."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comparing import assert_same_bits
from rondeau.data import RandomBatches, SequentialBatches, TokenStream

SAMPLERS = [SequentialBatches, RandomBatches]
sizes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 60), st.integers(0, 9))


def stream_of(batch_size, num_steps, extra):
    """Return a stream whose tokens are their own positions, of the least length or some more."""
    length = batch_size * num_steps + num_steps + extra
    return TokenStream(np.arange(length), length)


def starts(batches):
    return [tuple(X[:, 0].tolist()) for X, _ in batches]


def test_sequential_table():
    batches = SequentialBatches(TokenStream(np.arange(35)), 2, 5, offset=0)
    assert len(batches) == 3
    assert starts(batches) == [(0, 17), (5, 22), (10, 27)]


def test_random_table():
    batches = RandomBatches(TokenStream(np.arange(35)), 2, 5, offset=3, order=[2, 5, 0, 3, 1, 4])
    assert len(batches) == 3
    assert starts(batches) == [(13, 28), (3, 18), (8, 23)]
    assert starts(batches) == [(13, 28), (3, 18), (8, 23)]  # a fixed order holds in every epoch


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(sizes)
def test_batches_are_windows_and_the_same_one_token_later(sampler, size):
    batch_size, num_steps, _, seed = size
    batches = sampler(stream_of(*size[:3]), batch_size, num_steps, seed=seed)
    for _ in range(3):
        epoch = list(batches)
        assert len(epoch) == len(batches) >= 1
        for X, Y in epoch:
            assert X.shape == Y.shape == (batch_size, num_steps)
            assert X.dtype == Y.dtype == np.int64
            assert X.flags.c_contiguous
            assert Y.flags.c_contiguous
            assert not np.shares_memory(X, Y)
            assert_same_bits(X, X[:, :1] + np.arange(num_steps))
            assert_same_bits(Y, X + 1)


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(sizes)
def test_an_epoch_uses_a_token_at_most_once(sampler, size):
    batch_size, num_steps, _, seed = size
    inputs = np.concatenate([X for X, _ in sampler(stream_of(*size[:3]), batch_size, num_steps, seed=seed)])
    assert len(np.unique(inputs)) == inputs.size


@given(sizes)
def test_sequential_rows_continue(size):
    batch_size, num_steps, _, seed = size
    batches = SequentialBatches(stream_of(*size[:3]), batch_size, num_steps, seed=seed)
    for _ in range(2):
        epoch = [X for X, _ in batches]
        for X, following in pairwise(epoch):
            assert_same_bits(following, X + num_steps)
        assert 0 <= epoch[0][0, 0] < num_steps  # the offset
        # Rows leave out less than a window each, besides what the latest offset would.
        assert batch_size * (len(epoch) + 1) * num_steps > len(batches.stream) - num_steps - batch_size


@given(sizes)
def test_random_covers_every_window_once(size):
    batch_size, num_steps, _, seed = size
    stream = stream_of(*size[:3])
    offset = seed % num_steps
    batches = RandomBatches(stream, batch_size, num_steps, seed=seed, offset=offset)
    windows = list(range(offset, len(stream) - num_steps, num_steps))
    used = [start for batch in starts(batches) for start in batch]
    assert len(set(used)) == len(used)
    assert set(used) <= set(windows)
    assert len(windows) - len(used) < batch_size
    free = [
        start for batch in starts(RandomBatches(stream, batch_size, num_steps, seed=seed)) for start in batch
    ]
    assert len({start % num_steps for start in free}) == 1


def test_every_offset_and_every_order_occurs():
    sequential = SequentialBatches(TokenStream(np.arange(35)), 2, 5, seed=1)
    offsets = [starts(sequential)[0][0] for _ in range(100)]
    assert set(offsets) == set(range(5))
    random = RandomBatches(TokenStream(np.arange(13)), 1, 4, offset=0)
    orders = {tuple(starts(random)) for _ in range(100)}
    assert len(orders) == 6  # 3! orders of 3 windows


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seeds_and_epochs(sampler):
    stream = TokenStream(np.arange(200))

    def epochs(seed):
        batches = sampler(stream, 3, 4, seed=seed)
        return [starts(batches) for _ in range(8)]

    first = epochs(0)
    assert first == epochs(0)
    assert first != epochs(1)
    assert len(set(map(str, first))) > 1


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(sizes, st.integers(0, 40))
def test_resume_in_mid_epoch(sampler, size, stop):
    batch_size, num_steps, _, seed = size
    stream = stream_of(*size[:3])

    def batches_and_epochs(batches, epochs):
        for epoch in range(epochs):
            for X, _ in batches:
                yield epoch, X[:, 0].tolist(), json.dumps(batches.state_dict())
            yield epoch, "end", json.dumps(batches.state_dict())

    whole = list(batches_and_epochs(sampler(stream, batch_size, num_steps, seed=seed), 3))
    assume(stop < len(whole))
    epoch, event, state = whole[stop]
    resumed = sampler(stream, batch_size, num_steps, seed=seed + 1)
    next(iter(resumed))  # wherever it stood
    resumed.load_state_dict(json.loads(state))
    assert json.dumps(resumed.state_dict()) == state
    done = epoch + (event == "end")
    rest = [(done + e, event, state) for e, event, state in batches_and_epochs(resumed, 3 - done)]
    assert rest == whole[stop + 1 :]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_loop_left_early_ends_its_epoch(sampler):
    stream = TokenStream(np.arange(200))
    whole, left = sampler(stream, 3, 4), sampler(stream, 3, 4)
    epochs = [starts(whole) for _ in range(3)]
    assert starts(left) == epochs[0]
    for _ in left:
        break
    assert starts(left) == epochs[2]
    assert left.state_dict()["epoch"] == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_loop_has_a_position_of_its_own(sampler):
    stream = TokenStream(np.arange(200))
    epochs = [starts(batches) for batches in [sampler(stream, 3, 4)] for _ in range(4)]
    batches, seen = sampler(stream, 3, 4), []
    for i, (X, _) in enumerate(batches):
        seen.append(tuple(X[:, 0].tolist()))
        if i == 1:
            assert tuple(next(iter(batches))[0][:, 0].tolist()) == epochs[1][0]
        if i == 2:
            assert starts(batches) == epochs[1]
            assert len(batches) == len(epochs[0])
    assert seen == epochs[0]
    assert starts(batches) == epochs[1]
    one, other = iter(batches), iter(batches)
    turns = [(next(one)[0][:, 0], next(other)[0][:, 0]) for _ in epochs[0]]
    assert [tuple(start.tolist()) for start, _ in turns] == epochs[2]
    assert [tuple(start.tolist()) for _, start in turns] == epochs[3]
    assert (next(one, None), next(other, None)) == (None, None)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_state_is_that_of_the_loop_that_took_a_batch_last(sampler):
    stream = TokenStream(np.arange(200))
    batches = sampler(stream, 3, 4)
    loop = iter(batches)
    next(loop)
    next(iter(batches))
    next(loop)
    resumed = sampler(stream, 3, 4, seed=5)
    resumed.load_state_dict(batches.state_dict())
    assert starts(resumed) == [tuple(X[:, 0].tolist()) for X, _ in loop]
    next(begun := iter(batches))
    batches.load_state_dict(resumed.state_dict())
    next(begun)  # goes on, and the loaded state is left
    assert batches.state_dict()["batch"] == 2


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_refused_state_changes_nothing(sampler):
    batches = sampler(TokenStream(np.arange(200)), 3, 4)
    next(iter(batches))
    state, rest = batches.state_dict(), starts(sampler(TokenStream(np.arange(200)), 3, 4))[1:]
    for name, value in (
        ("seed", -1),
        ("epoch", 2**63),
        ("batch", len(batches) + 1),
        ("batch", 0.5),
        ("seed", None),
    ):
        with pytest.raises((TypeError, ValueError), match=f"{name} in the state must be"):
            batches.load_state_dict({"seed": 7, **state, name: value})
        assert batches.state_dict() == state
    batches.load_state_dict(state)
    assert starts(batches) == rest


def test_the_state_is_json_whatever_integers_were_given():
    batches = SequentialBatches(
        TokenStream(np.arange(99)), np.int8(2), np.int64(5), seed=np.uint8(3), offset=np.int32(1)
    )
    assert json.loads(json.dumps(batches.state_dict())) == batches.state_dict()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_state_of_another_sampler_is_refused(sampler):
    stream = TokenStream(np.arange(200))
    batches = sampler(stream, 3, 4)
    state = batches.state_dict()
    other = SAMPLERS[SAMPLERS.index(sampler) - 1].__name__
    for name, value in (
        ("sampler", other),
        ("batch_size", 2),
        ("num_steps", 5),
        ("num_tokens", 9),
        ("offset", 1),
    ):
        with pytest.raises(
            ValueError, match=f"cannot resume: {name} is {state[name]!r} here, but was {value!r} in"
        ):
            batches.load_state_dict({**state, name: value})
    with pytest.raises(ValueError, match="batch in the state must be 0 or more, got -1"):
        batches.load_state_dict({**state, "batch": -1})
    with pytest.raises(ValueError, match="expected the state of a sampler with"):
        batches.load_state_dict({"epoch": 1})


def test_a_state_of_another_order_is_refused():
    stream = TokenStream(np.arange(40))
    batches = RandomBatches(stream, 2, 5, offset=0, order=[3, 1, 4, 0])
    state = batches.state_dict()
    RandomBatches(stream, 2, 5, offset=0, order=[3, 1, 4, 0]).load_state_dict(json.loads(json.dumps(state)))
    for order in (None, [1, 3, 4, 0]):
        with pytest.raises(ValueError, match=r"cannot resume: order is .* here, but was \[3, 1, 4, 0\] in"):
            RandomBatches(stream, 2, 5, offset=0, order=order).load_state_dict(state)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_shortest_stream(sampler):
    for batch_size, num_steps in ((1, 1), (2, 5), (7, 3)):
        needed = batch_size * num_steps + num_steps
        assert len(sampler(TokenStream(np.arange(needed)), batch_size, num_steps)) == 1
        with pytest.raises(
            ValueError, match=rf"a stream of {needed - 1} tokens is too short .* needs {needed} "
        ):
            sampler(TokenStream(np.arange(needed - 1)), batch_size, num_steps)
        with_offset = batch_size * num_steps + 1
        assert len(sampler(TokenStream(np.arange(with_offset)), batch_size, num_steps, offset=0)) == 1
        with pytest.raises(ValueError, match="take a smaller batch_size or num_steps"):
            sampler(TokenStream(np.arange(with_offset - 1)), batch_size, num_steps, offset=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_numbers_out_of_range(sampler):
    stream = TokenStream(np.arange(200))
    for batch_size, num_steps, name in ((0, 5, "batch_size"), (5, 0, "num_steps")):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            sampler(stream, batch_size, num_steps)
    for offset in (-1, 5):
        with pytest.raises(ValueError, match=rf"offset must be from 0 to 4 \(num_steps - 1\), got {offset}"):
            sampler(stream, 2, 5, offset=offset)
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        sampler(stream, 2, 5, seed=-1)


def test_orders_that_are_none():
    stream = TokenStream(np.arange(35))
    with pytest.raises(ValueError, match="an order of windows needs a fixed offset"):
        RandomBatches(stream, 2, 5, order=[0, 1])
    for order in ([0, 0, 1], [0, 6], [-1, 0], [0]):
        with pytest.raises(ValueError, match="order must name at least 2 different windows from 0 to 5, got"):
            RandomBatches(stream, 2, 5, offset=3, order=order)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_files_give_the_same_batches(sampler, tmp_path):
    ids = np.random.default_rng(0).integers(0, 300, 500)
    mapped = TokenStream.write(tmp_path / "s", [ids], 300, shard_tokens=64)
    for (X, Y), (mapped_X, mapped_Y) in zip(
        sampler(TokenStream(ids), 4, 10), sampler(mapped, 4, 10), strict=True
    ):
        assert_same_bits(X, mapped_X)
        assert_same_bits(Y, mapped_Y)
