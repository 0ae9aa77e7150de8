"""The precision of products, chosen for a block, a module and a process: forward, backward and second derivatives."""

import copy

import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.product import bfloat16
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS

from .recurrent_layers import as_tuple, randn

needs_bfloat16 = pytest.mark.skipif(not MULTIPLIES_PAIRS, reason="the processor does not multiply bfloat16")

T, B, I, H, V = 5, 3, 6, 17, 11  # noqa: E741 - the letters of the field

MODULES = {
    "linear": lambda: nn.Linear(I, H),
    "convolution": lambda: nn.Conv1d(B, 4, 3),
    "rnn": lambda: nn.RNN(I, H),
    "gru in both directions": lambda: nn.GRU(I, H, bidirectional=True),
    "lstm, projected": lambda: nn.LSTM(I, H, 2, proj_size=7),
    "heads of odd sizes": lambda: nn.Recurrent(nn.cells.gru, I, 15, num_heads=5),
    "a product of a value": lambda: nn.Recurrent(nn.cells.gru_original, I, H),
    "a single step": lambda: nn.LSTMCell(I, H),
}


@pytest.fixture(autouse=True)
def _the_process_at_highest():
    yield
    rt.set_float32_matmul_precision("highest")


def drawn(name):
    """Return a module and its input."""
    rt.manual_seed(0)
    module = MODULES[name]()
    return module, randn(
        *((B, I) if name == "a single step" else (T, B, I)), dtype="float32", requires_grad=True
    )


def differentiated(module, x):
    """Return the output of a module, and the gradients of its square sum."""
    output = as_tuple(module(x))[0]
    return output, *rt.grad(output.square().sum(), [x, *module.parameters()])


@needs_bfloat16
@pytest.mark.parametrize("name", MODULES)
def test_a_block_a_module_and_a_process_give_the_same_bits(name):
    module, x = drawn(name)
    highest = differentiated(module, x)
    with rt.float32_matmul_precision("medium"):
        in_a_block = differentiated(module, x)
    rt.set_float32_matmul_precision("medium")
    of_the_process = differentiated(module, x)
    rt.set_float32_matmul_precision("highest")
    module.float32_matmul_precision = "medium"
    of_the_module = differentiated(copy.deepcopy(module), x)
    assert_same_bits(in_a_block, of_the_process)
    assert_same_bits(in_a_block[:2], of_the_module[:2])
    assert_close(in_a_block, highest, of_largest=2e-2)
    for rounded, exact in zip(in_a_block[:2], highest[:2], strict=True):
        assert abs(rounded - exact).max() > 1e-5 * abs(exact).max()


@needs_bfloat16
def test_backward_has_the_precision_of_forward():
    module, x = drawn("rnn")
    with rt.float32_matmul_precision("medium"):
        expected = differentiated(module, x)
        output = module(x)[0]
    exact = module(x)[0]
    found = (output, *rt.grad(output.square().sum(), [x, *module.parameters()]))
    assert_same_bits(found, expected)
    with rt.float32_matmul_precision("medium"):
        of_exact = (exact, *rt.grad(exact.square().sum(), [x, *module.parameters()]))
    assert_same_bits(of_exact, differentiated(module, x))
    assert rt.get_float32_matmul_precision() == "highest"


@needs_bfloat16
def test_an_inner_module_may_have_another():
    rt.manual_seed(0)
    inner, outer = nn.Linear(I, H), nn.Sequential()
    outer.append(inner)
    x = randn(B, I, dtype="float32")
    exact = outer(x)
    outer.float32_matmul_precision = "medium"
    assert abs(outer(x) - exact).max() > 0
    inner.float32_matmul_precision = "highest"
    assert_same_bits(outer(x), exact)


@needs_bfloat16
def test_what_is_computed_without_a_call_has_the_precision_of_the_module():
    rt.manual_seed(0)
    x, targets = randn(B, I, dtype="float32"), rt.arange(B)
    loss = nn.LinearCrossEntropyLoss(I, H)
    exact = loss(x, targets)
    loss.linear.float32_matmul_precision = "medium"
    expected = nn.functional.cross_entropy(loss.linear(x), targets)
    assert_same_bits(loss(x, targets), expected)
    assert abs(expected - exact) > 0

    model, ids = nn.LanguageModel(V, "gru", hidden_size=H), rt.arange(T * B).reshape(B, T) % V
    model.float32_matmul_precision, model.head.float32_matmul_precision = "medium", "highest"
    logits, _ = model(ids)
    expected = nn.functional.cross_entropy(logits, ids.T.reshape(-1))
    found, _ = model(ids, targets=ids)
    assert_same_bits(found, expected)
    for one, other in zip(*(rt.grad(y, [*model.parameters()]) for y in (found, expected)), strict=True):
        assert_same_bits(one, other)

    layer, x = nn.LSTM(I, H), randn(T, B, I, dtype="float32")
    layer.float32_matmul_precision = "medium"
    (output, _), _ = layer.all_states(x)
    assert_same_bits(output, layer(x)[0])


@needs_bfloat16
def test_second_derivatives():
    module, x = drawn("rnn")

    def second():
        (first,) = rt.grad(module(x)[0].square().sum(), [x], create_graph=True)
        return rt.grad(first.square().sum(), [x, *module.parameters()])

    exact = second()
    module.float32_matmul_precision = "medium"
    found = second()
    assert_close(found, exact, of_largest=5e-2)
    assert abs(found[0] - exact[0]).max() > 1e-5


def test_a_processor_without_bfloat16_says_so_once(monkeypatch):
    monkeypatch.setattr(bfloat16, "MULTIPLIES_PAIRS", False)
    bfloat16._say_that_nothing_is_rounded.cache_clear()
    module, x = drawn("gru in both directions")
    exact = differentiated(module, x)
    module.float32_matmul_precision = "medium"
    with pytest.warns(
        rt.PerformanceWarning, match="does not multiply bfloat16, so products .* in float32"
    ) as given:
        found = [differentiated(module, x) for _ in range(2)]
    assert len(given) == 1
    assert given[0].filename == __file__
    assert_same_bits(found, [exact, exact])


@needs_bfloat16
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pieces_of_an_even_number_of_rows_change_no_bit(dtype):
    rt.manual_seed(0)
    layer = nn.LSTM(I, H, dtype=dtype)
    again = nn.LSTM(I, H, dtype=dtype, recompute_every=2)
    again.load_state_dict(layer.state_dict())
    x = randn(T, 4, I, dtype=dtype, requires_grad=True)
    with rt.float32_matmul_precision("medium"):
        assert_same_bits(differentiated(again, x), differentiated(layer, x))


def test_a_product_of_two_vectors_is_a_sum():
    a, b = (randn(H, seed=seed, dtype="float32", requires_grad=True) for seed in range(2))
    expected = a @ b
    with rt.float32_matmul_precision("medium"):
        found = a @ b
    assert_same_bits([found, *rt.grad(found, [a, b])], [expected, b, a])


def test_float64_is_as_it_was():
    module = nn.GRU(I, H, dtype="float64")
    x = randn(T, B, I, dtype="float64", requires_grad=True)
    expected = differentiated(module, x)
    module.float32_matmul_precision = "medium"
    assert_same_bits(differentiated(module, x), expected)


@pytest.mark.parametrize("precision", ["low", "MEDIUM", 3, None, b"medium"])
def test_what_is_no_precision_is_refused(precision):
    for choose in (rt.set_float32_matmul_precision, rt.float32_matmul_precision):
        with pytest.raises(ValueError, match="precision must be one of highest, high, medium, got "):
            choose(precision)
    module = nn.Linear(I, H)
    if precision is not None:
        with pytest.raises(ValueError, match="precision must be one of highest, high, medium, got "):
            module.float32_matmul_precision = precision
    assert module.float32_matmul_precision is None
    assert rt.get_float32_matmul_precision() == "highest"


def test_a_block_ends_with_an_error_too():
    with pytest.raises(ZeroDivisionError), rt.float32_matmul_precision("high"):
        _ = 1 / 0
    assert rt.get_float32_matmul_precision() == "highest"
    module = nn.Linear(I, H)
    module.float32_matmul_precision = "high"
    with pytest.raises(ValueError, match="input"):
        module(rt.zeros(2, I + 1))
    assert rt.get_float32_matmul_precision() == "highest"


def test_a_decorated_function_runs_at_its_precision():
    @rt.float32_matmul_precision("high")
    def present():
        return rt.get_float32_matmul_precision()

    assert (present(), rt.get_float32_matmul_precision()) == ("high", "highest")


def test_a_copy_keeps_it_and_a_state_dict_does_not():
    module = nn.Linear(I, H)
    module.float32_matmul_precision = "medium"
    assert copy.deepcopy(module).float32_matmul_precision == "medium"
    assert [*module.state_dict()] == ["weight", "bias"]
