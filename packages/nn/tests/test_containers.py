import pytest

from rondeau import nn
from rondeau import tensor as rt


def layers(library):
    return library.Linear(2, 3), library.ReLU(), library.Linear(3, 1, bias=False)


def test_sequential_is_torch_s(torch):
    ours, theirs = nn.Sequential(*layers(nn)), torch.nn.Sequential(*layers(torch.nn))
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = [[1.0, -2.0], [0.5, 3.0]]
    assert ours(rt.tensor(x)).reshape(-1).tolist() == pytest.approx(
        theirs(torch.tensor(x)).reshape(-1).tolist(), rel=1e-5, abs=1e-6
    )


def test_sequential_by_name():
    model = nn.Sequential({"into": nn.Linear(2, 2), "bend": nn.Tanh()})
    assert list(model.state_dict()) == ["into.weight", "into.bias"]
    assert model.bend is model[1]


def test_sequential_is_a_sequence():
    first, second, third = modules = layers(nn)
    model = nn.Sequential(first, second)
    assert model.append(third) is model
    assert (len(model), list(model)) == (3, list(modules))
    assert model[-1] is third
    assert list(model[1:]) == [second, third]
    assert list(model[1:].state_dict()) == ["2.weight"]
    model[1] = nn.Tanh()
    assert repr(model[1]) == "Tanh()"
    del model[0]
    assert list(model.state_dict()) == ["1.weight"]
    del model[:]
    assert len(model) == 0
    assert nn.Sequential()(rt.ones(2)).tolist() == [1.0, 1.0]
    assert len(model.extend(modules)) == 3


def test_module_list():
    modules = layers(nn)
    held = nn.ModuleList(modules)
    assert list(held) == list(modules)
    assert list(held.state_dict()) == ["0.weight", "0.bias", "2.weight"]
    held.insert(0, nn.Identity())
    assert list(held.state_dict()) == ["1.weight", "1.bias", "3.weight"]
    assert list(held[-2:]) == list(modules[1:])
    held[0] = nn.Tanh()
    assert repr(held[0]) == "Tanh()"
    del held[1]
    assert list(held.state_dict()) == ["2.weight"]
    del held[::2]
    assert list(held) == [modules[1]]
    assert len(nn.ModuleList()) == 0


def test_module_dict():
    held = nn.ModuleDict({"b": nn.Linear(1, 1), "a": nn.Tanh()})
    assert list(held) == list(held.keys()) == ["b", "a"]
    assert [type(module) for module in held.values()] == [nn.Linear, nn.Tanh]
    assert list(held.state_dict()) == ["b.weight", "b.bias"]
    assert "a" in held
    assert "c" not in held
    held["c"] = nn.ReLU()
    assert [name for name, _ in held.items()] == ["b", "a", "c"]
    assert isinstance(held.pop("c"), nn.ReLU)
    assert len(held) == 2
    held.clear()
    assert len(held) == 0


def test_modes_reach_the_members():
    held = nn.ModuleList([nn.Dropout(), nn.ModuleDict({"x": nn.Dropout()})]).eval()
    assert not any(module.training for module in held.modules())


def test_errors():
    model = nn.Sequential(*layers(nn))
    with pytest.raises(IndexError, match="index 3 is out of range for Sequential of 3 modules"):
        model[3]
    with pytest.raises(IndexError, match="index -4 is out of range for ModuleList of 3 modules"):
        nn.ModuleList(layers(nn))[-4] = nn.Tanh()
    with pytest.raises(TypeError, match="modules must be an iterable of Modules, but number 0 is function"):
        nn.Sequential(lambda x: x)
    with pytest.raises(KeyError, match="no module named 'x' in this ModuleDict; it has 'y'"):
        nn.ModuleDict({"y": nn.Tanh()})["x"]
    with pytest.raises(KeyError, match="no module named 'x'"):
        del nn.ModuleDict({"y": nn.Tanh()})["x"]
    with pytest.raises(KeyError, match="attribute 'keys' already exists"):
        nn.ModuleDict({"keys": nn.Tanh()})


def kinds(modules):
    return [(name, type(module).__name__) for name, module in modules.named_children()]


def change_sequential(nn):
    modules = nn.Sequential(nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 2))
    modules.insert(0, nn.Sigmoid())
    yield kinds(modules)
    removed = modules.pop(1)
    yield type(removed).__name__, kinds(modules), list(modules.state_dict())
    modules += nn.Sequential(nn.ReLU())
    yield kinds(modules)
    yield kinds(modules + nn.Sequential(nn.Tanh())), kinds(modules)


def change_list(nn):
    modules = nn.ModuleList([nn.Tanh(), nn.ReLU()])
    modules += [nn.Sigmoid()]
    yield kinds(modules)
    yield type(modules.pop(0)).__name__, kinds(modules)
    yield type(modules.pop(-1)).__name__, kinds(modules)
    yield kinds(modules + nn.ModuleList([nn.Tanh()])), type(modules + [nn.Tanh()]).__name__  # noqa: RUF005


def change_dict(nn):
    modules = nn.ModuleDict([("b", nn.Tanh()), ("a", nn.ReLU())])
    modules["b"] = nn.Sigmoid()
    yield kinds(modules)
    modules.update([("z", nn.Tanh()), ("a", nn.Tanh())])
    yield kinds(modules)


@pytest.mark.parametrize("change", [change_sequential, change_list, change_dict])
def test_containers_change_as_in_torch(torch, change):
    assert list(change(nn)) == list(change(torch.nn))
