"""Names in exported C: words of the language, those of the functions, hostile ones; and the texts of ids."""

import ctypes

import numpy as np
import pytest

from compiled_c import exported_library
from rondeau import export, nn
from rondeau import tensor as rt
from rondeau.nn import cell_math as m


def texts(library, count, name="model"):
    found = (ctypes.c_char_p * count).in_dll(library._library, f"{name}_tokens")
    return [text.decode("utf-8", "surrogatepass") for text in found]


def test_names_of_layers_and_texts_of_ids_are_text_alone(tmp_path):
    long = 300 * "x"
    model = nn.Sequential({'a*/ #error "\n': nn.Embedding(5, 2), f"??/{long}": nn.GRU(2, 3)})
    tokens = ['"; int x; //', "\\\n", "*/ é ??/", 5000 * "é", "\ud800"]
    library = exported_library(model, tmp_path, tokens=tokens)
    assert texts(library, 5) == tokens
    assert long not in (tmp_path / "model.c").read_text()


def test_a_text_with_a_zero_has_its_length_beside_it(tmp_path):
    tokens = ["a\0b", "\0", "é"]
    library = exported_library(nn.Embedding(3, 2), tmp_path, tokens=tokens)
    sizes = (ctypes.c_uint32 * 3).in_dll(library._library, "model_token_bytes")
    pointers = (ctypes.c_void_p * 3).in_dll(library._library, "model_tokens")
    assert [ctypes.string_at(p, size).decode() for p, size in zip(pointers, sizes, strict=True)] == tokens
    exported_library(nn.Embedding(3, 2), tmp_path, "plain", tokens=["a", "b", ""])
    assert "token_bytes" not in (tmp_path / "plain.h").read_text()


@nn.recurrent_cell(gates=("int", "ψ"), states=("float", "β"), params={"while": nn.init.zeros_})
def _words_of_c(x, r, s, p):
    double = x.int + r.int
    memcpy = double * s.β + getattr(p, "while")
    return memcpy, s.float + x.ψ + r.ψ


@nn.recurrent_cell(gates=("bool", "true"), states=("M_PI", "nullptr"), params={"FP_NAN": nn.init.ones_})
def _macros_and_later_words(x, r, s, p):
    typeof = m.tanh(x.bool + r.bool)
    constexpr = m.exp(-typeof * typeof)
    math_errhandling = constexpr + x.bool
    M_E = math_errhandling * p.FP_NAN
    MODEL_INPUTS = (M_E + s.nullptr) * 0.5
    _Bool = MODEL_INPUTS * s.M_PI
    return _Bool + x.true, M_E


@nn.recurrent_cell(gates=("multiply", "b"), states=("exp",), inputs={"layer_0": "step"})
def _names_of_functions(x, r, s, u):
    model_exp = m.exp(-m.abs(x.multiply + r.multiply))
    model_tanh = m.tanh(model_exp) * u.layer_0
    return model_tanh * m.sigmoid(x.b) + s.exp


@pytest.mark.parametrize("prefix", ["model", "gate", "state", "input", "new"])
@pytest.mark.parametrize("cell", [_words_of_c, _macros_and_later_words, _names_of_functions])
def test_names_of_a_cell_may_be_any(cell, prefix, tmp_path):
    library = exported_library(nn.Recurrent(cell, 2, 3), tmp_path, prefix)
    assert library.call("selftest") == 0


@nn.recurrent_cell(gates=("a",), states=("h",), inputs={"é": "step", "ö": "step"})
def _two_inputs(x, r, s, u):
    return m.tanh(x.a + r.a) * u.é + u.ö


@nn.recurrent_cell(gates=("a",), states=("h",), inputs={"ü": "step"})
def _one_input(x, r, s, u):
    return m.tanh(x.a + r.a) * u.ü


def test_inputs_without_a_name_in_ascii_stay_apart(tmp_path):
    rt.manual_seed(0)
    model = nn.Sequential(nn.Recurrent(_two_inputs, 2, 3), nn.Recurrent(_one_input, 3, 3))
    library = exported_library(model, tmp_path)
    assert library.call("selftest") == 0
    x, u = np.ones(2, np.float32), [np.full(3, value, np.float32) for value in (0.5, 0.25, 0.0)]
    assert not library.step(x, 3, *u).any()  # the third is that of the second layer
    assert library.states[0].all()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["a"], "one text for each of 2 ids, got 1"),
        ("ab", "must be a list of texts, got str"),
        (["a", 1], "that of id 1 is of type int"),
    ],
)
@pytest.mark.parametrize("write", [export.to_c, export.to_numpy, export.to_onnx])
def test_texts_of_ids_are_checked_in_every_format(write, tokens, message, tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(export.ExportError, match=message):
        write(nn.Embedding(2, 3), tmp_path, tokens=tokens)
    with pytest.raises(export.ExportError, match="this model reads numbers: leave them out"):
        write(nn.Linear(2, 3), tmp_path, tokens=["a", "b"])
    assert list(tmp_path.iterdir()) == []
