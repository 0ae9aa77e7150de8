"""Optimisers: every option against torch's over many steps, and the promises that torch does not make."""

import copy
import math
import tracemalloc

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.train import optim
from rondeau.train._checks import shown

torch = pytest.importorskip("torch")

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.01, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("Adagrad", {}),
    (
        "Adagrad",
        {"lr": 0.3, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.05, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True, "lr": 0.05, "betas": (0.7, 0.8)}),
    ("Adam", {"maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.2, "amsgrad": True, "maximize": True}),
]
SHAPES = [(), (1,), (3, 5), (17,), (64, 33)]


def ids(case):
    return f"{case[0]}({', '.join(f'{k}={v}' for k, v in case[1].items())})"


def twins(dtype, seed=0):
    """The same parameters twice: ours and torch's."""
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    ours = [rt.tensor(a.copy(), requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    return ours, theirs, rng


def set_gradients(ours, theirs, rng, dtype):
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if i == 3 and rng.random() < 0.3:  # a parameter without a gradient is skipped
            mine.grad, other.grad = None, None
            continue
        gradient = rng.standard_normal(mine.shape).astype(dtype)
        if i == 4:
            gradient = np.asfortranarray(gradient)
        mine.grad, other.grad = rt.tensor(gradient), torch.tensor(gradient)


@pytest.mark.parametrize("case", CASES, ids=ids)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_sixty_steps_as_torch(case, dtype, tolerance):
    name, options = case
    ours, theirs, rng = twins(dtype)
    mine, other = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(60):
        set_gradients(ours, theirs, rng, dtype)
        if step == 30:  # what a schedule does
            mine.param_groups[0]["lr"] *= 0.5
            other.param_groups[0]["lr"] *= 0.5
        mine.step()
        other.step()
    assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_defaults_and_state_are_those_of_torch(case):
    name, options = case
    ours, theirs, rng = twins("float64")
    mine, other = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for key, value in mine.defaults.items():
        assert other.defaults[key] == value, key
    set_gradients(ours, theirs, rng, "float64")
    mine.step()
    other.step()
    for mine_state, other_state in zip(mine.state.values(), other.state.values(), strict=True):
        kept = {k: v for k, v in other_state.items() if v is not None}
        assert set(mine_state) == set(kept)
        for key, value in kept.items():
            assert_close(mine_state[key], np.asarray(value), rtol=1e-12, what=key)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_continues_from_a_state_dict_of_torch(case):
    name, options = case
    ours, theirs, rng = twins("float64")
    other = getattr(torch.optim, name)(theirs, **options)
    for _ in range(5):
        set_gradients(ours, theirs, rng, "float64")
        other.step()
    for mine, theirs_one in zip(ours, theirs, strict=True):
        mine.data[...] = theirs_one.detach().numpy()
    mine = getattr(optim, name)(ours)
    mine.load_state_dict(other.state_dict())
    for _ in range(5):
        set_gradients(ours, theirs, rng, "float64")
        mine.step()
        other.step()
    assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_continues_bit_for_bit_from_its_own_state_dict(case):
    name, options = case
    ours, theirs, rng = twins("float32")
    first = getattr(optim, name)(ours, **options)
    for _ in range(3):
        set_gradients(ours, theirs, rng, "float32")
        first.step()
    copies = [rt.tensor(p.detach().numpy().copy(), requires_grad=True) for p in ours]
    second = getattr(optim, name)(copies)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(3):
        set_gradients(ours, theirs, rng, "float32")
        for p, q in zip(ours, copies, strict=True):
            q.grad = p.grad
        first.step()
        second.step()
    for p, q in zip(ours, copies, strict=True):
        assert_same_bits(p, q)


def test_groups_have_options_of_their_own():
    ours, theirs, rng = twins("float64")
    groups = lambda p: [{"params": p[:2]}, {"params": p[2:4], "lr": 0.5, "momentum": 0.0}]  # noqa: E731
    mine = optim.SGD(groups(ours), lr=0.01, momentum=0.9)
    other = torch.optim.SGD(groups(theirs), lr=0.01, momentum=0.9)
    mine.add_param_group({"params": ours[4], "weight_decay": 0.1})
    other.add_param_group({"params": theirs[4], "weight_decay": 0.1})
    for _ in range(50):
        set_gradients(ours, theirs, rng, "float64")
        mine.step()
        other.step()
    assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert [g["params"] for g in mine.state_dict()["param_groups"]] == [[0, 1], [2, 3], [4]]


def test_parameters_that_are_not_contiguous():
    rng = np.random.default_rng(1)
    base = rng.standard_normal((6, 8))
    mine = rt.tensor(np.zeros((8, 3)), requires_grad=True)
    mine.data = base.T[:, ::2]
    other = torch.tensor(base.T[:, ::2].copy(), requires_grad=True)
    mine.grad, other.grad = rt.tensor(np.ones((8, 3))), torch.ones(8, 3, dtype=torch.float64)
    optim.Adam([mine], lr=0.1).step()
    torch.optim.Adam([other], lr=0.1).step()
    assert_close(base.T[:, ::2], other, rtol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_same_bits_for_any_number_of_threads(case):
    name, options = case
    results = []
    before = rt.get_num_threads()
    try:
        for threads in (1, 2, 3):
            rt.set_num_threads(threads)
            rng = np.random.default_rng(2)
            parameter = rt.tensor(rng.standard_normal(100_003).astype(np.float32), requires_grad=True)
            optimizer = getattr(optim, name)([parameter], **options)
            for _ in range(4):
                parameter.grad = rt.tensor(rng.standard_normal(100_003).astype(np.float32))
                optimizer.step()
            results.append(parameter.detach().numpy().copy())
    finally:
        rt.set_num_threads(before)
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


def test_a_step_allocates_nothing():
    parameter = rt.tensor(np.ones(1_000_000, np.float32), requires_grad=True)
    parameter.grad = rt.tensor(np.ones(1_000_000, np.float32))
    optimizer = optim.Adam([parameter])
    optimizer.step()
    tracemalloc.start()
    optimizer.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_step_calls_a_closure_with_gradients_enabled():
    w = rt.tensor([3.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with rt.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 9.0
    assert_close(w, [2.4], rtol=1e-6)


def test_zero_grad_drops_or_clears():
    w = rt.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([w])
    held = w.grad = rt.tensor([5.0])
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0]
    assert held.tolist() == [5.0]
    optimizer.zero_grad()
    assert w.grad is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SGD", {"lr": -1.0}, "Invalid learning rate: -1.0"),
        ("SGD", {"momentum": -0.1}, "Invalid momentum value: -0.1"),
        ("SGD", {"weight_decay": -0.1}, "Invalid weight_decay value: -0.1"),
        ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
        (
            "SGD",
            {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
            "Nesterov momentum requires a momentum",
        ),
        ("Adagrad", {"lr_decay": -1}, "Invalid lr_decay value: -1"),
        ("Adagrad", {"initial_accumulator_value": -1}, "Invalid initial_accumulator_value value: -1"),
        ("Adagrad", {"eps": -1}, "Invalid epsilon value: -1"),
        ("RMSprop", {"alpha": -1}, "Invalid alpha value: -1"),
        ("RMSprop", {"alpha": 1.01}, r"Invalid alpha value: 1.01; expected a number in \[0, 1\]"),
        ("RMSprop", {"lr": math.nan}, "Invalid learning rate: nan"),
        ("Adam", {"betas": (1.0, 0.9)}, "Invalid beta parameter at index 0: 1.0"),
        ("Adam", {"betas": (0.9, -0.1)}, "Invalid beta parameter at index 1: -0.1"),
        ("Adam", {"eps": -1e-8}, "Invalid epsilon value: -1e-08"),
        ("AdamW", {"weight_decay": -1}, "Invalid weight_decay value: -1"),
    ],
)
def test_options_out_of_range(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(optim, name)([rt.zeros(1, requires_grad=True)], **options)
    if options not in ({"alpha": 1.01}, {"lr": math.nan}):  # torch lets them pass, and diverges
        with pytest.raises(ValueError, match=message.split(":")[0]):
            getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)], **options)


def test_wrong_parameters():
    w = rt.zeros(1, requires_grad=True)
    with pytest.raises(
        TypeError, match=r"iterable of Tensors or dicts, but got one Tensor; write \[tensor\]"
    ):
        optim.SGD(w)
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([])
    with pytest.raises(TypeError, match="one of the params is ndarray"):
        optim.SGD([np.zeros(1)])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([w * 2])
    with pytest.raises(ValueError, match="more than one parameter group, or twice in one"):
        optim.SGD([{"params": [w]}, {"params": [w]}])
    with pytest.raises(ValueError, match="SGD knows no option 'beta'; its options are lr, momentum"):
        optim.SGD([{"params": [w], "beta": 1}])
    with pytest.raises(TypeError, match="must be a dict with the key 'params'"):
        optim.SGD([w]).add_param_group([w])


def test_wrong_state_dicts():
    one, two = rt.zeros(2, requires_grad=True), rt.zeros(3, requires_grad=True)
    one.grad, two.grad = rt.ones(2), rt.ones(3)
    optimizer = optim.Adam([one])
    optimizer.step()
    saved = optimizer.state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups: expected 2, got 1"):
        optim.Adam([{"params": [one]}, {"params": [two]}]).load_state_dict(saved)
    with pytest.raises(
        ValueError, match="group 0 doesn't match the size of the optimizer's group: expected 2, got 1"
    ):
        optim.Adam([one, two]).load_state_dict(saved)
    other = optim.Adam([two])
    other.step()
    with pytest.raises(ValueError, match=r"'exp_avg' of parameter 0: expected shape \(3,\), got \(2,\)"):
        other.load_state_dict(saved)
    assert other.state[two]["step"] == 1, "a refused state changes nothing"


def test_repr_tells_the_options():
    assert "lr: 0.001" in repr(optim.Adam([rt.zeros(1, requires_grad=True)]))


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW"])
def test_a_parameter_or_gradient_that_changed_its_shape_is_refused(name):
    parameter = rt.zeros(40_000, requires_grad=True)
    optimizer = getattr(optim, name)([parameter], **({"momentum": 0.9} if name == "SGD" else {}))
    parameter.grad = rt.ones(40_000)
    optimizer.step()
    parameter.grad.data = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"the shape of its parameter, \(40000,\), got \(3,\)"):
        optimizer.step()
    parameter.data = np.zeros(80_000, np.float32)
    parameter.grad = rt.ones(80_000)
    with pytest.raises(
        ValueError, match=r"shape \(40000,\), its parameter is now float32 of shape \(80000,\)"
    ):
        optimizer.step()
    assert not parameter.detach().numpy().any()


def test_a_read_only_parameter_is_refused():
    parameter = rt.Tensor(np.broadcast_to(np.float32(0), (3, 4)), requires_grad=True)
    optimizer = optim.Adam([parameter])
    parameter.grad = rt.ones(3, 4)
    with pytest.raises(ValueError, match=r"shape \(3, 4\) is read-only .* parameter.detach\(\).clone\(\)"):
        optimizer.step()
    assert not optimizer.state


@pytest.mark.parametrize(
    ("garbage", "error", "message"),
    [
        (None, TypeError, "state of an optimizer: expected Mapping, got NoneType"),
        ([], TypeError, "state of an optimizer: expected Mapping, got list"),
        ({"state": {}}, ValueError, "expected the names param_groups, state, got state"),
        (
            {"state": [], "param_groups": []},
            TypeError,
            "'state' in the state of an optimizer: expected Mapping",
        ),
        ({"state": {}, "param_groups": 3}, TypeError, "expected an iterable of dicts, got int"),
        (
            {"state": {}, "param_groups": [3]},
            TypeError,
            "state of parameter group 0: expected Mapping, got int",
        ),
        (
            {"state": {}, "param_groups": [{"params": 3}]},
            TypeError,
            "'params' of parameter group 0: expected list",
        ),
        (
            {"state": {0: 3}, "param_groups": [{"params": [0]}]},
            TypeError,
            "loaded state of parameter 0: expected Mapping, got int",
        ),
        (
            {"state": {0: {"step": "one"}}, "param_groups": [{"params": [0]}]},
            TypeError,
            "loaded state 'step' of parameter 0: expected one number of steps, got 'one'",
        ),
        (
            {"state": {0: {"step": -3}}, "param_groups": [{"params": [0]}]},
            TypeError,
            "one number of steps, got -3",
        ),
        ({"state": {0: {"step": 2.5}}, "param_groups": [{"params": [0]}]}, TypeError, "of steps, got 2.5"),
        ({"state": {0: {"step": math.inf}}, "param_groups": [{"params": [0]}]}, TypeError, "steps, got inf"),
        ({"state": {0: {"step": math.nan}}, "param_groups": [{"params": [0]}]}, TypeError, "steps, got nan"),
        (
            {"state": {0: {"step": 10**400}}, "param_groups": [{"params": [0]}]},
            TypeError,
            "of steps, got an integer of 1329 bits",
        ),
        (
            {"state": {0: {"exp_avg": "one"}}, "param_groups": [{"params": [0]}]},
            TypeError,
            "loaded state 'exp_avg' of parameter 0: expected an array of numbers, got 'one'",
        ),
        (
            {"state": {0: {"step": 1}}, "param_groups": [{"params": [0]}]},
            ValueError,
            "has no exp_avg, exp_avg_sq, only step",
        ),
        (
            {"state": {}, "param_groups": [{"params": [0], "lr": -1.0}]},
            ValueError,
            "Invalid learning rate: -1.0",
        ),
        (
            {"state": {0: {"exp_avg": [1.0, 1e300]}}, "param_groups": [{"params": [0]}]},
            ValueError,
            r"'exp_avg' of parameter 0: 1e\+300 does not fit float32, whose largest number is 3.403e\+38",
        ),
        (
            optim.SGD([rt.zeros(2, requires_grad=True)], lr=0.1).state_dict(),
            ValueError,
            "group 0 has no amsgrad, betas, eps: is it of another optimizer?",
        ),
    ],
)
def test_a_state_dict_that_is_none_is_refused_and_changes_nothing(garbage, error, message):
    parameter = rt.zeros(2, requires_grad=True)
    optimizer = optim.Adam([parameter], lr=0.5)
    parameter.grad = rt.ones(2)
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(garbage)
    assert repr(optimizer.state_dict()) == repr(before)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda o, p: setattr(p[2].grad, "data", np.ones(5, np.float32)), ValueError, r"\(4,\), got \(5,\)"),
        (lambda o, p: p[2].detach().numpy().setflags(write=False), ValueError, "read-only"),
        (
            lambda o, p: setattr(p[2], "data", p[2].detach().numpy().astype(np.float64)),
            ValueError,
            "is now float64",
        ),
        (lambda o, p: o.param_groups[1].update(lr=math.nan), ValueError, "Invalid learning rate: nan"),
        (
            lambda o, p: o.param_groups[1].update(lr="fast"),
            TypeError,
            "Invalid learning rate: expected a number",
        ),
        (
            lambda o, p: o.param_groups[1].update(lr=1e39),
            ValueError,
            "lr=1e[+]39, .* is more than float32 holds",
        ),
        (lambda o, p: o.param_groups[1].update(maximize="no"), TypeError, "maximize: expected True or False"),
    ],
)
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW"])
def test_a_step_that_fails_changes_nothing(name, spoil, error, message):
    """Not even what comes before the parameter that cannot be updated."""
    parameters = [rt.tensor(np.full(4, i, np.float32), requires_grad=True) for i in range(3)]
    groups = [{"params": parameters[:2]}, {"params": parameters[2:]}]
    optimizer = getattr(optim, name)(groups, lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
    for parameter in parameters:
        parameter.grad = rt.ones(4)
    optimizer.step()
    spoil(optimizer, parameters)
    before = repr((optimizer.state, [p.detach().numpy().tobytes() for p in parameters]))
    with pytest.raises(error, match=message):
        optimizer.step()
    assert repr((optimizer.state, [p.detach().numpy().tobytes() for p in parameters])) == before


def test_a_group_that_is_refused_changes_nothing():
    optimizer = optim.Adam([rt.zeros(1, requires_grad=True)])
    for group in ({"params": [rt.zeros(1), "w"]}, {"params": [rt.zeros(1)], "lr": -1}, {"params": optimizer}):
        with pytest.raises((TypeError, ValueError)):
            optimizer.add_param_group(group)
        assert len(optimizer.param_groups) == 1


def test_a_module_is_told_to_give_its_parameters():
    with pytest.raises(
        TypeError, match=r"got the module Linear; give its parameters, as module.parameters\(\)"
    ):
        optim.Adam(nn.Linear(2, 3))
    with pytest.raises(
        TypeError, match=r"params: expected an iterable of Tensors, got the module Linear; give its"
    ):
        optim.Adam([{"params": nn.Linear(2, 3)}])


OPTIONS = {
    "SGD": ["lr", "momentum", "dampening", "weight_decay"],
    "Adagrad": ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"],
    "RMSprop": ["lr", "alpha", "eps", "weight_decay", "momentum"],
    "Adam": ["lr", "eps", "weight_decay", "betas"],
    "AdamW": ["lr", "eps", "weight_decay", "betas"],
}


@pytest.mark.parametrize(
    ("name", "option"), [(name, o) for name, options in OPTIONS.items() for o in options]
)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 10**400, np.float32(np.inf)], ids=shown)
def test_numbers_that_no_option_can_be(name, option, wrong):
    """NaN, infinities and integers that no float holds, given at first, for a group, and by hand."""
    value = (0.9, wrong) if option == "betas" else wrong
    parameter = rt.zeros(1, requires_grad=True)
    with pytest.raises(ValueError, match=r"^Invalid .*: (nan|-?inf|an integer of 1329 bits); expected a"):
        getattr(optim, name)([parameter], **{option: value})
    optimizer = getattr(optim, name)([parameter])
    with pytest.raises(ValueError, match=r"^Invalid .*; expected a"):
        optimizer.add_param_group({"params": [rt.zeros(1)], option: value})
    optimizer.param_groups[0][option] = value
    with pytest.raises(ValueError, match=r"^Invalid .*; expected a"):
        optimizer.step()


@pytest.mark.parametrize("flag", ["nesterov", "maximize", "amsgrad", "centered"])
def test_a_flag_is_true_or_false(flag):
    kind = {"amsgrad": optim.Adam, "centered": optim.RMSprop}.get(flag, optim.SGD)
    with pytest.raises(TypeError, match=f"^{flag}: expected True or False, got 'no'"):
        kind([rt.zeros(1, requires_grad=True)], **{flag: "no"})


GREAT_AND_SMALL = {
    "float32": [1e25, -1e25, 1e10, 0.0, 1e-30, 1.0, 3e38, -1e19, np.inf],
    "float64": [1e155, -1e160, 1e200, 0.0, 1e-300, 1.0, 1e308, -1e150, np.inf],
}


@pytest.mark.parametrize("dtype", GREAT_AND_SMALL)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *CASES,
        ("RMSprop", {"eps": 0.0}),
        ("RMSprop", {"eps": 0.0, "centered": True}),
        ("Adam", {"eps": 0.0}),
        ("Adam", {"eps": 0.0, "amsgrad": True}),
        ("AdamW", {"eps": 0.0}),
        ("Adagrad", {"eps": 0.0}),
        ("SGD", {"lr": 1e30}),
        ("SGD", {"lr": 1e30, "momentum": 0.9}),
    ],
    ids=str,
)
def test_great_and_small_gradients_as_torch(name, options, dtype):
    """Beyond the range of their squares, at zero without eps, and after a weight has become infinite."""
    gradients = np.array(GREAT_AND_SMALL[dtype], dtype)
    start = np.linspace(-1, 1, len(gradients)).astype(dtype)
    mine, other = rt.tensor(start.copy(), requires_grad=True), torch.tensor(start, requires_grad=True)
    my_optimizer = getattr(optim, name)([mine], **options)
    other_optimizer = getattr(torch.optim, name)([other], **options)
    for _ in range(4):
        mine.grad, other.grad = rt.tensor(gradients.copy()), torch.tensor(gradients)
        my_optimizer.step()
        other_optimizer.step()
    assert_close(mine, other, rtol=1e-5)
    for key, value in my_optimizer.state.get(mine, {}).items():
        assert_close(value, np.asarray(other_optimizer.state[other][key]), rtol=1e-5, what=key)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("SGD", {"momentum": 0.9}),
        ("RMSprop", {"momentum": 0.9}),
        ("RMSprop", {"centered": True}),
        ("Adam", {"amsgrad": True}),
    ],
    ids=str,
)
def test_an_option_that_is_switched_on_later_begins_with_zeros(name, option):
    """PyTorch fails half-way then, all but SGD."""
    late, early = (rt.tensor(np.arange(1, 5, dtype=np.float32), requires_grad=True) for _ in range(2))
    optimizer = getattr(optim, name)([late], lr=0.1)
    late.grad = rt.ones(4)
    optimizer.step()
    before, kept = (
        late.detach().numpy().copy(),
        {key: copy.deepcopy(value) for key, value in optimizer.state.get(late, {}).items()},
    )
    optimizer.param_groups[0].update(option)
    optimizer.step()
    early.data = before
    early.grad = rt.ones(4)
    other = getattr(optim, name)([early], lr=0.1, **option)
    other.state[early] = {**other.initial_state(early.detach().numpy(), other.param_groups[0]), **kept}
    other.step()
    assert_same_bits(late, early)
    assert optimizer.state[late].keys() == other.state[early].keys()
