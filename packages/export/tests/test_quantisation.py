"""Weights in int8: the error of each row, and models that have the rounded values."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import export, nn
from rondeau import tensor as rt
from rondeau.export._description import describe
from rondeau.export._quantisation import with_rounded_weights
from rondeau.kernels.numerics.rounding import quantise_rows


@pytest.mark.parametrize("scale", [1e-42, 1e-38, 1e-20, 1.0, 1e20, 3e38])
def test_no_weight_is_off_by_more_than_half_a_step_of_its_row(scale):
    matrix = np.random.default_rng(0).uniform(-1, 1, (5, 40)).astype(np.float32) * np.float32(scale)
    matrix[2] = 0
    numbers, scales = quantise_rows(matrix)
    found = numbers.astype(np.float64) * scales[:, None].astype(np.float64)
    largest = np.abs(matrix).max(1, keepdims=True).astype(np.float64)
    # Half a step, and what is lost where the scale itself is rounded to float32, 127 times at most.
    tiny = 128 * float(np.finfo(np.float32).smallest_subnormal)
    assert (np.abs(found - matrix) <= largest / 127 * (0.5 + 2**-16) + tiny).all()
    assert (numbers[2] == 0).all()
    assert scales[2] == 0


@nn.recurrent_cell(gates=("a", "b"), states=("h", "c"))
def _two_states(x, r, s):
    c = nn.cell_math.tanh(x.a + r.a) + 0.5 * s.c
    return nn.cell_math.sigmoid(x.b) * c, c


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LanguageModel(9, "lstm", 8, 2, embedding_size=8, tie_weights=True, dropout=0.3),
        lambda: nn.Sequential(
            nn.Linear(3, 5), nn.LSTM(5, 6, 2, bidirectional=True, proj_size=2), nn.LayerNorm(4)
        ),
        lambda: nn.Sequential(nn.Embedding(4, 3), nn.Recurrent(_two_states, 3, 6, zoneout=0.2, num_heads=2)),
        lambda: nn.LanguageModel(9, nn.cells.indrnn, 8, weight_dropout=0.0),
    ],
)
def test_a_rounded_model_has_the_weights_of_its_export(make):
    rt.manual_seed(0)
    model = make()
    before = {name: array.detach().numpy().tobytes() for name, array in model.named_parameters()}
    found, expected = describe(export.rounded_to_int8(model)), with_rounded_weights(describe(model))
    assert_same_bits(arrays(found), arrays(expected))
    assert {name: array.detach().numpy().tobytes() for name, array in model.named_parameters()} == before


def arrays(value):
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, tuple):
        return [array for part in value for array in arrays(part)]
    return []


def test_parametrised_weights_are_rounded_as_they_are_in_evaluation():
    rt.manual_seed(1)
    layer = nn.utils.parametrizations.weight_norm(nn.GRU(3, 5), "weight_hh_l0")
    head = nn.utils.parametrizations.weight_norm(nn.Linear(5, 2))
    model = nn.Sequential(layer, head)
    found, expected = describe(export.rounded_to_int8(model)), with_rounded_weights(describe(model))
    assert_same_bits(arrays(found), arrays(expected))


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_a_weight_that_is_computed_from_a_shared_one_leaves_the_other_as_it_is():
    rt.manual_seed(2)
    model = nn.LanguageModel(5, "gru", 3, embedding_size=3, tie_weights=True)
    nn.utils.parametrize.register_parametrization(model.embedding, "weight", Doubled())
    found, expected = describe(export.rounded_to_int8(model)), with_rounded_weights(describe(model))
    assert_same_bits(arrays(found), arrays(expected))
