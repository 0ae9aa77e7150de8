"""Compiled CUDA kernels on disk, without a GPU: loaded where the rules of `test_cache` allow it, otherwise compiled."""

import os
import subprocess
import sys
import warnings

import pytest
from tools import cuda_code

from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cuda import compiler
from rondeau.kernels.cuda.emit import emit
from rondeau.kernels.runtime import cache, sources

MISSING = cuda_code.missing()
pytestmark = [
    pytest.mark.skipif(MISSING is not None, reason=f"no machine code for GPUs: {MISSING}"),
    pytest.mark.host_only("compiles for a GPU, and runs nothing"),
]

PROGRAM = """
from tools import cuda_code
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cuda import compiler
from rondeau.kernels.cuda.emit import emit

cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "tanh")
(phase,) = emit("tanh", "forward", cell.schedule, "float32")
with cuda_code.filling_the_cache((9, 0)):
    kernel = compiler.Kernel(phase, "float32")
(overload,) = kernel.compiled.overloads.values()
code = overload.library.get_cubin((9, 0, "a")).code
stats = kernel.compiled.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), len(code))
"""
CELL = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "tanh")
(PHASE,) = emit("tanh", "forward", CELL.schedule, "float32")


def is_loaded(phase=PHASE, capability=(9, 0)):
    """Compile or load a kernel, as a new process on a device would, and return whether it was loaded."""
    with cuda_code.filling_the_cache(capability):
        stats = compiler.Kernel(phase, "float32").compiled.stats
    hits, misses = sum(stats.cache_hits.values()), sum(stats.cache_misses.values())
    assert hits + misses == 1
    return bool(hits)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache's folder, of a process that has not warned yet."""
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path))
    monkeypatch.setattr(cache._Warning, "given", False)
    return tmp_path / "kernels"


def warned():
    """Return the warnings of a kernel that must have been compiled."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert not is_loaded()
    return [str(warning.message) for warning in given]


def test_another_process_finds_the_machine_code(folder):
    assert not is_loaded()
    (path,) = folder.iterdir()
    written = path.stat().st_mtime_ns
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, check=True, timeout=120
    )
    hits, misses, size = found.stdout.split()
    assert (hits, misses) == ("1", "0")
    assert int(size) > 1000
    assert path.stat().st_mtime_ns == written


def test_another_kernel_or_compiler_has_its_own_entry(folder, monkeypatch):
    assert not is_loaded()
    changed = PHASE._replace(source=PHASE.source.replace("tanh(", "sin("))
    assert changed.source != PHASE.source
    assert not is_loaded(changed)
    assert not is_loaded(capability=(8, 0))
    with monkeypatch.context() as patch:
        patch.setattr("numba_cuda.__version__", "0.0")
        assert not is_loaded()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "digest_of_sources", lambda module: "edited" * module.endswith("intrinsics"))
        cache._environment.cache_clear()
        assert not is_loaded()
    cache._environment.cache_clear()
    assert len(list(folder.iterdir())) == 5
    assert is_loaded()
    assert is_loaded(changed)
    assert is_loaded(capability=(8, 0))


def test_the_key_holds_the_sources_of_device_functions():
    compiler._device_functions()
    files = sources._files_of("rondeau.kernels.cuda.compiler") | sources._files_of(compiler._INTRINSICS)
    assert {
        "rondeau.kernels.cuda.functions", "rondeau.kernels.cuda.intrinsics", "rondeau.kernels.numerics.philox",
        "rondeau.kernels.numerics.noise",
    } <= files.keys()  # fmt: skip
    assert not any(name.startswith("rondeau.kernels.cell") for name in files), (
        "an edit there shows in the kernel"
    )


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: content[:-1] + b"\0\0"])
def test_what_is_damaged_is_compiled_again(folder, damage):
    is_loaded()
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert not is_loaded()
    assert is_loaded()


@pytest.mark.skipif(os.name != "posix", reason="owners of files are POSIX's")
def test_what_another_user_may_have_written_is_not_loaded(folder):
    is_loaded()
    (path,) = folder.iterdir()
    path.chmod(0o666)
    (message,) = warned()
    assert "others may write to" in message
    assert is_loaded(), "it was replaced"
    if os.geteuid() == 0:
        os.chown(path, 54321, -1)
        cache._Warning.given = False
        (message,) = warned()
        assert "belongs to another user (id 54321)" in message
    folder.chmod(0o777)
    cache._Warning.given = False
    (message,) = warned()
    assert "others may write to" in message


def test_machine_code_for_a_look_is_kept_nowhere(folder):
    """It may be of other functions than the key says, or not be linked."""
    with cuda_code.pretended_device():
        compiler.Kernel(PHASE, "float32")
    assert not folder.exists()
