"""What goes in and out of exported C as bytes: saved states, and weights in a file."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from comparing import assert_same_bits
from compiled_c import compile_program, exported_library
from rondeau import export, nn
from rondeau import tensor as rt


def test_states_are_saved_and_restored(tmp_path):
    rt.manual_seed(7)
    library = exported_library(nn.LSTM(2, 3), tmp_path)
    x = np.array([0.5, -1.0], np.float32)
    library.step(x, 3)
    saved = np.zeros(16 + 4 * 6, np.uint8)
    library.call("save", library.memory, saved)
    after = library.step(x, 3)
    assert saved[:4].tobytes() == b"RNDS"
    assert library.call("restore", library.memory, saved, ctypes.c_size_t(saved.size)) == 0
    assert_same_bits(library.step(x, 3), after)
    before = library.memory.copy()
    changed = [saved.copy() for _ in range(4)]
    for word, copy in enumerate(changed):  # the kind, the version, the model, the size
        copy[4 * word] ^= 1
    for damaged in (saved[:-1].copy(), np.zeros_like(saved), *changed):
        assert library.call("restore", library.memory, damaged, ctypes.c_size_t(damaged.size)) == -1
    assert_same_bits(library.memory, before)


def test_a_state_of_another_model_is_refused_even_without_numbers(tmp_path):
    rt.manual_seed(7)
    library = exported_library(nn.Linear(2, 3), tmp_path)
    other = exported_library(nn.Linear(2, 3), tmp_path, "other")
    saved = np.zeros(16, np.uint8)
    other.call("save", other.memory, saved)
    assert other.call("restore", other.memory, saved, ctypes.c_size_t(16)) == 0
    for wrong in (saved, np.zeros_like(saved)):
        assert library.call("restore", library.memory, wrong, ctypes.c_size_t(16)) == -1


def aligned(data, offset=0):
    """Bytes at an address that is a multiple of 4, or so many after one."""
    memory = np.zeros(len(data) // 4 + 2, np.float32).view(np.uint8)[offset : offset + len(data)]
    memory[:] = np.frombuffer(data, np.uint8)
    return memory


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_weights_in_a_file(weights, tmp_path):
    rt.manual_seed(8)
    library = exported_library(nn.GRU(2, 70), tmp_path, weights=weights, weights_in_file=True)
    data = (tmp_path / "model.bin").read_bytes()
    assert library.call("selftest") == -1  # there are none yet
    assert library.call("use_weights", None, ctypes.c_size_t(len(data))) == -1

    def use(memory):
        return library.call("use_weights", memory, ctypes.c_size_t(memory.size))

    assert use(aligned(data[:-1])) == use(aligned(b"")) == use(aligned(data, 1)) == -1
    for position in (0, 5, 9, 13, 16, 1000, len(data) - 1):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        assert use(aligned(damaged)) == -1
    memory = aligned(data)
    assert use(memory) == 0
    assert library.call("selftest") == 0


def test_the_program_is_given_the_file_of_the_weights(tmp_path):
    rt.manual_seed(9)
    weights = export.to_c(nn.GRU(2, 5), tmp_path, weights_in_file=True).files[2]
    program = compile_program(tmp_path, "model")

    def run(*arguments):
        done = subprocess.run([program, *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr.replace(str(program), "model")

    assert run(weights) == (0, "6 steps agree with the library\n")
    assert run() == (2, "usage: model FILE.bin\n")
    assert run("no/such") == (2, "no/such cannot be read\n")
    for damaged in (weights.read_bytes()[:-4], weights.read_bytes() + b"\0"):
        (tmp_path / "damaged").write_bytes(damaged)
        status, said = run(tmp_path / "damaged")
        assert status == 2
        assert said.endswith("damaged is damaged, or not the weights of this model: export it again\n")


def test_a_header_of_another_export_is_an_error(tmp_path):
    rt.manual_seed(10)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        export.to_c(nn.Linear(2, 3), tmp_path / name)
    shutil.copy(tmp_path / "one" / "model.h", tmp_path / "other")
    with pytest.raises(AssertionError, match="are of different exports: export the model again"):
        compile_program(tmp_path / "other", "model")
