"""Parametrised weights: what a module with them reads, trains, keeps, copies and saves."""

import copy
import pickle
import threading

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils import parametrizations, parametrize
from rondeau.nn.utils.parametrize import register_parametrization


class Symmetric(nn.Module):
    """The upper triangle, mirrored; it counts its calls."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x.triu() + x.triu(1).mT

    def right_inverse(self, a):
        return a.triu()


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x

    def right_inverse(self, a):
        return a / 2


class Plus(nn.Module):
    def forward(self, x):
        return x + 1


class Squared(nn.Module):
    """Without an inverse."""

    def forward(self, x):
        return x * x


class LowRank(nn.Module):
    """A product of two factors, which start at fixed values."""

    def forward(self, left, right):
        return left @ right

    def right_inverse(self, a):
        return rt.ones(a.shape[0], 1, dtype=a.dtype), rt.ones(1, a.shape[1], dtype=a.dtype)


def symmetric(size=3, **options):
    return register_parametrization(nn.Linear(size, size, **options), "weight", Symmetric())


def test_the_original_is_the_former_parameter():
    layer = nn.Linear(3, 3)
    weight = layer.weight
    values = weight.detach().clone()
    register_parametrization(layer, "weight", Symmetric())
    assert layer.parametrizations.weight.original is weight
    assert_same_bits(weight, np.triu(values.numpy()))
    assert_same_bits(layer.weight, np.triu(values.numpy()) + np.triu(values.numpy(), 1).T)
    assert [name for name, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    assert "weight" in dir(layer)
    assert hasattr(layer, "weight")
    assert type(layer) is nn.Linear
    assert parametrize.is_parametrized(layer)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert not parametrize.is_parametrized(nn.Linear(2, 2))
    assert repr(layer).splitlines()[1:4] == [
        "  in_features=3, out_features=3, bias=True",
        "  (parametrizations): ModuleDict(",
        "    (weight): ParametrizationList(",
    ]


def test_a_weight_is_assigned_through_the_inverses_in_turn():
    layer = symmetric(dtype="float64")
    register_parametrization(layer, "weight", Doubled())
    value = rt.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]], dtype="float64")
    layer.weight = value
    assert_same_bits(layer.weight, value)
    assert_same_bits(layer.parametrizations.weight.original, np.triu(value.numpy()) / 2)
    layer.weight = rt.zeros(3, 3, dtype="float64")
    assert value.sum().item() == 31  # the layer has a copy


@pytest.mark.parametrize("constrain", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_a_value_of_another_shape_is_refused(constrain):
    layer = constrain(nn.Linear(2, 3))
    before = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    with pytest.raises(ValueError, match=r"of shape \(3, 2\) was assigned a value of shape \(2, 2\)"):
        layer.weight = rt.ones(2, 2)
    for name, value in layer.state_dict().items():
        assert_same_bits(value, before[name])


def test_assigning_is_a_change_in_place():
    layer, x = register_parametrization(nn.Linear(2, 2), "weight", Squared()), rt.ones(1, 2)
    y = layer(x).sum()
    layer.parametrizations.weight[0].right_inverse = lambda a: a.sqrt()
    layer.weight = rt.ones(2, 2)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("leave", [True, False])
def test_removing_leaves_a_parameter(leave):
    layer = symmetric()
    original, effective = layer.parametrizations.weight.original, layer.weight.detach()
    before = original.detach().clone()
    assert parametrize.remove_parametrizations(layer, "weight", leave_parametrized=leave) is layer
    assert layer.weight is original
    assert isinstance(layer.weight, nn.Parameter)
    assert_same_bits(layer.weight, effective if leave else before)
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert not parametrize.is_parametrized(layer)


def test_several_originals_are_parameters_of_their_own():
    layer = register_parametrization(nn.Linear(2, 3), "weight", LowRank())
    assert layer.parametrizations.weight.ntensors == 2
    assert_same_bits(layer.weight, np.ones((3, 2), np.float32))
    layer(rt.ones(1, 2)).sum().backward()
    assert_same_bits(layer.parametrizations.weight.original0.grad, np.full((3, 1), 2, np.float32))
    assert layer.parametrizations.weight.original1.requires_grad
    with pytest.raises(ValueError, match="would need one original, and weight has 2"):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    parametrize.remove_parametrizations(layer, "weight")
    assert isinstance(layer.weight, nn.Parameter)
    assert layer.weight.requires_grad
    frozen = nn.Linear(2, 3).requires_grad_(False)
    register_parametrization(frozen, "weight", LowRank())
    assert not any(p.requires_grad for p in frozen.parameters())


def test_buffers_can_be_parametrised():
    module = nn.Module()
    module.register_buffer("scale", rt.ones(2), persistent=False)
    register_parametrization(module, "scale", Doubled())
    assert_same_bits(module.scale, np.ones(2, np.float32))
    assert list(module.state_dict()) == []
    assert [name for name, _ in module.named_buffers()] == ["parametrizations.scale.original"]
    module.scale = rt.full((2,), 6.0)
    parametrize.remove_parametrizations(module, "scale", leave_parametrized=False)
    assert_same_bits(module.scale, np.full(2, 3, np.float32))
    assert list(module.state_dict()) == []


def test_shape_and_dtype_are_kept_unless_unsafe():
    class Taller(nn.Module):
        def forward(self, x):
            return rt.cat([x, x], 0)

    layer = nn.Linear(2, 3, bias=False)
    with pytest.raises(
        ValueError, match=r"must keep shape and dtype unless unsafe=True, expected float32 of shape"
    ):
        register_parametrization(layer, "weight", Taller())
    assert list(layer.state_dict()) == ["weight"]
    register_parametrization(layer, "weight", Taller(), unsafe=True)
    assert layer(rt.ones(1, 2)).shape == (1, 6)
    parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight.shape == (6, 2)


def test_values_are_cached_inside_the_block():
    layer = symmetric()
    counted = layer.parametrizations.weight[0]
    x = rt.ones(2, 3)
    before = counted.calls
    with parametrize.cached():
        y = layer(layer(x))
        with parametrize.cached():
            assert layer.weight is layer.weight
        assert counted.calls == before + 1
        layer.weight = rt.eye(3)
        assert_same_bits(layer.weight, np.eye(3, dtype=np.float32))
    y.sum()
    assert layer.weight is not layer.weight
    layer(x)
    assert counted.calls == before + 5


def test_a_cached_value_follows_its_originals():
    layer = register_parametrization(nn.Linear(2, 2), "weight", LowRank())
    factor = layer.parametrizations.weight.original0
    with parametrize.cached():
        with rt.no_grad():
            assert not layer.weight.requires_grad
        layer(rt.ones(1, 2)).sum().backward()
        assert factor.grad is not None
        with rt.no_grad():
            factor += 1
        assert_same_bits(layer.weight, np.full((2, 2), 2, np.float32))
        factor.data = rt.zeros(2, 1)
        assert_same_bits(layer.weight, np.zeros((2, 2), np.float32))
        register_parametrization(layer, "weight", Plus())
        assert_same_bits(layer.weight, np.ones((2, 2), np.float32))


def test_every_thread_has_a_cache_of_its_own():
    layer, seen = symmetric(), []
    with parametrize.cached():
        weight = layer.weight
        thread = threading.Thread(target=lambda: seen.extend([layer.weight, layer.weight]))
        thread.start()
        thread.join()
        assert layer.weight is weight
    assert len({id(each) for each in (weight, *seen)}) == 3


def test_each_weight_is_computed_once_a_call():
    layer = nn.LSTM(3, 3, num_layers=2, bidirectional=True)
    counted = []
    for name in ("weight_ih_l0", "weight_hh_l0", "weight_hh_l1_reverse"):
        parametrization = Doubled()
        register_parametrization(layer, name, parametrization)
        parametrization.forward = lambda x, name=name: counted.append(name) or 2 * x
    layer(rt.ones(4, 2, 3), layer.begin_state(2), lengths=[4, 2])
    assert sorted(counted) == ["weight_hh_l0", "weight_hh_l1_reverse", "weight_ih_l0"]


class Counting(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return 1 * x


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (lambda: nn.Linear(3, 2), lambda: (rt.ones(4, 3),)),
        (lambda: nn.Embedding(3, 2), lambda: (rt.tensor([0, 2]),)),
        (lambda: nn.Conv1d(2, 3, 2), lambda: (rt.ones(1, 2, 5),)),
        (lambda: nn.Conv2d(2, 3, 2), lambda: (rt.ones(1, 2, 5, 5),)),
        (lambda: nn.BatchNorm1d(3), lambda: (rt.randn(4, 3),)),
        (lambda: nn.BatchNorm2d(2), lambda: (rt.randn(4, 2, 3, 3),)),
        (lambda: nn.LayerNorm(3), lambda: (rt.randn(4, 3),)),
        (lambda: nn.InputDecay(2), lambda: (rt.ones(4, 3, 2), rt.ones(4, 3, 2), rt.ones(4, 3, 2))),
        (lambda: nn.RNNCell(3, 2), lambda: (rt.ones(4, 3),)),
        (lambda: nn.LSTMCell(3, 2), lambda: (rt.ones(4, 3),)),
        (lambda: nn.GRU(3, 2, learn_initial_state=True), lambda: (rt.ones(5, 4, 3),)),
        (lambda: nn.LSTM(3, 4, proj_size=2), lambda: (rt.ones(5, 4, 3),)),
    ],
)
def test_every_module_reads_each_parameter_once_a_call(module, arguments):
    module, arguments = module(), arguments()
    expected = module(*arguments)
    names = [name for name, _ in module.named_parameters()]
    for name in names:
        register_parametrization(module, name, Counting())
    counters = [module.parametrizations[name][0] for name in names]
    before = [counter.calls for counter in counters]
    assert_same_bits(module(*arguments), expected)
    assert [counter.calls - count for counter, count in zip(counters, before, strict=True)] == [1] * len(
        names
    )


def test_copies_have_originals_of_their_own():
    layer = parametrizations.orthogonal(nn.LSTM(2, 3, dtype="float64"), "weight_hh_l0", "cayley")
    x = rt.randn(4, 2, 2, dtype="float64")
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_same_bits(other(x)[0], layer(x)[0])
        with rt.no_grad():
            other.parametrizations.weight_hh_l0.original += 1
        assert not rt.equal(other.weight_hh_l0, layer.weight_hh_l0)


def test_a_change_of_dtype_reaches_originals_and_buffers():
    layer = parametrizations.spectral_norm(nn.Linear(3, 2)).double()
    assert layer.weight.dtype == np.float64
    assert layer(rt.ones(1, 3, dtype="float64")).dtype == np.float64
    assert layer.float().parametrizations.weight[0]._u.dtype == np.float32


def test_the_mode_reaches_the_parametrisation():
    layer = nn.Linear(2, 2).eval()
    register_parametrization(layer, "weight", Doubled())
    assert not layer.parametrizations.weight[0].training
    layer.train()
    assert layer.parametrizations.weight[0].training


def recurrent(**options):
    """Return a layer of a cell with a learned vector; matrices, the vector and a bias are parametrised."""
    layer = nn.Recurrent(nn.cells.lstm_peephole, 3, 4, dtype="float64", **options)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_hh_l0", layer._names[0][-1]):
        register_parametrization(layer, name, Doubled())
    return layer


def plain(layer):
    """Return a layer of the same weights that are parameters."""
    other = copy.deepcopy(layer)
    for name in list(other.parametrizations):
        parametrize.remove_parametrizations(other, name)
    return other


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"weight_dropout": 0.3, "zoneout": 0.2},
        {"recompute_every": 2},
        {"bptt_truncate": 2},
        {"proj_size": 2},
    ],
    ids=str,
)
def test_a_recurrent_layer_takes_the_effective_weights(options):
    if "proj_size" in options:
        layer = nn.LSTM(3, 4, dtype="float64", **options)
        for name in ("weight_hr_l0", "weight_hh_l0"):
            register_parametrization(layer, name, Doubled())
    else:
        layer = recurrent(**options)
    other, x = plain(layer), rt.randn(5, 2, 3, dtype="float64")
    results = []
    for each in (layer, other):
        rt.manual_seed(4)
        output, states = each(x, lengths=[5, 3])
        output.sum().backward()
        results.append((output, states))
        assert [tuple(w.shape for w in part) for part in each.all_weights] == [
            tuple(w.shape for w in part) for part in other.all_weights
        ]
    assert_same_bits(*results)
    gradients = {name: p.grad for name, p in other.named_parameters()}
    for name, p in layer.named_parameters():
        rest = name.split(".")[1:]
        if rest:  # the weight is twice the original
            assert_same_bits(p.grad, 2 * gradients[rest[0]])
        else:
            assert_same_bits(p.grad, gradients[name])


def test_every_form_of_a_batch_takes_the_effective_weights():
    layer = recurrent(num_layers=2, bidirectional=True)
    other, x = plain(layer), rt.randn(5, 2, 3, dtype="float64")
    reset = np.array([[0, 1], [0, 0], [1, 0], [0, 1], [0, 0]], bool)
    for given, features in ((x[:, 0], {}), (x, {"lengths": [0, 4], "reset": reset})):
        assert_same_bits(layer(given, **features), other(given, **features))
    packed = nn.utils.rnn.pack_padded_sequence(x, [3, 5], enforce_sorted=False)
    assert_same_bits(layer(packed)[0].data, other(packed)[0].data)
    assert_same_bits(layer(packed)[1], other(packed)[1])


def test_the_gradients_of_originals_are_those_of_differences():
    layer = parametrizations.orthogonal(nn.RNN(2, 3, dtype="float64"), "weight_hh_l0", "cayley")
    parametrizations.weight_norm(layer, "weight_ih_l0")
    x = rt.randn(3, 2, 2, dtype="float64")
    parameters = [p for name, p in layer.named_parameters() if "parametrizations" in name]
    assert len(parameters) == 3
    assert rt.gradcheck(lambda *_: layer(x)[0], parameters)
    assert rt.gradgradcheck(lambda *_: layer(x)[0], parameters)


def test_steppers_and_generation_take_the_effective_weights():
    model = nn.LanguageModel(7, "gru", 4, embedding_size=3).eval()
    for part, name in ((model.recurrent, "weight_hh_l0"), (model.head, "weight"), (model.head, "bias"),
                       (model.embedding, "weight")):  # fmt: skip
        register_parametrization(part, name, Doubled())
    logits, _ = model(rt.tensor([[3]]))
    assert_same_bits(model.stepper()(3)[0], logits[0])


def test_a_stepper_leaves_the_vectors_of_spectral_norm():
    layer = parametrizations.spectral_norm(nn.GRU(3, 4), "weight_hh_l0")
    before = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    x = rt.randn(1, 2, 3)
    y, _ = layer.stepper()(x[0])
    assert layer.parametrizations.weight_hh_l0[0].training
    assert_same_bits(layer.state_dict(), before)
    assert_same_bits(y, layer.eval()(x)[0][0])


def test_files_hold_the_originals(tmp_path):
    layer = parametrizations.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")
    other = parametrizations.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")
    nn.save_safetensors(layer.state_dict(), tmp_path / "layer.safetensors")
    other.load_state_dict(tmp_path / "layer.safetensors")
    assert_same_bits(other.weight_hh_l0, layer.weight_hh_l0)
    rt.save(layer.state_dict(), tmp_path / "layer.rt")
    assert sorted(rt.load(tmp_path / "layer.rt")) == sorted(layer.state_dict())


def test_tied_weights_share_the_original():
    model = nn.LanguageModel(5, "rnn", 3, embedding_size=3, tie_weights=True)
    register_parametrization(model.head, "weight", Doubled())
    assert model.head.parametrizations.weight.original is model.embedding.weight
    assert len(list(model.parameters())) == 6


def test_forget_bias_sets_a_parametrised_bias():
    layer = register_parametrization(nn.LSTM(2, 3), "bias_ih_l0", Doubled())
    nn.init.forget_bias_(layer)
    assert_same_bits(layer.bias_ih_l0[3:6], np.ones(3, np.float32))
    assert_same_bits(layer.bias_hh_l0[3:6], np.zeros(3, np.float32))


def test_initialisers_refuse_what_was_computed():
    layer = symmetric()
    with pytest.raises(ValueError, match=r"was computed from others.*assign"):
        nn.init.zeros_(layer.weight)
    with pytest.raises(ValueError, match="was computed from others"):
        layer.reset_parameters()
    nn.init.ones_(nn.Linear(2, 2).weight[0])  # a view is written through
    with pytest.raises(ValueError, match="was computed from others"):
        register_parametrization(nn.GRU(2, 2), "weight_hh_l0", Doubled()).reset_parameters()


class Failing(nn.Module):
    def forward(self, x):
        return x.no_such_method()


def assign(module, name, value):
    setattr(module, name, value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: register_parametrization(rt.ones(2), "weight", Doubled()),
            TypeError,
            "module must be an nn.Module",
        ),
        (
            lambda: register_parametrization(nn.Linear(2, 2), 3, Doubled()),
            TypeError,
            "tensor_name must be a string",
        ),
        (
            lambda: register_parametrization(nn.Linear(2, 2), "weight", abs),
            TypeError,
            "parametrization must be an nn",
        ),
        (
            lambda: register_parametrization(nn.Linear(2, 2), "w", Doubled()),
            ValueError,
            "no parameter, buffer or",
        ),
        (
            lambda: register_parametrization(nn.Linear(2, 2, bias=False), "bias", Doubled()),
            ValueError,
            "it is None",
        ),
        (
            lambda: parametrize.remove_parametrizations(nn.Linear(2, 2), "weight"),
            ValueError,
            "no parametrised tensor",
        ),
        (
            lambda: assign(
                register_parametrization(nn.Linear(2, 2), "weight", Squared()), "weight", rt.eye(2)
            ),
            RuntimeError,
            "Squared does not implement right_inverse",
        ),
        (lambda: assign(symmetric(), "weight", 3.0), TypeError, "a parametrised weight must be a Tensor"),
        (
            lambda: assign(symmetric(), "weight", rt.eye(3).double()),
            TypeError,
            "returned float64 for an original of",
        ),
        (
            lambda: assign(symmetric(), "weight", nn.Parameter(rt.eye(3))),
            KeyError,
            "is parametrised: assign a Tensor",
        ),
        (
            lambda: delattr(symmetric(), "weight"),
            AttributeError,
            "is parametrised: call",
        ),
        (
            lambda: symmetric().register_buffer("weight", rt.eye(3)),
            KeyError,
            "is parametrised: assign a Tensor",
        ),
        (lambda: parametrize.ParametrizationList([], rt.eye(3)), ValueError, "at least one parametrisation"),
        (
            lambda: register_parametrization(nn.Linear(2, 2), "weight", Failing()),
            AttributeError,
            "no_such_method",
        ),
        (lambda: register_parametrization(symmetric(), "weight", LowRank()), TypeError, "missing 1 required"),
    ],
)
def test_mistakes_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_error_in_a_parametrisation_is_not_taken_for_a_missing_attribute():
    layer = register_parametrization(nn.Linear(2, 2), "weight", Failing(), unsafe=True)
    with pytest.raises(RuntimeError, match=r"computing the parametrised 'weight' failed.*no_such_method"):
        hasattr(layer, "weight")


def test_a_failed_registration_leaves_the_module_as_it_was():
    layer = nn.Linear(2, 2)
    before = layer.state_dict()
    with pytest.raises(AttributeError):
        register_parametrization(layer, "weight", Failing())
    assert_same_bits(layer.state_dict(), before)
    assert not hasattr(layer, "parametrizations")


def test_a_slice_of_the_parametrisations_is_a_list():
    layer = register_parametrization(symmetric(), "weight", Doubled())
    assert type(layer.parametrizations.weight[:1]) is nn.ModuleList
    assert len(layer.parametrizations.weight) == 2


def test_a_users_own_module_of_that_name_is_left_alone():
    module = nn.Module()
    module.parametrizations = nn.ModuleDict({"weight": nn.Linear(2, 2)})
    assert not hasattr(module, "weight")
    assert not parametrize.is_parametrized(module)
    module.weight = nn.Parameter(rt.ones(2))
    assert "weight" in dict(module.named_parameters())
