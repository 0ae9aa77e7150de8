"""Files of ONNX that need not be trusted: damaged, invented, or with parts that are not read; each a line of error."""

import os
import tracemalloc

import numpy as np
import pytest

from onnx_of_others import (
    DENSE,
    Theirs,
    export_by_tracing,
    helper,
    keras_sequences,
    node,
    onnx,
    saved,
    torch,
    weights_of,
)
from rondeau import export, nn
from rondeau import tensor as rt


def one_layer(op="LSTM", gates=4, inputs=("x", "W", "R", "B"), outputs=("every",), extra=(), **attributes):
    rng = np.random.default_rng(3)
    last = [node("Squeeze", ["every", "one"], ["y"])]
    nodes = [node(op, list(inputs), list(outputs), hidden_size=4, **attributes), *(extra or last)]
    return nodes, weights_of(gates, 3, 4, rng) | DENSE | {
        "one": np.array([1]),
        "none": np.array([], np.int64),
    }


SQUEEZE = node("Squeeze", ["every", "one"], ["s"])
INVENTED = {
    "hard sigmoid": (
        one_layer(activations=["HardSigmoid", "Tanh", "Tanh"]),
        "activations 'hardsigmoid tanh tanh'",
    ),
    "clip": (one_layer(clip=3.0), "attribute 'clip' is not read"),
    "layout": (one_layer(layout=1), "layout=1 is not read"),
    "direction": (one_layer(direction="sideways"), "direction 'sideways'"),
    "backwards": (one_layer(direction="reverse"), "runs backwards alone"),
    "unknown": (one_layer(extra=[SQUEEZE, node("Mystery", ["s"], ["y"])]), "operator 'Mystery' is not read"),
    "two lines": (one_layer(extra=[SQUEEZE, node("A\nB", ["s"], ["y"])]), r"operator 'A\\nB' is not read"),
    "custom": (
        one_layer(extra=[SQUEEZE, node("Relu", ["s"], ["y"], domain="evil")]),
        "of 'evil' is not read",
    ),
    "loop": (one_layer(extra=[SQUEEZE, node("Loop", ["s"], ["y"])]), "operator 'Loop' is not read"),
    "constant output": (
        one_layer(extra=[node("Identity", ["kernel"], ["y"])]),
        "not computed from its input",
    ),
    "input as output": (one_layer(extra=[node("Identity", ["x"], ["y"])]), "not computed from its input"),
    "missing": (one_layer(extra=[node("Relu", ["nowhere"], ["y"])]), "'Relu' reads 'nowhere', which nothing"),
    "cycle": (one_layer(extra=[node("Relu", ["y"], ["y"])]), "'Relu' reads 'y', which nothing"),
    "twice": (one_layer(extra=[SQUEEZE, node("Relu", ["s"], ["s"])]), "two values have the name 's'"),
    "no inputs": (one_layer(extra=[node("Relu", [], ["y"])]), "Relu has 0 inputs"),
    "many inputs": (one_layer(extra=[SQUEEZE, node("Relu", ["s"] * 9, ["y"])]), "Relu has 9 inputs"),
    "no weights": (one_layer(inputs=("x", "W")), "LSTM has 2 inputs"),
    "left out": (one_layer(inputs=("x", "W", "")), "depends on what is not read"),
    "weights that vary": (one_layer(inputs=("x", "x", "R")), "has W that is not a constant"),
    "order": (
        one_layer(extra=[node("Transpose", ["every"], ["y"], perm=[0, 0, 1, 7])]),
        "an order that does not fit",
    ),
    "short order": (
        one_layer(extra=[node("Transpose", ["every"], ["y"], perm=[0])]),
        "an order that does not fit",
    ),
    "axes": (
        one_layer(extra=[node("Transpose", ["every"], ["y"], perm=[0, 1, 3, 2])]),
        "has not the dimensions",
    ),
    "turned": (
        one_layer(extra=[SQUEEZE, node("Transpose", ["s"], ["y"], perm=[1, 0, 2])]),
        "has not the dimensions of the input",
    ),
    "reversed": (
        one_layer(extra=[SQUEEZE, node("Transpose", ["s"], ["y"])]),
        "has not the dimensions of the input",
    ),
    "a product of products": (
        one_layer(extra=[SQUEEZE, node("MatMul", ["s", "s"], ["y"])]),
        "two values that depend",
    ),
    "a sum": (one_layer(extra=[SQUEEZE, node("Add", ["s", "s"], ["y"])]), "adds what is not a bias"),
    "a shift": (
        one_layer(extra=[SQUEEZE, node("Add", ["s", "bias"], ["y"])]),
        "is not the bias of a product",
    ),
    "a shift of steps": (
        one_layer(
            extra=[
                SQUEEZE,
                node("MatMul", ["s", "kernel"], ["product"]),
                node("Transpose", ["product"], ["turned"], perm=[1, 2, 0]),
                node("Add", ["turned", "bias"], ["shifted"]),
                node("Transpose", ["shifted"], ["y"], perm=[2, 0, 1]),
            ]
        ),
        "adds a constant along another dimension than the features",
    ),
    "a matrix": (one_layer(extra=[SQUEEZE, node("MatMul", ["s", "W"], ["y"])]), "a product has a matrix"),
    "softmax": (
        one_layer(extra=[SQUEEZE, node("Softmax", ["s"], ["y"], axis=0)]),
        "another dimension than the last",
    ),
    "far": (
        one_layer(extra=[SQUEEZE, node("Gather", ["s", "one"], ["y"], axis=77)]),
        "depends on what is not read",
    ),
    "first step": (
        one_layer(extra=[SQUEEZE, node("Gather", ["s", "one"], ["y"])]),
        "depends on what is not read",
    ),
    "state": (one_layer(inputs=("x", "W", "R", "B", "", "W")), "begins with a state that is neither zero"),
    "lengths": (one_layer(inputs=("x", "W", "R", "B", "one")), "has lengths that are neither"),
    "dropout": (
        one_layer(extra=[SQUEEZE, node("Dropout", ["s", "", "one"], ["y"])]),
        "operator 'Dropout' is that of training",
    ),
    "gelu": (
        one_layer(extra=[SQUEEZE, node("Gelu", ["s"], ["y"], approximate="table")]),
        "'Gelu' is approximated in a way that is not read",
    ),
    "a step": (one_layer(extra=[SQUEEZE, node("Cast", ["s"], ["y"], to=7)]), "to another type"),
    "nothing squeezed": (
        one_layer(extra=[node("Squeeze", ["every", "none"], ["y"])]),
        "has not the dimensions",
    ),
    "time squeezed": (
        one_layer(extra=[node("Squeeze", ["every", "zero"], ["y"])]),
        "'Squeeze' reads 'zero', which nothing",
    ),
    "attribute and input": (
        one_layer(extra=[node("Squeeze", ["every"], ["y"], axes=[9])]),
        "dimension out of range",
    ),
}


@pytest.mark.parametrize("name", INVENTED)
def test_invented_graphs_are_refused(name, tmp_path):
    (nodes, constants), message = INVENTED[name]
    path = saved(tmp_path / "x.onnx", nodes, constants, x=("time", "batch", 3))
    with pytest.raises(export.ExportError, match=message) as caught:
        export.from_onnx(path)
    assert "\n" not in str(caught.value)


def plain(**changes):
    """A small model, with some fields of its first constant changed."""
    constant = onnx.TensorProto(name="w", data_type=1, dims=[2, 2], raw_data=bytes(16))
    for field, value in changes.items():
        if field in ("dims", "int64_data", "float_data", "int32_data"):
            del getattr(constant, field)[:]
            getattr(constant, field).extend(value)
        elif field == "external":
            constant.data_location = onnx.TensorProto.EXTERNAL
            for key, entry in value.items():
                constant.external_data.add(key=key, value=entry)
        elif value is None:
            constant.ClearField(field)
        else:
            setattr(constant, field, value)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["y"])],
        "g",
        [info("x", 1, ["b", 2])],
        [info("y", 1, ["b", 2])],
        [constant],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


FIELD = bytes([7 << 3 | 2])  # the graph of a model
BYTES = {
    "empty": (b"", "has no graph"),
    "text": (b"import os\n" * 9, "not a file of ONNX"),
    "zip": (b"PK\x03\x04" + bytes(200), "not a file of ONNX"),
    "zeros": (bytes(1000), "not a file of ONNX"),
    "ones": (b"\xff" * 1000, "a number has no end"),
    "a length without bytes": (FIELD + b"\xff\xff\xff\xff\x0f", "ends after the file"),
    "a length beyond 64 bits": (FIELD + b"\xff" * 9 + b"\x01", "ends after the file"),
    "graph in graph": (FIELD + b"\x7f" + b"\x0a\x7d" * 64, "ends after the file"),
    "huge dims": (plain(dims=[2**31, 2**31]), "its shape asks for 18,446,744,073,709,551,616"),
    "more dims": (plain(dims=[2**62, 2**62, 0]), "has 16 bytes, and its shape asks for 0"),
    "dims that NumPy cannot hold": (plain(dims=[2**62, 2**62, 0], raw_data=b""), "a shape that is too large"),
    "negative dims": (plain(dims=[-2, -2]), "a negative dimension"),
    "many dims": (plain(dims=[1] * 40), "more than 16 dimensions"),
    "short": (plain(raw_data=bytes(15)), "has 15 bytes, and its shape asks for 16"),
    "long": (plain(raw_data=bytes(17)), "has 17 bytes"),
    "no data": (plain(raw_data=None), "has 0 numbers, and its shape asks for 4"),
    "few numbers": (plain(raw_data=None, float_data=[1.0]), "has 1 numbers"),
    "other field": (plain(raw_data=None, int64_data=[1, 2, 3, 4]), "has 0 numbers"),
    "strings": (plain(data_type=8), "is of type 8, which is not read"),
    "complex": (plain(data_type=14), "is of type 14"),
    "no type": (plain(data_type=0), "is of type 0"),
    "integers": (plain(data_type=6), "a product has a matrix"),
    "truths": (plain(data_type=9, dims=[16], raw_data=bytes(range(16))), "truth values that are neither"),
    "nothing": (plain(dims=[2, 0], raw_data=b""), "a product has a matrix"),
    "another width": (plain(dims=[4, 1]), "a product has a matrix"),
    "vector": (plain(dims=[4]), "a product has a matrix"),
    "outside": (
        plain(raw_data=None, external={"location": "/etc/passwd"}),
        "is in another file, '/etc/passwd'",
    ),
    "two graphs": (plain() * 2, "has no graph|two"),
    "cut": (plain()[:-30], "ends after the file"),
}


@pytest.mark.parametrize("name", BYTES)
def test_damaged_bytes_are_refused(name, tmp_path):
    data, message = BYTES[name]
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(export.ExportError, match=message) as caught:
        export.from_onnx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "/etc/passwd"}, "is not a file in the folder of the model"),
        ({"location": "../secret"}, "is not a file in the folder of the model"),
        ({"location": "link"}, "is not a file in the folder of the model"),
        ({"location": "folder"}, "is not a file in the folder of the model"),
        ({"location": ""}, "is not a file in the folder of the model"),
        ({"location": "a\0b"}, "says wrongly where its data is|is not a file in the folder"),
        ({"location": "data", "offset": "4"}, "asks for 16 bytes from byte 4 of 'data', which has 16"),
        ({"location": "data", "offset": "-4"}, "from byte -4"),
        ({"location": "data", "offset": "x"}, "says wrongly where its data is"),
        ({"location": "data", "length": "9" * 30}, "which has 16"),
    ],
)
def test_data_outside_the_folder_is_refused(entries, message, tmp_path):
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "data").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "x.onnx").write_bytes(plain(raw_data=None, external=entries))
    with pytest.raises(export.ExportError, match=message):
        export.from_onnx(folder / "x.onnx", external_data=True)


def changed_at_random(data, rng):
    """Damage bytes, or parts of the message so that it stays one."""
    if rng.random() < 0.3:
        damaged, where = bytearray(data), int(rng.integers(len(data)))
        how = int(rng.integers(3))
        if how == 0:
            damaged[where] ^= 1 << int(rng.integers(8))
        elif how == 1:
            del damaged[where : where + int(rng.integers(1, 30))]
        else:
            damaged[where:where] = rng.bytes(int(rng.integers(1, 9)))
        return bytes(damaged)
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    numbers = [0, 1, -1, 2, 7, 2**31, 2**62, -(2**63)]

    def one_of(values):
        return values[int(rng.integers(len(values)))]

    for _ in range(int(rng.integers(1, 4))):
        chosen, how = one_of(graph.node), int(rng.integers(7))
        names = [*(o for n in graph.node for o in n.output), *(t.name for t in graph.initializer), "x", ""]
        if how == 0:
            chosen.op_type = one_of(
                ["Transpose", "Reshape", "Slice", "Gather", "Concat", "Gemm", "Shape", "Split", "GRU"]
            )
        elif how == 1 and chosen.input:
            chosen.input[int(rng.integers(len(chosen.input)))] = one_of(names)
        elif how == 2:
            chosen.input.append(one_of(names))
        elif how == 3 and chosen.attribute:
            attribute = one_of(chosen.attribute)
            attribute.i = one_of(numbers)
            attribute.ints.append(one_of(numbers))
        elif how == 4:
            dims = one_of(graph.initializer).dims
            if dims:
                dims[int(rng.integers(len(dims)))] = one_of(numbers)
        elif how == 5:
            name = one_of(
                ["axis", "axes", "perm", "transB", "alpha", "to", "start", "hidden_size", "direction"]
            )
            chosen.attribute.append(
                helper.make_attribute(name, one_of([one_of(numbers), [one_of(numbers)], "x", 0.5]))
            )
        else:
            whole = [t for t in graph.initializer if t.data_type == 7]
            for array in whole[:1]:
                array.raw_data = np.array(
                    [one_of(numbers) for _ in range(len(array.raw_data) // 8)]
                ).tobytes()
    return model.SerializeToString()


def files_to_damage(tmp_path):
    rt.manual_seed(6)
    model = nn.Sequential(
        nn.Embedding(5, 3), nn.LSTM(3, 4, bidirectional=True), nn.LayerNorm(8), nn.Linear(8, 2)
    )
    export.to_onnx(model, tmp_path, "a", "sequence", lengths=True, batch_first=True)
    torch.manual_seed(6)
    export_by_tracing(Theirs("GRU", num_layers=2), torch.randn(4, 2, 5), tmp_path / "b.onnx")
    nodes, constants = keras_sequences("GRU", 3, np.random.default_rng(0), 15)
    saved(tmp_path / "c.onnx", nodes, constants)
    return [(tmp_path / f"{name}.onnx").read_bytes() for name in "abc"]


def reading(path):
    """Read a file, and return why it is refused, or None."""
    try:
        assert isinstance(export.from_onnx(path), export.Chain)
    except export.ExportError as error:
        return str(error)
    return None


def read_damaged(tmp_path, seed, count):
    rng, files = np.random.default_rng(seed), files_to_damage(tmp_path)
    path, refused = tmp_path / "x.onnx", 0
    for _ in range(count):
        path.write_bytes(changed_at_random(files[int(rng.integers(len(files)))], rng))
        tracemalloc.start()
        message = reading(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        refused += message is not None
        assert message is None or ("\n" not in message and len(message) < 300)
        assert peak < 2**20
    return refused


def test_files_damaged_at_random(tmp_path):
    assert read_damaged(tmp_path, 0, 150) > 75


@pytest.mark.long
def test_many_files_damaged_at_random(tmp_path):
    assert read_damaged(tmp_path, 1, 10_000) > 5_000


def test_what_a_file_makes_of_its_constants_is_bounded(tmp_path):
    constants = weights_of(4, 3, 4, np.random.default_rng(0)) | {"big": np.ones((100, 100), np.float32)}
    doubled = [node("Concat", [f"c{k}", f"c{k}"], [f"c{k + 1}"], axis=0) for k in range(60)]
    nodes = [node("Identity", ["big"], ["c0"]), *doubled, node("MatMul", ["x", "c60"], ["y"])]
    with pytest.raises(export.ExportError, match="more of its constants than their bytes allow"):
        export.from_onnx(saved(tmp_path / "x.onnx", nodes, constants))
    square = {"w": np.zeros((300, 300), np.float32)}
    nodes = [node("MatMul", [f"v{k}" if k else "x", "w"], [f"v{k + 1}"]) for k in range(100)]
    nodes.append(node("Identity", ["v100"], ["y"]))
    with pytest.raises(export.ExportError, match="which is more than the file has for them"):
        export.from_onnx(saved(tmp_path / "x.onnx", nodes, square, x=("b", 300)))
    many = [node("Identity", ["x"], [f"v{k}"]) for k in range(20_001)]
    with pytest.raises(export.ExportError, match="has 20,001 nodes"):
        export.from_onnx(saved(tmp_path / "x.onnx", many, {}))


def test_what_is_read_again_and_again_is_bounded_too(tmp_path):
    """A small file must not make the reader look through a large constant as often as it has nodes."""
    path, big = tmp_path / "x.onnx", {"big": np.zeros(200_000, np.float32), "one": np.array([1])}
    weights = weights_of(4, 3, 4, np.random.default_rng(0))
    layer = ["x", "W", "R", "B", "", "big", "big"]
    for repeated in (
        lambda k: node("Expand", ["big", "one"], [f"v{k}"]),
        lambda k: node("LSTM", layer, [f"v{k}"], hidden_size=4),
    ):
        saved(path, [*map(repeated, range(40)), node("Identity", ["x"], ["y"])], big | weights)
        with pytest.raises(export.ExportError, match="more of its constants than their bytes allow"):
            export.from_onnx(path)
    ids = {
        "big": np.arange(50_000, dtype=np.uint8).astype(np.float16)
    }  # the check of a range compares with int64
    many = [node("Gather", ["big", "x"], [f"v{k}"]) for k in range(40)]
    saved(path, [*many, node("Relu", ["v0"], ["y"])], ids, x=("b",), x_type=onnx.TensorProto.INT64)
    with pytest.raises(export.ExportError, match="more of its constants than their bytes allow"):
        export.from_onnx(path)
    wide = [node("Concat", ["x"] * 15_000, [f"v{k}"], axis=0) for k in range(14)]
    with pytest.raises(export.ExportError, match="nodes have more than 200,000 inputs and outputs"):
        export.from_onnx(saved(path, wide, {}))


def test_a_long_chain_is_followed_once(tmp_path):
    rows = [node("Relu", [f"v{k}" if k else "s"], [f"v{k + 1}"]) for k in range(3000)]
    last = [node("Gather", ["v3000", "minus"], [f"g{k}"]) for k in range(3000)]
    nodes, constants = one_layer(extra=[SQUEEZE, *rows, *last, node("Identity", ["v3000"], ["y"])])
    constants["minus"] = np.array(-1)
    assert len(export.from_onnx(saved(tmp_path / "x.onnx", nodes, constants, x=("time", "batch", 3)))) == 3001


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(OSError, match="not a file that could be read whole"):
            export.from_onnx(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        export.from_onnx(tmp_path / "none.onnx")


@pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="the system does not tell what is sparse")
def test_a_sparse_file_has_no_data_where_it_has_holes(tmp_path):
    with (tmp_path / "data").open("wb") as file:
        file.truncate(2**38)
    dims = [2**18, 2**18]
    entries = {"location": "data", "length": str(2**38)}
    (tmp_path / "x.onnx").write_bytes(plain(raw_data=None, dims=dims, external=entries))
    with pytest.raises(export.ExportError, match="'w' is where 'data' has a hole"):
        export.from_onnx(tmp_path / "x.onnx", external_data=True)


def test_a_second_output_that_is_no_state_is_refused(tmp_path):
    nodes, constants = one_layer(
        extra=[SQUEEZE, node("MatMul", ["s", "kernel"], ["y"]), node("Tanh", ["s"], ["z"])]
    )
    model = onnx.load(saved(tmp_path / "x.onnx", nodes, constants, x=("time", "batch", 3)))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(export.ExportError, match="output 'z' is neither the first nor a state"):
        export.from_onnx(tmp_path / "x.onnx")


def test_reading_needs_no_onnx(tmp_path, monkeypatch):
    path = tmp_path / "x.onnx"
    path.write_bytes(plain())
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert isinstance(export.from_onnx(path)[0], nn.Linear)
    with pytest.raises(export.ExportError, match=r'package onnx; .* pip install -e "\.\[onnx\]"'):
        export.to_onnx(nn.Linear(2, 2), tmp_path)
