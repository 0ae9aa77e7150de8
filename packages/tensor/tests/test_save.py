"""`save` and `load`: the same values again, or one line that says why not."""

import io
import json
import math
import os
import pickle
import random
import stat
import threading
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tools.device_arrays import installed

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.kernels.ops.few_rows import FewRows
from rondeau.tensor.autograd import from_few_rows
from rondeau.tensor.files import durable
from rondeau.tensor.files.arrays import decode

DTYPES = (bool, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "f2", "f4", "f8")

plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5)
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
tensors = st.builds(
    lambda array, grad: rt.Tensor(array, requires_grad=grad and array.dtype.kind == "f"),
    arrays.filter(lambda array: array.dtype.kind != "u" or array.dtype.itemsize == 1),
    st.booleans(),
)
scalars = st.sampled_from([np.float32(0.1), np.int8(-3), np.bool_(True), np.float64("nan"), np.uint64(2**63)])
keys = st.one_of(
    st.text(max_size=4), st.integers(-(2**63), 2**63 - 1), st.sampled_from(["$tensor", "a.b", ""])
)
values = st.recursive(
    st.one_of(plain, arrays, tensors, scalars),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=12,
)


def through_memory(value, **options):
    buffer = io.BytesIO()
    rt.save(value, buffer)
    buffer.seek(0)
    return rt.load(buffer, **options)


def assert_equal(found, expected):
    """Compare two values by types, structure and bits."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        assert [type(key) for key in found] == [type(key) for key in expected]
        for key, value in expected.items():
            assert_equal(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_equal(ours, theirs)
    elif isinstance(expected, rt.Tensor):
        assert found.requires_grad == expected.requires_grad
        assert_same_bits(found.detach().numpy(), expected.detach().numpy())
    elif isinstance(expected, (np.ndarray, np.generic)):
        assert_same_bits(np.asarray(found), np.asarray(expected))
    elif isinstance(expected, float):
        assert (math.isnan(found) and math.isnan(expected)) or (found, math.copysign(1, found)) == (
            expected,
            math.copysign(1, expected),
        )
    else:
        assert found == expected


@settings(max_examples=150)
@given(values)
def test_what_was_saved_comes_back(value):
    assert_equal(through_memory(value), value)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_strides_come_back(order):
    base = np.asarray(np.arange(24.0).reshape(4, 6), order=order)
    views = {
        "transposed": base.T,
        "reversed": base[::-1, ::-2],
        "column": base[:, 1],
        "big": base.astype(">f8"),
    }
    found = through_memory(views)
    for name, view in views.items():
        assert_same_bits(found[name], view.astype(view.dtype.newbyteorder("="), order="C"))
        assert found[name].flags.writeable
        assert found[name].dtype.isnative


def test_long_lists_of_integers_are_kept_as_arrays_and_come_back_as_lists():
    long, wide = list(range(-5, 1500)), [2**80, *range(1200)]
    buffer = io.BytesIO()
    rt.save({"long": long, "wide": wide, "mixed": [*range(1001), 1.5]}, buffer)
    buffer.seek(0)
    assert_equal(rt.load(buffer), {"long": long, "wide": wide, "mixed": [*range(1001), 1.5]})
    assert safetensors.numpy.load(buffer.getvalue())["long"].tolist() == long


def test_tied_tensors_stay_tied():
    weight = rt.ones(3, requires_grad=True)
    shared = np.zeros(2)
    found = through_memory(
        {
            "encoder": weight,
            "decoder": weight,
            "detached": weight.detach(),
            "a": rt.from_numpy(shared),
            "b": shared,
        }
    )
    assert found["encoder"] is found["decoder"]
    assert found["detached"] is not found["encoder"]
    assert not found["detached"].requires_grad
    found["detached"].fill_(7)
    assert found["encoder"].tolist() == [7, 7, 7]
    found["b"][0] = 5
    assert found["a"].tolist() == [5, 0]


def test_two_tensors_on_the_same_memory_remain_two():
    first = rt.zeros(2)
    found = through_memory([first, first.detach(), first])
    assert found[0] is found[2]
    assert found[0] is not found[1]


def test_the_file_is_one_that_others_read(tmp_path):
    rt.save({"model": {"weight": rt.ones(2, 3)}, "step": 4}, tmp_path / "run.safetensors")
    theirs = safetensors.numpy.load_file(tmp_path / "run.safetensors")
    assert_same_bits(theirs["model.weight"], np.ones((2, 3), np.float32))


def test_a_file_of_something_else_is_a_dict_of_its_tensors(tmp_path):
    import safetensors.torch

    theirs = {
        "weight": torch.randn(3, 2),
        "half": torch.randn(4).half(),
        "$odd": torch.arange(3),
    }
    safetensors.torch.save_file(theirs, tmp_path / "theirs.safetensors", {"format": "pt"})
    found = rt.load(tmp_path / "theirs.safetensors")
    assert sorted(found) == sorted(theirs)
    for name, tensor in theirs.items():
        assert_same_bits(found[name].numpy(), tensor.numpy())


def test_bfloat16_is_read_as_float32_on_request(tmp_path):
    import safetensors.torch

    values = torch.randn(5, 3).to(torch.bfloat16)
    safetensors.torch.save_file({"x": values, "h": values.half()}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"'x' of BF16, which NumPy lacks: load it with widen_half=True"):
        rt.load(tmp_path / "x.safetensors")
    found = rt.load(tmp_path / "x.safetensors", widen_half=True)
    assert_same_bits(found["x"].numpy(), values.float().numpy())
    assert_same_bits(found["h"].numpy(), values.half().float().numpy())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [{1, 2}]}, r"the value\['a'\]\[0\]: a set; write it as a list"),
        ({"f": math.sin}, r"the value\['f'\]: a builtin_function_or_method; a file holds dicts"),
        ({"c": defaultdict(int)}, r"the value\['c'\]: a collections.defaultdict"),
        ({(1, 2): 3}, r"the value: its keys must be strings, or integers of 64 bits, got tuple \(1, 2\)"),
        ({True: 3}, r"its keys must be strings, or integers of 64 bits, got bool True"),
        ({2**64: 3}, r"its keys must be strings, or integers of 64 bits, got int"),
        (rt.Generator(0), r"the value: a .*Generator; save its get_state\(\)"),
        ([np.array(["x"])], r"the value\[0\]: ndarray of <U1; arrays are of booleans, integers or floats"),
        ([np.array([1j])], r"ndarray of complex128"),
        (1j, r"the value: a complex"),
        (Path("x"), r"the value: a pathlib"),
    ],
)
def test_what_no_file_holds_is_refused_with_its_place(value, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        rt.save(value, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_cycles_and_bottomless_nesting_are_refused():
    cycle = {"a": []}
    cycle["a"].append(cycle)
    with pytest.raises(ValueError, match=r"the value\['a'\]\[0\]: it contains itself"):
        rt.save(cycle, io.BytesIO())
    deep = []
    for _ in range(150):
        deep = [deep]
    with pytest.raises(ValueError, match="nested deeper than 100"):
        rt.save(deep, io.BytesIO())
    shared = [1]
    assert through_memory([shared, shared]) == [[1], [1]]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_with_the_lines_that_convert_it(zipped, tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="it is a pickle") as caught:
        rt.load(tmp_path / "model.pt")
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 2
    namespace = {}
    exec(
        "\n".join(line.strip() for line in lines).replace("'model.safetensors'", repr(str(tmp_path / "m"))),
        namespace,
    )
    assert rt.load(tmp_path / "m")["w"].tolist() == [1, 1]


def test_names_of_pytorch_are_taken(tmp_path):
    rt.save({"x": rt.ones(1)}, f=str(tmp_path / "x"))
    assert rt.load(tmp_path / "x", map_location="cpu", weights_only=True)["x"].tolist() == [1]
    with pytest.raises(ValueError, match="map_location must be 'cpu', 'cuda' or None, got 'meta'"):
        rt.load(tmp_path / "x", "meta")
    with pytest.raises(ValueError, match="weights_only must be True"):
        rt.load(tmp_path / "x", weights_only=False)
    with pytest.raises(TypeError, match="f must be a path or a file object"):
        rt.load(3)
    with pytest.raises(FileNotFoundError):
        rt.load(tmp_path / "none")


# ------------------------------------------------------------------------------------------------------------ damage


EXAMPLE = {
    "model": {"w": rt.ones(4, 3), "b": np.arange(5)},
    "lr": [0.1, math.inf],
    "name": "x",
    "t": (1, b"ab"),
}


def damaged_files():
    """Yield 200 files that are damaged, or invented by somebody who knows the format."""
    buffer = io.BytesIO()
    rt.save(EXAMPLE, buffer)
    whole = buffer.getvalue()
    draw = random.Random(0)
    yield b""
    for _ in range(80):
        at = draw.randrange(len(whole))
        yield whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :]
    for _ in range(40):
        yield whole[: draw.randrange(1, len(whole))]
    for _ in range(20):
        at = draw.randrange(len(whole))
        yield whole[:at] + bytes(min(40, len(whole) - at)) + whole[at + 40 :]
    for _ in range(20):
        yield draw.randbytes(draw.randrange(1, 400))
    yield whole + b"more"
    yield pickle.dumps({"a": 1})
    for structure in invented_structures():
        yield invented(structure)
    for header in invented_headers():
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        yield len(text).to_bytes(8, "little") + text + bytes(16)


def invented(structure, digest=None):
    """Return a file with a right SHA-256 over a structure."""
    from rondeau.tensor.files import arrays, objects

    text = structure if isinstance(structure, str) else json.dumps(structure)
    held = {"x": np.arange(4.0), "s": np.zeros((2, 2), np.int64)}
    right = objects._digest(text, {name: arrays.stored(array) for name, array in held.items()})
    return arrays.encode(held, {"format": "rondeau 1", "structure": text, "sha256": digest or right})


def invented_structures():
    yield from (
        {"$tensor": "none"},
        {"$tensor": 3},
        {"$tensor": ["x"]},
        {"$tensor": "s", "requires_grad": True},
    )
    yield from (
        {"$tensor": "x", "requires_grad": 1},
        {"$tensor": "x", "object": "x"},
        {"$tensor": "x", "more": 1},
    )
    yield from ({"$scalar": "x"}, {"$integers": "x"}, {"$integers": "s"}, {"$bytes": "x"}, {"$unknown": 1})
    yield from ({"$tuple": 3}, {"$items": 3}, {"$items": [3]}, {"$items": [[1.5, 2]]}, {"$items": [["a"]]})
    yield from (
        {"$ordered": {"a": 1}},
        {"$integer": "zz"},
        {"$integer": 3},
        {"$float": "1e400"},
        {"$float": []},
    )
    yield from (
        {"$array": "x", "b": 1},
        "[NaN]",
        "{",
        "",
        "[" * 100_000,
        "1" * 5000,
        '{"$eval": "import os"}',
    )
    yield from (
        {"a": {"$tensor": "X"}},
        [{"$class": "os.system"}],
        {"$items": [[True, 1]]},
        {"$items": [[None, 1]]},
    )


def invented_headers():
    yield b"\xff" * 20
    yield b"[" * 5000
    yield {
        "x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "__metadata__": {"format": "rondeau 2"},
    }["x"]
    for entry in (
        {"dtype": "F32", "shape": [1] * 62 + [2, 2, 1], "data_offsets": [0, 16]},
        {"dtype": "BF16", "shape": [1] * 62 + [2, 4, 1], "data_offsets": [0, 16]},
        {"dtype": "U16", "shape": [8], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**50]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]},
        {"dtype": "F8_E4M3", "shape": [16], "data_offsets": [0, 16]},
        {"dtype": "O", "shape": [2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": "x", "data_offsets": [0, 16]},
        {"dtype": "F32"},
        {},
        3,
    ):
        yield {"x": entry}
    for metadata in (
        {"format": "rondeau 1"},
        {"format": "rondeau 2", "structure": "1"},
        {"format": "rondeau 1", "structure": "1"},
        [],
        {"a": 1},
    ):
        yield {"__metadata__": metadata, "x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}


def test_damaged_and_invented_files_are_one_line_of_error(tmp_path):
    count = 0
    for number, content in enumerate(damaged_files()):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot be loaded: ") as caught:
            pytest.fail(f"file {number} gave {rt.load(path)!r:.100}")
        first, *rest = str(caught.value).splitlines()
        assert str(path) in first
        assert not rest or "pickle" in first
        count += 1
    assert count >= 200


# -------------------------------------------------------------------------------------------------------------- into


class Holder:
    """Something with a state, which takes positive numbers alone."""

    def __init__(self, number):
        self.number = number

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.number = state["number"]
        if self.number < 0:
            raise ValueError("expected a positive number")


def test_into_fills_what_is_there(tmp_path):
    holder, tensor, array = Holder(1), rt.zeros(2, requires_grad=True), np.zeros(3)
    rt.save({"h": {"number": 5}, "list": [rt.ones(2), np.arange(3.0)], "more": 1}, tmp_path / "x")
    value = rt.load(tmp_path / "x", into={"h": holder, "list": [tensor, array]})
    assert (holder.number, tensor.tolist(), array.tolist(), value["more"]) == (5, [1, 1], [0, 1, 2], 1)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"h": {"number": -5}}, "expected a positive number"),
        ({"h": {}}, "number"),
        (
            {"a": np.arange(4.0)},
            r"into: the value\['a'\] is float64 of shape \(4,\), expected float64 of shape \(3,\)",
        ),
        ({"a": np.arange(3)}, r"is int64 of shape \(3,\), expected float64"),
        ({"a": 3}, r"into: the value\['a'\] is int, expected float64 of shape \(3,\)"),
        ({"h": None, "x": 1}, "."),
    ],
)
def test_a_part_that_does_not_fit_changes_nothing(last, message, tmp_path):
    holder, tensor, array = Holder(1), rt.zeros(2), np.zeros(3)
    value = {"t": rt.ones(2), "a": np.arange(3.0), "h": {"number": 5}}
    rt.save(value | last, tmp_path / "x")
    with pytest.raises((ValueError, KeyError, TypeError), match=message):
        rt.load(tmp_path / "x", into={"t": tensor, "a": array, "h": holder})
    assert (holder.number, tensor.tolist(), array.tolist()) == (1, [0, 0], [0, 0, 0])


def test_a_read_only_array_is_refused_and_all_else_is_restored(tmp_path):
    tensor, array = rt.zeros(2), np.zeros(3)
    array.flags.writeable = False
    rt.save([rt.ones(2), np.ones(3)], tmp_path / "x")
    with pytest.raises(ValueError, match=r"the array for the value\[1\] is read-only"):
        rt.load(tmp_path / "x", into=[tensor, array])
    assert tensor.tolist() == [0, 0]


def test_a_part_that_cannot_be_restored_does_not_keep_others_from_it(tmp_path):
    class Stubborn(Holder):
        def load_state_dict(self, state):
            raise ValueError("never")

    tensor = rt.zeros(2)
    rt.save([rt.ones(2), {"number": 2}], tmp_path / "x")
    with pytest.raises(ValueError, match="never"):
        rt.load(tmp_path / "x", into=[tensor, Stubborn(1)])
    assert tensor.tolist() == [0, 0]


def test_into_fills_generators_and_arrays_without_dimensions(tmp_path):
    generator, array = rt.Generator(0), np.zeros(())
    rt.save([rt.Generator(5).get_state(), np.float64(3)], tmp_path / "x")
    rt.load(tmp_path / "x", into=[generator, array])
    assert generator.get_state() == rt.Generator(5).get_state()
    assert array == 3


def test_into_says_what_is_missing(tmp_path):
    rt.save({"a": 1}, tmp_path / "x")
    with pytest.raises(ValueError, match=r"into: the value has the keys \['a'\], expected \['b'\]"):
        rt.load(tmp_path / "x", into={"b": Holder(1)})
    with pytest.raises(
        TypeError, match=r"into: expected something with load_state_dict, .* for the value\['a'\]"
    ):
        rt.load(tmp_path / "x", into={"a": 3})


# ----------------------------------------------------------------------------------------------------------- durable


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    rt.save({"version": 1}, tmp_path / "x")

    def full(descriptor, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "_write_all", full)
    with pytest.raises(OSError, match="No space left"):
        rt.save({"version": 2}, tmp_path / "x")
    monkeypatch.undo()
    assert rt.load(tmp_path / "x") == {"version": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes as POSIX has them")


@posix
def test_the_mode_of_a_file_and_the_link_to_it_are_kept(tmp_path):
    rt.save(1, tmp_path / "x")
    (tmp_path / "x").chmod(0o600)
    (tmp_path / "link").symlink_to("x")
    rt.save(2, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600
    assert rt.load(tmp_path / "x") == 2


@posix
def test_a_pipe_is_written_into_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    rt.save({"a": 1}, tmp_path / "pipe")
    reader.join()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert rt.load(io.BytesIO(found[0])) == {"a": 1}


def test_two_may_save_under_one_name(tmp_path, monkeypatch):
    write = durable._write_all

    def other_first(descriptor, content):
        monkeypatch.setattr(durable, "_write_all", write)
        rt.save("other", tmp_path / "x")
        write(descriptor, content)

    monkeypatch.setattr(durable, "_write_all", other_first)
    rt.save("last", tmp_path / "x")
    assert rt.load(tmp_path / "x") == "last"
    assert len(list(tmp_path.iterdir())) == 1


def test_places_that_are_no_files_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, error, match in (
        (tmp_path / "folder", IsADirectoryError, "folder'$"),
        (tmp_path / "none" / "x", FileNotFoundError, "none'$"),
        ("", ValueError, "the path of a file"),
    ):
        with pytest.raises(error, match=match):
            rt.save(1, name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


class Slow(io.RawIOBase):
    """A file object that takes a few bytes at a time, as a pipe without a buffer may."""

    def __init__(self, most):
        self.most, self.content = most, b""

    def write(self, content):
        self.content += bytes(content[: self.most])
        return min(self.most, len(content))


def test_a_large_file_of_something_else_is_refused_by_its_start(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "read_file", lambda path: pytest.fail("read the whole file"))
    for content, message in ((b"PK\x03\x04" + b"x" * 90, "is a pickle"), (b"x" * 90, "header too large")):
        (tmp_path / "large").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            rt.load(tmp_path / "large")


def test_file_objects_are_given_everything_in_binary(tmp_path):
    slow = Slow(100)
    rt.save({"w": rt.ones(50)}, slow)
    assert rt.load(io.BytesIO(slow.content))["w"].tolist() == [1] * 50
    with pytest.raises(OSError, match="takes no more"):
        rt.save(1, Slow(0))
    with (
        (tmp_path / "text").open("w") as file,
        pytest.raises(TypeError, match="text must be opened in binary"),
    ):
        rt.save(1, file)


def test_booleans_of_other_files_are_zero_or_one():
    header = b'{"x":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}'
    content = len(header).to_bytes(8, "little") + header + bytes([0, 1, 2])
    assert rt.load(io.BytesIO(content))["x"].numpy().tobytes() == bytes([0, 1, 1])


# --------------------------------------------------------------------------------------------------------- on a GPU


def test_what_was_saved_with_a_gpu_loads_without_one(tmp_path):
    with installed() as cupy:
        weight = rt.tensor([1.0, 2.0], device="cuda", requires_grad=True)
        rt.save(
            {"w": weight, "again": weight, "part": weight.detach()[1:], "array": cupy.arange(2)},
            tmp_path / "there",
        )
        rt.save({"w": rt.tensor([1.0, 2.0], requires_grad=True)}, tmp_path / "here")
        rt.save({"w": weight}, tmp_path / "same")
        here, same = (decode((tmp_path / name).read_bytes()) for name in ("here", "same"))
        assert here == same
    loaded = rt.load(tmp_path / "there")
    assert loaded["again"] is loaded["w"]
    assert (loaded["w"].device, loaded["w"].requires_grad, loaded["w"].tolist()) == ("cpu", True, [1, 2])
    assert type(loaded["array"]) is np.ndarray
    if not rt.cuda.is_available():
        with pytest.raises(RuntimeError, match="device 'cuda' needs"):
            rt.load(tmp_path / "there", "cuda")


@pytest.mark.usefixtures("device_stand_in")
def test_tensors_are_loaded_where_they_are_to_be(tmp_path):
    w = rt.tensor([1.0, 2.0])
    rt.save({"w": w, "view": w.detach(), "array": np.arange(2)}, tmp_path / "x")
    for where in ("cuda", rt.device("cuda:0")):
        loaded = rt.load(tmp_path / "x", where)
        assert loaded["w"].device == loaded["view"].device == "cuda"
        assert loaded["w"]._array is loaded["view"]._array
        assert type(loaded["array"]) is np.ndarray
    there = rt.zeros(2, device="cuda")
    rt.load(tmp_path / "x", into={"w": there})
    assert there.device == "cuda"
    assert there.cpu().tolist() == [1, 2]
    with pytest.raises(
        ValueError, match=r"into: the value\['w'\] is float32 of shape \(2,\), expected .* \(3,\)"
    ):
        rt.load(tmp_path / "x", into={"w": rt.zeros(3, device="cuda")})


def test_tensors_that_nothing_has_read_yet(tmp_path):
    rows = FewRows(np.array([1]), np.array([[5.0, 6.0]]), 3)
    base = rt.ones(2, 3, requires_grad=True) * 1.0
    view = base[1]
    base.mul_(2.0)  # the view looks for its history when it is asked
    rt.save({"rows": from_few_rows(rows), "view": view}, tmp_path / "file")
    found = rt.load(tmp_path / "file")
    assert_same_bits(found["rows"].numpy(), rows.whole())
    assert found["view"].requires_grad
    assert_same_bits(found["view"].detach().numpy(), np.full(3, 2.0, np.float32))
