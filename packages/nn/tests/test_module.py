import copy
import gc
import weakref

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2, bias=False)
        self.scale = nn.Parameter(rt.ones(2))
        self.register_buffer("seen", rt.zeros(1).long())
        self.register_buffer("cache", rt.zeros(5), persistent=False)
        self.register_parameter("nothing", None)

    def forward(self, x):
        return self.second(self.first(x).tanh()) * self.scale


def torch_twin(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 4)
            self.second = torch.nn.Linear(4, 2, bias=False)
            self.scale = torch.nn.Parameter(torch.ones(2))
            self.register_buffer("seen", torch.zeros(1).long())
            self.register_buffer("cache", torch.zeros(5), persistent=False)
            self.register_parameter("nothing", None)

        def forward(self, x):
            return self.second(self.first(x).tanh()) * self.scale

    return Net()


def names(pairs):
    return [name for name, _ in pairs]


def test_walks_in_the_order_of_torch(torch):
    ours, theirs = Net(), torch_twin(torch)
    for method in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert names(getattr(ours, method)()) == names(getattr(theirs, method)()), method
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert list(ours.state_dict(prefix="net.")) == list(theirs.state_dict(prefix="net."))
    assert len(list(ours.parameters())) == 4
    assert len(list(ours.parameters(recurse=False))) == 1
    assert names(ours.named_parameters(prefix="net")) == names(theirs.named_parameters(prefix="net"))


def test_same_numbers_as_torch(torch, compare_modules, dtype):
    theirs = torch_twin(torch).to(getattr(torch, dtype))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(dtype)
    compare_modules(Net().to(dtype=dtype), theirs, x)


def test_repr_is_torch_s(torch):
    assert repr(Net()) == repr(torch_twin(torch))


def test_state_dict_goes_to_torch_and_back(torch):
    ours, theirs = Net(), torch_twin(torch)
    theirs.load_state_dict(
        {name: torch.from_numpy(value.numpy()) for name, value in ours.state_dict().items()}
    )
    for name, value in theirs.state_dict().items():
        assert_same_bits(value, ours.state_dict()[name].numpy())
    fresh = Net()
    assert fresh.load_state_dict(theirs.state_dict()) == ([], [])
    assert fresh.first.weight.tolist() == ours.first.weight.tolist()


def test_state_dict_shares_memory_and_is_detached():
    net = Net()
    state = net.state_dict()
    assert not state["scale"].requires_grad
    net.scale.data[...] = 3.0
    assert state["scale"].tolist() == [3.0, 3.0]
    assert net.state_dict(keep_vars=True)["scale"] is net.scale


def test_loading_copies():
    source, target = Net(), Net()
    target.load_state_dict(source.state_dict())
    source.scale.data[...] = 7.0
    assert target.scale.tolist() == [1.0, 1.0]


def test_loading_converts_to_the_module_s_dtype():
    net = Net()
    net.load_state_dict({**net.state_dict(), "scale": np.array([2.0, 3.0], np.float64)})
    assert net.scale.dtype == rt.float32
    assert net.scale.tolist() == [2.0, 3.0]


def test_all_that_does_not_fit_is_listed_and_nothing_is_copied():
    net = Net()
    state = {**net.state_dict(), "scale": np.zeros(3), "extra": np.zeros(1), "first.bias": np.full(4, 9.0)}
    del state["seen"]
    before = net.first.bias.tolist()
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Net:\n"
        '    Missing key(s) in state_dict: "seen".\n'
        '    Unexpected key(s) in state_dict: "extra".\n'
        "    size mismatch for scale: the shape in the state_dict is (3,), in this module it is (2,)"
    )
    assert net.first.bias.tolist() == before


def test_not_strict():
    net = Net()
    result = net.load_state_dict({"scale": np.zeros(2), "extra": np.zeros(1)}, strict=False)
    assert result.missing_keys == ["seen", "first.weight", "first.bias", "second.weight"]
    assert result.unexpected_keys == ["extra"]
    assert net.scale.tolist() == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="size mismatch for scale"):
        net.load_state_dict({"scale": np.zeros(3)}, strict=False)


def test_what_cannot_be_loaded(torch):
    net = nn.Linear(1, 1, bias=False)
    with pytest.raises(
        TypeError, match="expects a mapping from names to tensors, or the path of a safetensors file"
    ):
        net.load_state_dict([1, 2])
    with pytest.raises(TypeError, match="tensor 'weight' must be a Tensor or an array of numbers, got str"):
        net.load_state_dict({"weight": "three"})
    with pytest.raises(
        TypeError, match=r"tensor 'weight' cannot be read .* by .detach\(\).cpu\(\).float\(\)"
    ):
        net.load_state_dict({"weight": torch.zeros(1, 1, dtype=torch.bfloat16)})


def test_a_shared_parameter_counts_once():
    net = Net()
    net.third = nn.Linear(4, 2, bias=False)
    net.third.weight = net.second.weight
    assert len(list(net.parameters())) == 4
    assert "third.weight" not in names(net.named_parameters())
    assert "third.weight" in names(net.named_parameters(remove_duplicate=False))
    assert {"second.weight", "third.weight"} <= set(net.state_dict())
    net.load_state_dict(net.state_dict())
    assert net.third.weight is net.second.weight


def test_a_shared_module_counts_once(torch):
    for library in (nn, torch.nn):
        layer = library.Linear(2, 2)
        net = library.Sequential(layer, library.Tanh(), layer)
        assert names(net.named_modules()) == ["", "0", "1"]
        assert names(net.named_modules(remove_duplicate=False)) == ["", "0", "1", "2"]
        assert names(net.named_parameters()) == ["0.weight", "0.bias"]
        assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_modes():
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.train()
    assert all(module.training for module in net.modules())
    with pytest.raises(ValueError, match="training mode is expected to be boolean, got 1"):
        net.train(1)


def test_freezing():
    net = Net().requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    net.requires_grad_()
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_zero_grad():
    net = Net()
    net(rt.ones(1, 3)).sum().backward()
    kept = net.scale.grad
    net.zero_grad(set_to_none=False)
    assert net.scale.grad.tolist() == [0.0, 0.0]
    assert kept.tolist() != [0.0, 0.0]
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_apply_visits_children_first():
    visited = []
    net = Net()
    assert net.apply(lambda module: visited.append(type(module).__name__)) is net
    assert visited == ["Linear", "Linear", "Net"]


@pytest.mark.parametrize(
    "convert", [lambda m: m.double(), lambda m: m.to("float64"), lambda m: m.to(rt.float64)]
)
def test_dtype_changes_in_place(convert):
    net = Net()
    net(rt.ones(1, 3)).sum().backward()
    weight = net.first.weight
    assert convert(net) is net
    assert net.first.weight is weight
    assert weight.dtype == weight.grad.dtype == rt.float64
    assert net.cache.dtype == rt.float64
    assert net.seen.dtype == rt.int64
    assert net(rt.ones(1, 3, dtype="float64")).dtype == rt.float64
    net.float()
    assert weight.dtype == rt.float32
    assert net.to(rt.zeros(1, dtype="float64")).scale.dtype == rt.float64


def test_to_device():
    net = Net()
    assert net.to("cpu") is net
    assert net.to("cpu", "float64").scale.dtype == rt.float64
    with pytest.raises(TypeError, match="only accepts float32 or float64 as dtype, got int64"):
        net.to(rt.int64)


def test_deepcopy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    assert type(twin.scale) is nn.Parameter
    assert twin.scale is not net.scale
    twin.scale.data[...] = 5.0
    assert net.scale.tolist() == [1.0, 1.0]
    assert names(twin.named_parameters()) == names(net.named_parameters())
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    again = copy.deepcopy(tied)
    assert again[0].weight is again[1].weight


def test_memory_returns_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        net = Net()
        net(rt.ones(1, 3)).sum().backward()
        gone = weakref.ref(net)
        del net
        assert gone() is None
    finally:
        gc.enable()


def test_forward_hooks():
    layer = nn.Linear(2, 2)
    order = []
    first = layer.register_forward_pre_hook(lambda module, args: order.append("before"))
    second = layer.register_forward_hook(lambda module, args, output: order.append("after") or output * 0)
    assert layer(rt.ones(1, 2)).tolist() == [[0.0, 0.0]]
    assert order == ["before", "after"]
    first.remove()
    first.remove()
    second.remove()
    assert layer(rt.ones(1, 2)).tolist() != [[0.0, 0.0]]
    layer.register_forward_pre_hook(lambda module, args: args[0] * 0)
    assert layer(rt.ones(1, 2)).tolist() == [layer.bias.tolist()]
    assert order == ["before", "after"]


def test_attributes_move_between_registries():
    module = nn.Module()
    module.x = 3
    module.x = nn.Parameter(rt.ones(1))
    assert names(module.named_parameters()) == ["x"]
    assert "x" not in vars(module)
    module.x = None
    assert names(module.named_parameters()) == []
    del module.x
    module.x = nn.Tanh()
    assert names(module.named_children()) == ["x"]
    module.x = None
    assert names(module.named_children()) == []
    del module.x
    assert not hasattr(module, "x")
    module.register_buffer("b", rt.ones(1))
    module.b = rt.zeros(2)
    assert module.state_dict()["b"].tolist() == [0.0, 0.0]
    assert "b" in dir(module)
    module.b = None
    assert module.state_dict() == {}


def test_assignment_errors():
    net = Net()
    with pytest.raises(TypeError, match=r"'Tensor' as parameter 'scale' \(nn.Parameter or None expected\)"):
        net.scale = rt.ones(2)
    with pytest.raises(TypeError, match="cannot assign 'Tensor' as child module 'first'"):
        net.first = rt.ones(2)
    with pytest.raises(TypeError, match=r"cannot assign 'int' as buffer 'seen' \(Tensor or None expected\)"):
        net.seen = 3
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'third'"):
        net.third  # noqa: B018
    with pytest.raises(AttributeError, match="third"):
        del net.third


def test_assignment_before_init():
    class Parameterised(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(rt.ones(1))

    class Nested(nn.Module):
        def __init__(self):
            self.inner = nn.Tanh()

    with pytest.raises(AttributeError, match=r"cannot assign parameters before Module.__init__\(\) call"):
        Parameterised()
    with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
        Nested()


@pytest.mark.parametrize(
    ("register", "value"),
    [("register_parameter", None), ("register_buffer", None), ("add_module", None)],
)
def test_names_are_checked(register, value):
    module = nn.Module()
    module.taken = 1
    for name, error, message in (
        ("a.b", KeyError, "must not contain a dot, which separates names in state_dict, got 'a.b'"),
        ("", KeyError, "name must not be empty"),
        ("taken", KeyError, "attribute 'taken' already exists"),
        (3, TypeError, "name must be a string, got int"),
    ):
        with pytest.raises(error, match=message):
            getattr(module, register)(name, value)


def test_values_are_checked():
    module = nn.Module()
    with pytest.raises(
        TypeError, match=r"'Tensor' object to parameter 'w' \(nn.Parameter or None required\)"
    ):
        module.register_parameter("w", rt.ones(1))
    with pytest.raises(
        TypeError, match=r"cannot assign 'list' object to buffer 'b' \(Tensor or None required\)"
    ):
        module.register_buffer("b", [1])
    with pytest.raises(TypeError, match="int is not a Module subclass, and cannot be child 'm'"):
        module.add_module("m", 1)


def test_missing_forward():
    class Half(nn.Module):
        pass

    with pytest.raises(
        NotImplementedError, match=r'Module \[Half\] is missing the required "forward" function'
    ):
        Half()(1)


def test_lookup_by_path():
    net = nn.Sequential(Net(), nn.Tanh())
    assert net.get_submodule("") is net
    assert net.get_submodule("0.first") is net[0].first
    assert net.get_parameter("0.first.weight") is net[0].first.weight
    assert net.get_buffer("0.seen") is net[0].seen
    with pytest.raises(AttributeError, match="Net has no attribute `third`"):
        net.get_submodule("0.third")
    with pytest.raises(AttributeError, match=r"`weight` is not an nn.Module"):
        net.get_submodule("0.first.weight")
    with pytest.raises(AttributeError, match=r"`seen` is not an nn.Parameter"):
        net.get_parameter("0.seen")
    with pytest.raises(AttributeError, match="`scale` is not a buffer"):
        net.get_buffer("0.scale")


def test_parameter():
    source = rt.ones(2)
    parameter = nn.Parameter(source)
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert isinstance(parameter, rt.Tensor)
    assert not nn.Parameter(source, requires_grad=False).requires_grad
    assert repr(parameter).startswith("Parameter containing:\n")
    parameter.data[0] = 9.0
    assert source.tolist() == [9.0, 1.0]
    assert type(parameter * 2) is rt.Tensor
    assert type(parameter.detach()) is rt.Tensor


# -------------------------------------------------------------------------------- attributes and state, as in PyTorch


def again(nn, m):
    """A parameter that is taken off and put on again keeps its place."""
    layer = nn.Linear(2, 2)
    weight, layer.weight = layer.weight, None
    yield list(layer.state_dict())
    layer.weight = weight
    yield list(layer.state_dict())
    layer.weight = nn.Parameter(m.zeros(2, 2))
    yield [name for name, _ in layer.named_parameters()]
    del layer.weight
    layer.weight = weight
    yield list(layer.state_dict())


def modules_again(nn, _m):
    outer = nn.Module()
    outer.a, outer.b = nn.Tanh(), nn.Tanh()
    outer.a = nn.ReLU()
    yield [(name, type(module).__name__) for name, module in outer.named_children()]
    outer.a = None
    yield [name for name, _ in outer.named_children()]
    outer.a = nn.Tanh()
    yield [name for name, _ in outer.named_children()]


def other_kinds(nn, m):
    """What a name was before is forgotten."""
    outer = nn.Module()
    outer.a = 3
    outer.a = nn.Parameter(m.zeros(1))
    yield "a" in vars(outer), list(outer.state_dict())
    outer.register_buffer("b", m.zeros(1), persistent=False)
    outer.b = nn.Parameter(m.zeros(1))
    yield list(outer._buffers), list(outer.state_dict())
    outer.c = nn.Tanh()
    outer.c = nn.Parameter(m.zeros(1))
    yield list(outer._modules), list(outer.state_dict())


def one_state_for_all(nn, m):
    state = {}
    layer = nn.Linear(1, 1)
    yield layer.state_dict(destination=state, prefix="a.") is state, list(state)


def assigned(nn, m):
    layer = nn.Linear(1, 1)
    before, weight = layer.weight, m.ones(1, 1)
    layer.weight.requires_grad_(False)
    yield str(layer.load_state_dict({"weight": weight, "bias": m.zeros(1)}, assign=True))
    yield (
        layer.weight is before,
        type(layer.weight).__name__,
        layer.weight.requires_grad,
        layer.bias.requires_grad,
    )
    weight.fill_(7.0)
    yield layer.weight.tolist(), list(layer.state_dict())


def loaded_keys(nn, m):
    layer = nn.Linear(1, 1)
    yield repr(layer.load_state_dict(layer.state_dict()))
    keys = layer.load_state_dict({"weight": m.zeros(1, 1), "c": m.zeros(1)}, strict=False)
    yield repr(keys).removeprefix("_"), keys.missing_keys, keys.unexpected_keys


def extra_state(nn, m):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 0
            self.weight = nn.Parameter(m.zeros(1))

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    model, other = (nn.Sequential(Counter(), nn.Linear(1, 1)) for _ in range(2))
    model[0].count = 9
    state = model.state_dict()
    yield list(state), state["0._extra_state"]
    yield repr(other.load_state_dict(state)), other[0].count
    del state["0._extra_state"]
    yield other.load_state_dict(state, strict=False).missing_keys, other[0].count
    yield nn.Linear(1, 1).load_state_dict({"_extra_state": 1}, strict=False).unexpected_keys


def own_loading(nn, m):
    class Scaled(nn.Module):
        """Writes more than its parameters, and reads what an earlier version wrote."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(m.zeros(2))
            self.scale = 1.0

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[prefix + "scale"] = m.tensor(self.scale)

        def _load_from_state_dict(self, state_dict, prefix, *rest):
            self.scale = float(state_dict.pop(prefix + "scale"))
            super()._load_from_state_dict(state_dict, prefix, *rest)
            self.doubled = (self.weight * 2).tolist()

    model, other = (nn.Sequential(Scaled(), nn.Linear(1, 1)) for _ in range(2))
    model[0].scale = 5.0
    with m.no_grad():
        model[0].weight.fill_(3.0)
    state = model.state_dict()
    yield list(state)
    yield (
        repr(other.load_state_dict(state)),
        other[0].scale,
        other[0].doubled,
        other[0].weight.tolist(),
        len(state),
    )


def complaints(nn, m):
    class Strange(nn.Module):
        def _load_from_state_dict(self, _state, prefix, _metadata, strict, missing, unexpected, errors):
            missing.append(prefix + "m")
            unexpected.append(prefix + "u")

    keys = nn.Sequential(Strange()).load_state_dict({}, strict=False)
    yield keys.missing_keys, keys.unexpected_keys


SEMANTICS = [
    again,
    modules_again,
    other_kinds,
    one_state_for_all,
    assigned,
    loaded_keys,
    extra_state,
    own_loading,
    complaints,
]


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_attributes_and_state_are_torch_s(torch, semantics):
    assert list(semantics(nn, rt)) == list(semantics(torch.nn, torch))


def test_nothing_is_loaded_where_a_number_does_not_fit():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    state = dict(before) | {"0.weight": np.array([[1.0]]), "1.running_var": np.array([1e300])}
    with pytest.raises(
        RuntimeError, match=r"1.running_var: 1e\+300 is out of range for float32, the dtype in this module"
    ):
        model.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"1.num_batches_tracked: nan is out of range for int64"):
        model.load_state_dict(dict(before) | {"1.num_batches_tracked": np.array(np.nan)})
    for name, value in model.state_dict().items():
        assert_same_bits(value, before[name])
    model.load_state_dict(dict(before) | {"1.running_var": np.array([np.inf])})
    assert model[1].running_var.tolist() == [np.inf]


def test_extra_state_and_wrong_shapes_leave_all_as_it_was():
    class Counter(nn.Module):
        count = 0

        def get_extra_state(self):
            return self.count

        def set_extra_state(self, state):
            self.count = state

    model = nn.Sequential(Counter(), nn.Linear(1, 1))
    with pytest.raises(RuntimeError, match=r"size mismatch for 1\.bias"):
        model.load_state_dict(model.state_dict() | {"0._extra_state": 5, "1.bias": np.zeros(2)})
    assert model[0].count == 0
    with pytest.raises(RuntimeError, match="Linear has no extra state: define get_extra_state"):
        model[1].get_extra_state()


def test_a_buffer_before_init():
    class Early(nn.Module):
        def __init__(self):
            self.register_buffer("a", rt.zeros(1))

    with pytest.raises(AttributeError, match=r"cannot assign buffer before Module.__init__\(\) call"):
        Early()
