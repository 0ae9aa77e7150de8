"""Sizes that are chosen by the length of the text: they fit, make enough steps, and give way to what is given."""

import re
from dataclasses import replace

import numpy as np
import pytest

from rondeau.data import RandomBatches, SequentialBatches, TokenStream
from rondeau.train._commands._telling import describe_sizes
from rondeau.train._options import TrainingOptions
from rondeau.train._sizes import LONG_TEXT, STEPS_OF_AN_EPOCH, fit_sizes
from rondeau.train._usage_error import UsageError

LENGTHS = [2, 3, 5, 15, 16, 45, 180, 450, 519, 520, 900, 4_500, 18_000, 90_000, 131_135, 131_136, 10**7]


def steps_of_an_epoch(sampler, length, sizes):
    return len(sampler(TokenStream(np.zeros(length, np.uint8), 2), sizes.batch_size, sizes.num_steps))


@pytest.mark.parametrize("sampler", [SequentialBatches, RandomBatches])
@pytest.mark.parametrize("length", LENGTHS[:-1])
def test_every_length_makes_steps(length, sampler):
    sizes = fit_sizes(TrainingOptions(), length, "character")
    steps = steps_of_an_epoch(sampler, length, sizes)
    assert steps >= 1
    if length >= 1024:
        assert steps >= STEPS_OF_AN_EPOCH - 1  # the random offset may take a batch
        assert sizes.epochs == 10
    if length >= 450:
        assert steps * sizes.epochs >= 10 * (STEPS_OF_AN_EPOCH - 1)
    assert 10 <= sizes.epochs <= 30


def test_a_longer_text_never_gets_smaller_batches():
    chosen = [fit_sizes(TrainingOptions(), length, "character") for length in LENGTHS]
    tokens = [sizes.batch_size * sizes.num_steps for sizes in chosen]
    assert tokens == sorted(tokens)
    assert chosen[-1] == chosen[-2] == LONG_TEXT
    assert chosen[-3] != LONG_TEXT


def test_what_is_given_stays():
    short = 4_500
    given = TrainingOptions(batch_size=32, num_steps=64, epochs=3)
    assert fit_sizes(given, short, "word") == (32, 64, 3)
    assert fit_sizes(replace(given, num_steps="auto"), short, "word") == (32, 8, 3)
    assert fit_sizes(replace(given, batch_size="auto"), short, "word") == (1, 64, 3)
    assert fit_sizes(TrainingOptions(max_steps=5), short, "word") == (4, 16, None)
    assert fit_sizes(TrainingOptions(max_steps=5, epochs=2), short, "word") == (4, 16, 2)
    assert fit_sizes(TrainingOptions(epochs=None, max_minutes=1.0), short, "word").epochs is None
    assert fit_sizes(TrainingOptions(batch_size=100), 150, "word") == (100, 1, 30)
    assert fit_sizes(TrainingOptions(num_steps=70), 150, "word") == (1, 70, 30)


@pytest.mark.parametrize("length", [2, 3, 10, 100, 2_111])
@pytest.mark.parametrize(
    "given", [(32, 64), (1000, 1000), (5000, "auto"), ("auto", 2_000), (1, 5_000), (5_000, 1)]
)
def test_a_refusal_names_values_that_work(given, length):
    options = TrainingOptions(batch_size=given[0], num_steps=given[1], epochs=2)
    with pytest.raises(UsageError) as refused:
        fit_sizes(options, length, "character")
    said = str(refused.value)
    assert f"{length:,}" in said
    advised = {name: int(most) for name, most in re.findall(r"--(\w+) (\d+)", said.partition("at most")[2])}
    if not advised:  # the one flag that the message begins with
        name = re.match(r"--(\w+)", said)[1]
        advised = {name: int(re.search(r"give at most ([\d,]+)", said)[1].replace(",", ""))}
    sizes = fit_sizes(replace(options, **advised), length, "character")
    assert steps_of_an_epoch(SequentialBatches, length, sizes) >= 1
    name, most = advised.popitem()
    with pytest.raises(UsageError):
        fit_sizes(replace(options, **advised, **{name: most + 1}), length, "character")


def test_a_text_of_one_token():
    with pytest.raises(UsageError, match="expected at least 2 words to train on, got 1; give a longer text"):
        fit_sizes(TrainingOptions(), 1, "word")


def test_what_was_given_is_not_told_as_chosen():
    given = TrainingOptions(batch_size=4, num_steps=8, max_steps=20)
    assert describe_sizes(fit_sizes(given, 4_000, "character"), given, "character") == {}
    chosen = TrainingOptions(num_steps=8, max_steps=20)
    assert describe_sizes(fit_sizes(chosen, 4_000, "character"), chosen, "character") == {
        "batches": "4 rows of 8 characters: chosen for the length of this text (to change: --batch_size)"
    }
