"""What all tests share beside the comparisons of `tests/shared`: tiers, device, threads, one profile of hypothesis."""

import os
import zlib
from collections import defaultdict
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from rondeau import tensor as rt
from rondeau.kernels.runtime import deferred, devices, threads

# No deadline, and no limit on the time of drawing: the first example of a kernel compiles it, and machines are shared.
settings.register_profile("rondeau", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rondeau")

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: with more threads they would fight for them
    threads.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--device``, to run tests that were written for the CPU on another device."""
    parser.addoption(
        "--device",
        choices=["cpu", "cuda", "cuda-stand-in"],
        default="cpu",
        help="the default device of tensors in all tests: a GPU, or tools.device_arrays in its place",
    )


def pytest_configure(config: pytest.Config) -> None:
    """End with one line, and not with one for each test, where ``--device cuda`` finds no GPU.

    What a GPU computes step by step is right all the same: there its warning is no error.
    """
    if config.getoption("--device") == "cuda":
        try:
            devices.load_cupy()
        except devices.DeviceUnavailableError as error:
            raise pytest.UsageError(f"--device cuda: {error}") from None
        config.addinivalue_line("filterwarnings", "ignore::rondeau.tensor.PerformanceWarning")


@pytest.hookimpl(tryfirst=True)  # before the cases are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all but a few cases of a test that is marked ``sampled(n)`` as long; drawn by name, always the same."""
    cases = defaultdict(list)
    for item in items:
        marker = item.get_closest_marker("sampled")
        if marker is not None:
            cases[item.nodeid.partition("[")[0], *marker.args].append(item)
    for (_, count), of_test in cases.items():
        drawn = sorted(of_test, key=lambda item: zlib.crc32(item.nodeid.encode()))
        for item in drawn[count:]:
            item.add_marker(pytest.mark.long)


@pytest.fixture
def device_stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Put `tools.device_arrays` in the place of CuPy, for ``device="cuda"`` and ``import cupy``."""
    from tools.device_arrays import installed
    from tools.emulated_target import emulated

    with installed() as cupy, emulated():
        yield cupy
        monkeypatch.undo()  # what the test put in the place of the stand-ins must not outlast them
        deferred.raise_pending()


@pytest.fixture(autouse=True)
def _default_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With another ``--device``, run the test with tensors of a GPU or the stand-in, unless it is ``host_only``.

    Tests read values by ``x.numpy()``, which refuses tensors of a GPU; here it copies them to the host.
    """
    if request.config.getoption("--device") == "cpu":
        yield
        return
    marker = request.node.get_closest_marker("host_only")
    if marker is not None:
        pytest.skip(f"host only: {marker.args[0]}")
    if request.config.getoption("--device") == "cuda-stand-in":
        request.getfixturevalue("device_stand_in")
    of_host = rt.Tensor.numpy

    def numpy(tensor: rt.Tensor) -> object:
        return of_host(tensor if tensor.requires_grad else tensor.cpu())

    monkeypatch.setattr(rt.Tensor, "numpy", numpy)
    monkeypatch.setattr(deferred, "_MOST", 1)  # errors at once, where tests expect them
    with rt.device("cuda"):
        yield
