"""What every format starts from: modules as a chain of blocks, what is refused, and the example of the check."""

import numpy as np
import pytest

from comparing import assert_close
from rondeau import export, nn
from rondeau import tensor as rt
from rondeau.export._description import describe
from rondeau.export._evaluation import evaluate, make_example, moved
from rondeau.nn import cell_math as m


def test_a_module_may_be_used_more_than_once():
    rt.manual_seed(0)
    linear, tanh = nn.Linear(3, 3), nn.Tanh()
    model = nn.Sequential(linear, tanh, nn.Sequential(linear, tanh), nn.LayerNorm(3))
    described = describe(model)
    assert [block.name for block in described.blocks] == ["0", "1", "2.0", "2.1", "3"]
    x = rt.randn(5, 3)
    assert_close(evaluate(described, x.numpy()).outputs, model(x), rtol=2e-6, atol=2e-6)


def test_a_chain_may_use_a_recurrent_layer_more_than_once():
    rt.manual_seed(1)
    layer = nn.GRU(3, 3)
    x = rt.randn(5, 2, 3)
    once, _ = layer(x)
    twice, _ = layer(once)
    found = export.Chain(layer, layer, last_step=True)(x)
    assert_close(found, twice[-1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("embedding_size", [None, 2])
def test_what_takes_the_place_of_dropout_in_a_language_model_is_exported(embedding_size):
    rt.manual_seed(2)
    model = nn.LanguageModel(5, "gru", 3, embedding_size=embedding_size).eval()
    model.dropout = nn.Tanh()
    described = describe(nn.Sequential(model, nn.Softmax(-1)))
    assert described.takes_ids
    logits, _ = model(rt.tensor([[4, 0, 1]]))
    found = evaluate(described, np.array([4, 0, 1])).outputs
    assert_close(found, nn.functional.softmax(logits, -1), rtol=2e-6, atol=2e-6)


class Shifted(nn.Module):
    """A vector plus 1 in evaluation, and minus 1 in training."""

    def forward(self, vector):
        return vector - 1 if self.training else vector + 1


def test_learned_initial_states_are_those_of_evaluation_whatever_the_mode():
    layer = nn.GRU(2, 3, 2, bidirectional=True, learn_initial_state=True)
    for name in ("initial_h_l0", "initial_h_l1_reverse"):
        nn.utils.parametrize.register_parametrization(layer, name, Shifted())
    first, second = describe(layer).layers
    found = [direction.initial[0][0] for one in (first, second) for direction in (one, one.reverse)]
    assert found == [1, 0, 0, 1]
    assert layer.training


def test_the_check_of_an_export_allows_for_rounding_that_the_model_amplifies():
    """Two nearly equal units, normalised, are 1 and -1 but for how their mean is rounded."""
    rt.manual_seed(0)
    linear = nn.Linear(3, 2)
    with rt.no_grad():
        linear.weight[1] = linear.weight[0] + 2e-3
        linear.bias[1] = linear.bias[0] + 0.02
    model = describe(nn.Sequential(linear, nn.LayerNorm(2)))
    for seed in range(200):
        example = make_example(model, seed=seed)
        x = moved(example.x, np.random.default_rng(1000 + seed), 2.0**-22)
        single, double = (evaluate(model, x, dtype=dtype).outputs for dtype in (np.float32, np.float64))
        assert_close(single, double, rtol=example.tolerance, atol=example.tolerance)


def test_squares_in_a_normalisation_may_be_beyond_float32():
    x = rt.tensor([[1e20, -3e20, 2e19, 0.0]])
    found = evaluate(describe(nn.LayerNorm(4)), x.numpy()).outputs
    assert_close(found, nn.functional.layer_norm(x, (4,)), rtol=1e-6, atol=1e-6)


class Doubled(nn.Sequential):
    def forward(self, input):
        return 2 * super().forward(input)


class DoubledLayer(nn.GRU):
    def forward(self, *args, **kwargs):
        output, state = super().forward(*args, **kwargs)
        return 2 * output, state


class DoubledModel(nn.LanguageModel):
    def forward(self, *args, **kwargs):
        logits, state = super().forward(*args, **kwargs)
        return 2 * logits, state


def with_a_hook(module):
    module.register_forward_hook(lambda module, args, output: 2 * output)
    return module


def with_a_hooked_dropout(model):
    with_a_hook(model.dropout)
    return model


def with_a_function(module):
    module.forward = lambda input: 2 * input
    return module


def with_a_weight(module, value):
    with rt.no_grad():
        module.weight[0, 0] = value
    return module


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Doubled(nn.Linear(2, 3)), r"Doubled \(Doubled\) has a forward of its own"),
        (lambda: nn.Sequential(DoubledLayer(2, 3)), r"0 \(DoubledLayer\) has a forward of its own"),
        (lambda: DoubledModel(5, "gru", 3), r"DoubledModel \(DoubledModel\) has a forward of its own"),
        (lambda: with_a_function(nn.Linear(2, 3)), r"Linear \(Linear\) has a forward of its own"),
        (lambda: nn.Sequential(with_a_hook(nn.Linear(2, 3))), "0 has forward hooks, .* remove them"),
        (lambda: with_a_hooked_dropout(nn.LanguageModel(5, "gru", 3)), "dropout has forward hooks"),
        (
            lambda: export.Chain(nn.GRU(2, 3, batch_first=True), nn.GRU(3, 2)),
            "some recurrent layers take the batch first and others the steps",
        ),
        (lambda: nn.Linear(0, 3), "Linear has 0 inputs and 3 outputs: there must be at least one of each"),
        (lambda: nn.Linear(3, 0), "Linear has 3 inputs and 0 outputs"),
        (lambda: nn.Embedding(0, 3), "Embedding has 0 inputs and 3 outputs"),
        (lambda: nn.Embedding(3, 0), "Embedding has 3 inputs and 0 outputs"),
        (lambda: nn.LayerNorm(0), "LayerNorm has 0 inputs and 0 outputs"),
        (
            lambda: nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(float("nan"))),
            "1 has the option nan, which is not a number of float32",
        ),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softplus(1e40)), "1 has the option 1e.40"),
        (
            lambda: with_a_weight(nn.Linear(2, 2, dtype="float64"), 1e300),
            "a value of its weight is beyond the range of float32",
        ),
        (lambda: with_a_weight(nn.Linear(2, 2), float("nan")), "a value of its weight is not finite"),
        (lambda: with_a_weight(nn.Embedding(2, 2), float("inf")), "a value of its weight is not finite"),
    ],
)
def test_refused(make, message):
    with pytest.raises(export.ExportError, match=message):
        describe(make())


def test_a_limit_may_be_infinite():
    assert describe(nn.Sequential(nn.Linear(2, 3), nn.Softplus(threshold=float("inf")))).outputs == 3


@nn.recurrent_cell(gates=("a",), states=("h",))
def _logarithm(x, r, s):
    return m.log(x.a) + 0 * s.h


def test_an_example_has_finite_numbers_where_there_are_any():
    layer = nn.Recurrent(_logarithm, 2, 2, bias=False)
    with rt.no_grad():
        layer.weight_ih_l0.copy_(rt.tensor([[1.0, 0.0], [0.0, 1.0]]))
    example = make_example(describe(layer))
    assert (example.x > 0).all()
    assert np.isfinite(example.expected.outputs).all()
    assert 0 < example.tolerance < 1e-5
    with rt.no_grad():
        layer.weight_ih_l0[0, 0] = -1
    example = make_example(describe(layer))  # one unit of two, in half of the steps
    assert np.isnan(example.expected.outputs).any()
    assert 0 < example.tolerance < 1e-5
    with rt.no_grad():
        layer.weight_ih_l0.fill_(0.0)
    with pytest.raises(export.ExportError, match=r"Recurrent\.0 computes NaN or infinities alone"):
        make_example(describe(layer))
