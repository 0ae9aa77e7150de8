import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

DTYPES = ["float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (2, 3, 4)])
def test_round_trip(tmp_path, dtype, shape):
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
    nn.save_safetensors({"x": array}, tmp_path / "x.safetensors")
    back = nn.load_safetensors(tmp_path / "x.safetensors")["x"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert_same_bits(back, array)


def test_views_are_written_with_the_values_they_show(tmp_path):
    # safetensors 0.8.0 writes the memory of such arrays as it lies.
    base = np.arange(24.0).reshape(4, 6)
    views = {
        "transposed": base.T,
        "fortran": np.asfortranarray(base),
        "strided": base[::2, 1::3],
        "reversed": base[::-1],
        "broadcast": np.broadcast_to(base[0], (3, 6)),
        "big endian": base.astype(">f8"),
    }
    nn.save_safetensors(views, tmp_path / "views.safetensors")
    back = nn.load_safetensors(tmp_path / "views.safetensors")
    for name, view in views.items():
        assert_same_bits(back[name], view.astype(np.float64), name)
        assert back[name].dtype == np.float64


def test_transposed_parameter_round_trip(tmp_path):
    layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
    layer.weight.data = np.asfortranarray(layer.weight.detach().numpy())
    nn.save_safetensors(layer.state_dict(), tmp_path / "layer.safetensors")
    other.load_state_dict(str(tmp_path / "layer.safetensors"))
    assert other.weight.tolist() == layer.weight.tolist()


def test_file_that_torch_wrote(torch, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    theirs = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 3))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    assert ours.load_state_dict(tmp_path / "model.safetensors") == ([], [])
    for name, value in theirs.state_dict().items():
        assert_same_bits(ours.state_dict()[name].numpy(), value)
    ids = [[0, 4, 2]]
    assert_close(
        ours(rt.tensor(ids)).detach().numpy(),
        theirs(torch.tensor(ids)).detach().numpy(),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_of_torch_widens_exactly(torch, tmp_path, kind):
    save_file = pytest.importorskip("safetensors.torch").save_file
    values = torch.tensor([[1.0, -2.5, 3.14159], [65504.0, 1e-7, float("inf")]]).to(getattr(torch, kind))
    save_file({"weight": values, "bias": values[:, 0].contiguous()}, tmp_path / "half.safetensors")
    back = nn.load_safetensors(tmp_path / "half.safetensors")
    assert back["weight"].dtype == np.float32
    assert_same_bits(back["weight"], values.float().numpy())
    layer = nn.Linear(3, 2)
    layer.load_state_dict(tmp_path / "half.safetensors")
    assert_same_bits(layer.bias, values[:, 0].float().numpy())


def test_torch_reads_what_we_write(torch, tmp_path):
    load_file = pytest.importorskip("safetensors.torch").load_file
    layer = nn.Linear(3, 2)
    nn.save_safetensors(layer.state_dict(), tmp_path / "layer.safetensors", {"made by": "a test"})
    theirs = torch.nn.Linear(3, 2)
    theirs.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    assert theirs.weight.tolist() == layer.weight.tolist()
    safe_open = pytest.importorskip("safetensors").safe_open
    with safe_open(tmp_path / "layer.safetensors", "np") as file:
        assert file.metadata() == {"made by": "a test"}


def test_loaded_arrays_are_ours_to_change(tmp_path):
    nn.save_safetensors({"x": np.zeros(2)}, tmp_path / "x.safetensors")
    array = nn.load_safetensors(tmp_path / "x.safetensors")["x"]
    array[0] = 1.0
    assert array.tolist() == [1.0, 0.0]


def test_dtype_without_an_equal(torch, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({"tiny": torch.zeros(2).to(torch.float8_e4m3fn)}, tmp_path / "f8.safetensors")
    with pytest.raises(ValueError, match=r"'tiny' of .*f8.safetensors has dtype F8_E4M3; expected BF16"):
        nn.load_safetensors(tmp_path / "f8.safetensors")


def test_damaged_and_missing_files(torch, tmp_path):
    whole = tmp_path / "whole.safetensors"
    nn.save_safetensors({"x": np.arange(100.0)}, whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"cut.safetensors is not a whole safetensors file \("):
        nn.load_safetensors(cut)
    pickled = tmp_path / "model.pt"
    torch.save({"x": torch.zeros(2)}, pickled)
    with pytest.raises(ValueError, match=r"a file written by torch.save is a pickle"):
        nn.Linear(1, 1).load_state_dict(pickled)
    with pytest.raises(FileNotFoundError):
        nn.load_safetensors(tmp_path / "none.safetensors")


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match="tensor 'x' must be a Tensor or an array of numbers, got list"):
        nn.save_safetensors({"x": ["a"]}, tmp_path / "x.safetensors")
