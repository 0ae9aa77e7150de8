"""Tensors on a GPU, for which `tools.device_arrays` stands: where they are, how they move, and what is made there."""

import copy
import pickle
import sys

import numpy as np
import pytest
from tools.device_arrays import PinnedMemoryError, installed, no_transfers, transfers

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.kernels.runtime import devices

pytestmark = pytest.mark.host_only("the tests name their devices")


def test_without_a_gpu_nothing_is_there_and_asking_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert not rt.cuda.is_available()
    assert (rt.cuda.device_count(), rt.cuda.memory_allocated(), rt.cuda.memory_reserved()) == (0, 0, 0)
    rt.cuda.empty_cache()
    line = (
        r'device .cuda. needs CuPy, which is not installed: .* pip install -e "\.\[cuda\]" .*"\.\[cuda12\]"'
    )
    for ask in (
        lambda: rt.ones(1).cuda(),
        lambda: rt.ones(1).pin_memory(),
        lambda: rt.zeros(1, device="cuda:0"),
        rt.cuda.synchronize,
        rt.cuda.current_device,
        rt.cuda.mem_get_info,
        rt.cuda.get_device_name,
    ):
        with pytest.raises(RuntimeError, match=line):
            ask()


def test_what_else_may_be_missing(monkeypatch):
    with installed():
        assert rt.cuda.is_available()
        monkeypatch.delitem(sys.modules, "numba_cuda")
        monkeypatch.setattr(devices, "_is_installed", lambda name: False)
        assert not rt.cuda.is_available()
        with pytest.raises(RuntimeError, match=r"needs numba-cuda, which is not installed: .* pip install"):
            rt.ones(1, device="cuda")
        monkeypatch.setattr(devices, "_is_installed", lambda name: True)
        monkeypatch.setattr(np, "__version__", "2.5.0")
        assert not rt.cuda.is_available()
        with pytest.raises(
            RuntimeError, match=r"needs NumPy before 2\.5, for numba-cuda; got 2\.5\.0: .* pip install"
        ):
            rt.ones(1, device="cuda")
        monkeypatch.undo()
    with installed(devices=0):
        assert not rt.cuda.is_available()
        assert not rt.ones(1).is_pinned()
        with pytest.raises(
            RuntimeError, match=r"finds no usable GPU \(cudaErrorNoDevice: no .*\): it takes an"
        ):
            rt.ones(1, device="cuda")
    with installed():
        monkeypatch.delattr(sys.modules["cupy"].cuda, "cublas")
        monkeypatch.setattr(type(sys.modules["cupy"]), "__getattr__", _no_library)
        assert not rt.cuda.is_available()
        with pytest.raises(RuntimeError, match=r"needs cuBLAS, which is not installed: .* pip install"):
            rt.ones(1, device="cuda")


def _no_library(module, name):
    raise ImportError(f"libcublas.so.13: cannot open shared object file, asked for by {name}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import a_package_that_is_missing", "No module named 'a_package_that_is_missing'"),
        (
            "try:\n    raise ImportError('libcuda.so: no such file')\n"
            "except ImportError as error:\n    raise ImportError('a page\\nof advice') from error",
            "libcuda.so: no such file",
        ),
    ],
)
def test_a_cupy_that_fails_is_not_said_to_be_missing(source, said, monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text(source, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert not rt.cuda.is_available()
    with pytest.raises(
        RuntimeError, match=rf"CuPy is installed but cannot be imported \({said}\): .* pip install"
    ):
        rt.ones(1, device="cuda")


@pytest.mark.usefixtures("device_stand_in")
def test_the_gpu_and_its_memory():
    assert rt.cuda.is_available()
    assert (rt.cuda.device_count(), rt.cuda.current_device()) == (1, 0)
    assert rt.cuda.get_device_name() == rt.cuda.get_device_name("cuda:0") == "Stand-in for a GPU"
    before = rt.cuda.memory_allocated()
    x = rt.zeros(1000, device="cuda")
    assert rt.cuda.memory_allocated() >= before + x.nbytes
    del x
    assert rt.cuda.memory_allocated() == before
    assert rt.cuda.memory_reserved() > before
    rt.cuda.empty_cache()
    assert rt.cuda.memory_reserved() == before
    free, total = rt.cuda.mem_get_info()
    assert 0 < free <= total
    with transfers() as seen:
        rt.cuda.synchronize()
    assert len(seen.waits) == 1
    for wrong in ("cpu", 1):
        with pytest.raises(ValueError, match=f"expected the GPU, 'cuda' or 0, got device {wrong!r}"):
            rt.cuda.memory_allocated(wrong)


@pytest.mark.usefixtures("device_stand_in")
def test_gradients_flow_through_moves():
    x = rt.tensor([1.0, 2.0], requires_grad=True)
    there = x.to("cuda")
    assert (there.device, there.is_cuda, x.is_cuda) == ("cuda", True, False)
    assert there.to("cuda") is there
    assert there.cuda(0) is there
    assert x.cpu() is x
    (there * there).cpu().backward(rt.tensor([1.0, 10.0]))
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [2, 40]

    w = rt.ones(2, device="cuda", requires_grad=True)
    (w.cpu() * 3).backward(rt.ones(2))
    assert w.grad.device == "cuda"
    assert w.grad.cpu().tolist() == [3, 3]

    assert x.to(w).device == "cuda"
    found = x.detach().to("cuda", "float64")
    assert (found.dtype, found.device) == ("float64", "cuda")
    with pytest.raises(
        ValueError, match=r"a gradient is where its tensor is, on cuda; got one on cpu: .*to\('cuda'\)"
    ):
        w.grad = rt.ones(2)
    with pytest.raises(ValueError, match="expected the GPU"):
        x.cuda("cpu")


@pytest.mark.usefixtures("device_stand_in")
def test_leaves_are_copied_and_pickled_where_they_are():
    w = rt.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    for twin in (copy.deepcopy(w), pickle.loads(pickle.dumps(w))):
        assert (twin.device, twin.requires_grad) == ("cuda", True)
        assert twin.detach().cpu().tolist() == [1, 2]


@pytest.mark.usefixtures("device_stand_in")
def test_pinned_memory_stays_as_it_is_until_its_copy_is_done():
    x = rt.arange(4.0)
    assert not x.is_pinned()
    held = x.pin_memory()
    assert held.is_pinned()
    assert held[1:].is_pinned()
    assert held.pin_memory() is held
    assert held.tolist() == x.tolist()
    with transfers() as seen:
        there = held.to("cuda", non_blocking=True)
    assert not seen.waits
    rt.cuda.synchronize()
    held[0] = 9.0
    assert there.cpu().tolist() == [0, 1, 2, 3]

    with transfers() as seen:
        held.to("cuda")  # waits, because the next line may write
    assert len(seen.waits) == 1
    held[0] = 8.0

    held.to("cuda", non_blocking=True)
    held[0] = 7.0
    with pytest.raises(PinnedMemoryError):
        rt.cuda.synchronize()
    with pytest.raises(RuntimeError, match=r"pin_memory\(\) is for tensors on the CPU"):
        there.pin_memory()


CREATED = {
    "zeros": lambda device: rt.zeros(2, 3, device=device),
    "ones": lambda device: rt.ones(2, dtype="int32", device=device),
    "full": lambda device: rt.full((2,), 0.1, dtype="float64", device=device),
    "arange": lambda device: rt.arange(1, 6, 2, device=device),
    "arange of floats": lambda device: rt.arange(0.1, 1, 0.3, device=device),
    "linspace": lambda device: rt.linspace(0, 1, 7, device=device),
    "eye": lambda device: rt.eye(2, 3, device=device),
    "full_like": lambda device: rt.full_like(rt.zeros(2, device=device), 7),
    "ones_like": lambda device: rt.ones_like(rt.zeros(2, device=device)),
    "new_full": lambda device: rt.zeros(2, device=device).new_full((3,), 0.3),
}


@pytest.mark.parametrize("name", CREATED)
@pytest.mark.usefixtures("device_stand_in")
def test_what_is_created_there_is_not_copied_there(name):
    with no_transfers():
        there = CREATED[name]("cuda")
    assert there.device == "cuda"
    assert_same_bits(there.cpu(), CREATED[name]("cpu"))


@pytest.mark.usefixtures("device_stand_in")
def test_data_become_tensors_there():
    for data in ([[1.0, 2.0]], [True, False], np.arange(3), rt.arange(3.0)):
        there = rt.tensor(data, device="cuda")
        assert there.device == "cuda"
        assert_same_bits(there.cpu(), rt.tensor(data))
    assert rt.empty(3, device="cuda").shape == (3,)
    part = rt.tensor([1.0, 2.0], device="cuda")
    assert rt.tensor([part[0], 5.0, rt.tensor(3.0)]).tolist() == [1, 5, 3]
    with rt.device("cuda"):
        assert rt.zeros(2).device == rt.tensor([1.0]).device == rt.rand(2).device == "cuda"
        assert rt.tensor([part[0], 5.0]).device == "cuda"


def test_memory_is_shared_with_cupy(device_stand_in):
    array = device_stand_in.arange(3.0)
    shared = rt.as_tensor(array)
    array[0] = 5.0
    assert shared.cpu().tolist() == [5, 1, 2]
    assert rt.tensor(array)._array is not array
    again = device_stand_in.asarray(shared)
    again[1] = 7.0
    assert shared.cpu().tolist() == [5, 7, 2]
    with pytest.raises(TypeError, match="from_numpy expects an ndarray"):
        rt.from_numpy(array)
    with pytest.raises(AttributeError, match="a tensor on the CPU has no __cuda_array_interface__"):
        rt.ones(2).__cuda_array_interface__  # noqa: B018
    shared.requires_grad_()
    with pytest.raises(RuntimeError, match=r"would lose them: call detach\(\) first"):
        device_stand_in.asarray(shared)


DRAWN = {
    "rand": lambda g: rt.rand(2, 3, generator=g, device="cuda"),
    "rand in float64": lambda g: rt.rand(5, generator=g, dtype="float64", device="cuda"),
    "randn": lambda g: rt.randn(3, generator=g, device="cuda"),
    "normal": lambda g: rt.normal(1.0, 2.0, (3,), generator=g, device="cuda"),
    "randint": lambda g: rt.randint(-3, 9, (4,), generator=g, device="cuda"),
    "randperm": lambda g: rt.randperm(6, generator=g, device="cuda"),
    "rand_like": lambda g: rt.rand_like(rt.zeros(2, device="cuda"), generator=g),
    "bernoulli": lambda g: rt.bernoulli(rt.full((5,), 0.5, device="cuda"), generator=g),
    "multinomial": lambda g: rt.multinomial(rt.ones(2, 5, device="cuda"), 3, generator=g),
    "multinomial, replaced": lambda g: rt.multinomial(rt.ones(5, device="cuda"), 9, True, generator=g),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.usefixtures("device_stand_in")
def test_random_numbers_are_drawn_there(name):
    generator = rt.Generator(3)
    state = generator.get_state()
    with no_transfers():
        first, second = DRAWN[name](generator), DRAWN[name](generator)
    generator.set_state(state)
    assert_same_bits(first.cpu(), DRAWN[name](generator).cpu())
    assert first.device == "cuda"
    assert first.cpu().tolist() != second.cpu().tolist()


@pytest.mark.usefixtures("device_stand_in")
def test_uniform_numbers_are_those_of_the_cpu():
    here, there = rt.Generator(3), rt.Generator(3)
    for draw in (
        lambda g, device: rt.rand(5, generator=g, device=device),  # half of a word waits for the next draw
        lambda g, device: rt.bernoulli(rt.full((3, 2), 0.3, device=device), generator=g),
        lambda g, device: rt.rand(4, 3, generator=g, dtype="float64", device=device),
        lambda g, device: rt.empty(7, device=device).uniform_(-2, 3, generator=g),
    ):
        assert_same_bits(draw(there, "cuda").cpu(), draw(here, "cpu"))
        assert there.get_state() == here.get_state()


@pytest.mark.usefixtures("device_stand_in")
def test_wrong_probabilities_are_told_when_something_is_read():
    drawn = rt.bernoulli(rt.tensor([0.5, 1.5], device="cuda"))
    with pytest.raises(ValueError, match="bernoulli needs probabilities from 0 to 1"):
        drawn.cpu()
    drawn = rt.multinomial(rt.tensor([1.0, 0.0], device="cuda"), 2)
    with pytest.raises(ValueError, match="fewer than 2 indices have a weight"):
        drawn.cpu()
    drawn = rt.multinomial(rt.tensor([1.0, -1.0], device="cuda"), 2, replacement=True)
    with pytest.raises(ValueError, match="finite, not negative and not all zero"):
        rt.cuda.synchronize()
    with pytest.raises(ValueError, match=r"on a GPU the range is at most 2\*\*32 integers"):
        rt.randint(0, 2**33, (1,), device="cuda")
    assert rt.randint(-(2**31), 2**31, (2,), device="cuda").dtype == "int64"
