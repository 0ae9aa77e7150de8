"""Models as NumPy alone: the file by itself, lengths, resets, both directions, text, and what is refused.

Steps of every cell are compared in `tests/test_exported_cells.py`.
"""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import export, nn
from rondeau import tensor as rt
from trajectories import module_of


def exported(model, folder, **options):
    return module_of(export.to_numpy(model, folder, **options).files[0])


def with_drawn_weights(model):
    with rt.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * rt.randn(*parameter.shape))
    return model.eval()


def test_the_file_runs_where_only_numpy_can_be_imported(tmp_path):
    rt.manual_seed(0)
    model = nn.LanguageModel(11, nn.cells.lstm_layer_norm, 8, 2, embedding_size=5, learn_initial_state=True)
    files = export.to_numpy(with_drawn_weights(model), tmp_path, "writer").files
    assert [path.name for path in files] == ["writer.py", "writer.npz"]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "numpy").symlink_to(Path(np.__file__).parent)
    libraries = Path(np.__file__).parent.parent / "numpy.libs"
    if libraries.exists():
        (tmp_path / "site" / "numpy.libs").symlink_to(libraries)
    program = f"""
import runpy, sys
sys.path.append({str(tmp_path / "site")!r})
runpy.run_path({str(files[0])!r}, run_name="__main__")
assert "rondeau" not in sys.modules
"""
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("6 steps agree with the library\n", "")


def test_the_file_says_so_if_it_differs(tmp_path):
    source, weights = export.to_numpy(nn.GRU(2, 3), tmp_path).files
    with np.load(weights) as stored:
        arrays = dict(stored)
    arrays["layer_0.weight_hh"][0, 0] += 0.5
    np.savez(weights, **arrays)
    done = subprocess.run([sys.executable, str(source)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "what this computes differs from the library\n",
    )


def test_weights_that_are_damaged_or_of_another_file_are_refused(tmp_path):
    rt.manual_seed(0)
    source, weights = export.to_numpy(nn.GRU(2, 3), tmp_path).files
    other = export.to_numpy(nn.GRU(2, 3), tmp_path, "other").files[1].read_bytes()
    data, Model = weights.read_bytes(), module_of(source).Model
    damaged = bytearray(data)
    damaged[data.index(b"weight_hh") + 300] ^= 4
    for wrong in (b"", data[:400], bytes(damaged), b"import os\n"):
        weights.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"model\.npz is damaged, export the model again: "):
            Model()
    weights.write_bytes(other)
    with pytest.raises(
        ValueError, match=r"model\.npz was not exported with this file: export the model again"
    ):
        Model()
    weights.unlink()
    done = subprocess.run([sys.executable, str(source)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No such file" in done.stderr


def test_wrong_arguments_of_the_file_are_refused(tmp_path):
    model = exported(nn.Sequential(nn.GRU(1, 3), nn.Linear(3, 1)), tmp_path).Model()
    for shape in [(5, 1), (5,), (5, 2, 3)]:
        with pytest.raises(ValueError, match=r"x must have the shape \(T, B, 1\), got "):
            model.run(np.zeros(shape))
    with pytest.raises(ValueError, match="could not be broadcast"):
        model.run(np.zeros((5, 2, 1)), lengths=[1, 2, 3])
    writer = exported(nn.LanguageModel(4, "gru", 3), tmp_path, name="writer").Model()
    with pytest.raises(ValueError, match=r"x must be ids of shape \(T, B\), got the shape \(3,\)"):
        writer.run([1, 2, 3])
    for arguments in (([], 3), ([1], 3, 0.0), ([1], 3, -1.0), ([1], 3, float("nan"))):
        with pytest.raises(ValueError, match="generate needs ids to continue, and a temperature above 0"):
            writer.generate(*arguments)


@pytest.mark.parametrize("name", nn.cells.__all__)
def test_the_file_is_python_3_9_and_short(name, tmp_path):
    cell = getattr(nn.cells, name)
    layer = nn.Recurrent(cell, 3, 4, 3, proj_size=2 if cell.project else 0, bidirectional=True)
    source = export.to_numpy(layer, tmp_path).files[0].read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import numpy as np"]
    assert len(source.splitlines()) < 150
    assert max(map(len, source.splitlines())) <= 120


def test_squares_in_a_normalisation_may_be_beyond_float32(tmp_path):
    model = exported(nn.LayerNorm(4), tmp_path).Model()
    x = rt.tensor([[1e20, -3e20, 2e19, 0.0], [1e20, 1e20, 1e20, 1e20]])
    y, _ = model.run(x.numpy()[None])
    assert_close(y[0], nn.functional.layer_norm(x, (4,)), rtol=1e-6, atol=1e-6)


def test_a_step_reads_as_its_author_would_write_it(tmp_path):
    source = export.to_numpy(nn.GRU(3, 4), tmp_path).files[0].read_text()
    assert (
        """
    x_r, x_z, x_n = np.split(x, 3, axis=-1)
    r_r, r_z, r_n = np.split(s_h @ w["weight_hh"].T + w["bias_hh"], 3, axis=-1)
    reset = sigmoid(x_r + r_r)
    keep = sigmoid(x_z + r_z)
    new = np.tanh(x_n + reset * r_n)
    return (1 - keep) * new + keep * s_h,
"""
        in source
    )


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_lengths_and_resets(bidirectional, learned, tmp_path):
    rt.manual_seed(1)
    options = {"bidirectional": bidirectional, "learn_initial_state": learned}
    layer = with_drawn_weights(nn.LSTM(3, 4, 2, **options))
    model, rng = exported(layer, tmp_path).Model(), np.random.default_rng(0)
    T, B = 7, 4
    x, lengths, reset = (
        rng.standard_normal((T, B, 3)).astype(np.float32),
        [7, 0, 4, 1],
        rng.random((T, B)) < 0.4,
    )
    reset[0, 2] = True
    states = [rng.standard_normal((4 if bidirectional else 2, B, 4)).astype(np.float32) for _ in range(2)]
    padded = x.copy()
    padded[np.arange(T)[:, None] >= lengths] = np.nan
    for given in (None, states):
        expected, final = layer(
            rt.tensor(x), given and tuple(map(rt.tensor, given)), lengths=lengths, reset=reset
        )
        begin = given and [[state[k] for state in given] for k in range(len(given[0]))]
        y, state = model.run(padded, begin, lengths, reset)
        assert_close(y, expected, rtol=2e-6, atol=2e-6)
        for k, of_layer in enumerate(state):
            for found, wanted in zip(of_layer, final, strict=True):
                assert_close(found, wanted[k], rtol=2e-6, atol=2e-6)


def test_a_language_model_continues_as_the_library_does(tmp_path):
    rt.manual_seed(2)
    model = with_drawn_weights(nn.LanguageModel(5, "gru", 6, 2))
    tokens = ["a", '"""\n', "\\", "\0", "\ud800é"]
    ours = exported(model, tmp_path, tokens=tokens).Model()
    ids = np.array([[0, 3], [4, 1], [2, 2]])
    expected, _ = model(rt.tensor(ids.T))
    y, state = ours.run(ids)
    assert_close(y.reshape(-1, 5), expected, rtol=4e-6, atol=4e-6)
    assert ours.tokens == tokens
    found = ours.generate([0, 3], 20, temperature=0.5)
    assert len(found) == 22
    assert found == ours.generate([0, 3], 20, temperature=0.5)
    assert found != ours.generate([0, 3], 20, temperature=0.5, seed=1)
    logits, _ = ours.run(np.array(found)[:, None])
    cold = ours.generate(found, 1, temperature=1e-6)
    assert cold[-1] == logits[-1, 0].argmax()
    for bad in ([[5]], [[-1]]):
        with pytest.raises(ValueError, match="ids must be from 0 to 4"):
            ours.run(np.array(bad))
    stepped, _ = ours.step(ids[0], ours.begin_state(2))
    assert_close(stepped, y[0], rtol=1e-6, atol=1e-6)
    assert len(state) == 2


@pytest.mark.parametrize("shape", [(), (6,)])
def test_named_inputs_of_steps_and_sequences(shape, tmp_path):
    rt.manual_seed(3)
    layer = with_drawn_weights(nn.Recurrent(nn.cells.cfc, 3, 6, bidirectional=True))
    model, rng = exported(layer, tmp_path).Model(), np.random.default_rng(0)
    x = rng.standard_normal((4, 2, 3)).astype(np.float32)
    dt = rng.uniform(0.2, 1, (4, 2, *shape)).astype(np.float32)
    expected, _ = layer(rt.tensor(x), inputs={"dt": rt.tensor(dt)}, lengths=[4, 3])
    y, _ = model.run(x, lengths=[4, 3], inputs={"dt": dt})
    assert_close(y, expected, rtol=2e-6, atol=2e-6)
    layer = with_drawn_weights(nn.Recurrent(nn.cells.ea_lstm, 3, 6))
    model = exported(layer, tmp_path, name="static").Model()
    gate = rng.uniform(0.2, 1, (2, *shape)).astype(np.float32)
    expected, _ = layer(rt.tensor(x), inputs={"gate": rt.tensor(gate)})
    y, _ = model.run(x, inputs={"gate": gate})
    assert_close(y, expected, rtol=2e-6, atol=2e-6)


def test_noise_comes_from_a_generator(tmp_path):
    model = exported(nn.Recurrent(nn.cells.ctrnn, 2, 3), tmp_path).Model()
    x = np.zeros((5, 2, 2))
    one, other = (model.run(x, noise=np.random.default_rng(seed))[0] for seed in (0, 1))
    assert_same_bits(one, model.run(x, noise=np.random.default_rng(0))[0])
    assert (one != other).any()
    assert (model.run(x)[0] != one).any()


@nn.recurrent_cell(
    gates=("lambda", "ψ", "np"),
    states=("class", "β", "w"),
    params={"while": nn.init.zeros_, "x": nn.init.zeros_},
)
def _words_of_python(x, r, s, p):
    sigmoid = getattr(x, "lambda") + getattr(r, "lambda")
    np = sigmoid * s.β + getattr(p, "while")
    noise = nn.cell_math.sigmoid(np * x.ψ) + p.x
    x_np = noise + r.ψ
    return x_np, getattr(s, "class") + s.w * noise, x.np + r.np


def test_names_of_a_cell_may_be_words_of_python(tmp_path):
    module = exported(nn.Recurrent(_words_of_python, 2, 3), tmp_path)
    assert module.check()


def test_hostile_names_stay_text(tmp_path):
    names = [
        70_000 * "n",
        '"""\nraise SystemExit(3)  #',
        "\\",
        "self",
        "layer_0",
        "# -*- coding: latin-1 -*-",
        "/é",
    ]
    blocks = [nn.Embedding(3, 2), *(nn.Linear(2, 2) for _ in names[2:]), nn.GRU(2, 3)]
    folder = tmp_path / 'a "b"\n# é'
    module = exported(nn.Sequential(dict(zip(names, blocks, strict=True))), folder)
    assert module.check()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            lambda: nn.Sequential(nn.Linear(2, 3), nn.Conv1d(3, 3, 1)),
            {},
            r"1 \(Conv1d\) has no exported form",
        ),
        (lambda: nn.GRU(3, 4), {"name": "a b"}, "name must be a letter"),
        (lambda: nn.GRU(3, 4), {"name": "lambda"}, "must not be a word of Python or one of its modules"),
        (lambda: nn.GRU(3, 4), {"name": "NumPy"}, "must not be a word of Python or one of its modules"),
    ],
)
def test_refused(model, options, message, tmp_path):
    with pytest.raises(export.ExportError, match=message):
        export.to_numpy(model(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
