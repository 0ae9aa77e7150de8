"""One library in a process of its own, which answers requests: one JSON line each way.

No two thread pools share the cores in a process, and what one library allocates is not in the other's memory.
"""

import importlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import memory

PEERS = {
    "rondeau": "rondeau_layer",
    "torch": "torch_layer",
    "torch loop": "torch_loop_step",
    "torch compiled loop": "torch_compiled_step",
    "rondeau part": "rondeau_part",
    "rondeau stepping": "rondeau_stepping",
    "torch.nn.LSTM stepping": "torch_lstm_stepping",
    "torch.nn.LSTMCell stepping": "torch_lstm_cell_stepping",
    "torch quantised LSTM": "torch_quantised_lstm",
    "ONNX Runtime quantised LSTM": "onnxruntime_quantised_lstm",
    "exported C": "exported_c",
    "LeNet": "lenet_step",
    "language model": "language_step",
    "stepped": "stepped",
    "operation": "operation",
    "operation on arrays": "operation_on_arrays",
    "reading": "reading",
    "triad": "triad",
}
"""The files of `peers`; ``prepare`` in each returns what is timed: a function without arguments."""

MEASURE_SECONDS = 0.2
SETTLE_SECONDS = 0.05  # lets the other library's threads stop spinning
WARM_CALLS = 3

_INSTALL = f'{sys.executable} -m pip install -e ".[bench,parity,plot]"'


class UnavailableError(Exception):
    """What was asked for does not exist in the library at hand; the message says what is missing."""


class _Server:
    """What a process keeps between requests: the prepared functions by name."""

    def __init__(self) -> None:
        self.prepared: dict[str, Callable[[], object]] = {}

    def prepare(self, peer: str, arguments: dict[str, Any], name: str = "") -> dict[str, Any]:
        """Prepare a peer and call it until it is warm."""
        module = importlib.import_module(f".peers.{PEERS[peer]}", __package__)
        run = module.prepare(**arguments)
        start = time.perf_counter()
        run()
        first = time.perf_counter() - start
        for _ in range(WARM_CALLS - 1):
            run()
        self.prepared[name] = run
        return {"first_seconds": first}

    def measure(self, name: str = "") -> dict[str, Any]:
        """Time calls for a while; the median, and the least."""
        run = self.prepared[name]
        time.sleep(SETTLE_SECONDS)
        times: list[float] = []
        run()
        start = time.perf_counter()
        until = start + MEASURE_SECONDS
        while start < until or len(times) < 3:
            run()
            end = time.perf_counter()
            times.append(end - start)
            start = end
        return {"seconds": statistics.median(times), "least": min(times)}

    def measure_after_pauses(
        self, pause: float, pauses: int, calls: int = 5, name: str = ""
    ) -> dict[str, Any]:
        """Time the first calls after each pause; of each call the median over the pauses."""
        run, rounds = self.prepared[name], []
        for _ in range(pauses):
            time.sleep(pause)
            moments = [time.perf_counter()]
            for _ in range(calls):
                run()
                moments.append(time.perf_counter())
            rounds.append([end - start for start, end in pairwise(moments)])
        return {"seconds": [statistics.median(times) for times in zip(*rounds, strict=True)]}

    def peak(self, dtype: str = "float32") -> dict[str, Any]:
        """Measure one core's peak."""
        from rondeau.kernels.product import peak_flops

        return {"flops": peak_flops(dtype)}

    def memory(self, name: str = "") -> dict[str, Any]:
        """Measure what one call needs above the level before it."""
        return {"bytes": memory.peak_of(self.prepared[name])}


def serve() -> None:
    """Answer requests on standard input until it closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    server = _Server()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("do"))(**request)
        except UnavailableError as missing:
            answer = {"unavailable": str(missing)}
        except ModuleNotFoundError as missing:
            answer = {"not installed": missing.name}
        print(json.dumps(answer), file=answers, flush=True)


class Process:
    """A process that serves; use it in a ``with`` statement.

    Its compiled code of PyTorch goes to a folder of its own, empty at first: a compile time is that of a first run.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "comparison", "serve"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": self._folder.name},
            start_new_session=True,  # so that a compiler's workers end with it
        )

    def ask(self, do: str, *, limit: float | None = None, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises
        ------
        TimeoutError
            If there is none after `limit` seconds; the process has then been ended.
        UnavailableError
            If the library lacks what the request needs.
        SystemExit
            If the process ended, or a library is not installed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"do": do} | request), file=self._process.stdin, flush=True)
        if not select.select([self._process.stdout], [], [], limit)[0]:
            self._end()
            raise TimeoutError(f"no answer to {do} within {limit} seconds")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a peer ended with status {self._process.wait()}; its message is above")
        answer: dict[str, Any] = json.loads(line)
        if "not installed" in answer:
            raise SystemExit(f"{answer['not installed']} is not installed: {_INSTALL}")
        if "unavailable" in answer:
            raise UnavailableError(answer["unavailable"])
        return answer

    def _end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        if failure is not None:
            self._end()  # whatever it is at
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()
