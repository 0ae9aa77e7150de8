import copy
import gc
import weakref

import numpy as np
import pytest

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
    theirs.load_state_dict({name: torch.from_numpy(value.data) for name, value in ours.state_dict().items()})
    for name, value in theirs.state_dict().items():
        assert np.array_equal(value.numpy(), ours.state_dict()[name].data)
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
    with pytest.raises(TypeError, match="tensor 'weight' should be a Tensor or an array of numbers, got str"):
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
        ("a.b", KeyError, "should have no dot, which separates names in state_dict, got 'a.b'"),
        ("", KeyError, "name should not be empty"),
        ("taken", KeyError, "attribute 'taken' already exists"),
        (3, TypeError, "name should be a string, got int"),
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
