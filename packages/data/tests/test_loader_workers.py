"""Worker processes of a DataLoader, and all that can befall them."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rondeau.data import DataLoader, Dataset

from .loading import PAIRS, batches

# What worker processes must be able to import.
MODULE = '''
import os, random, signal, time
import numpy as np
from rondeau.data import DataLoader, Dataset, sample_generator

class Noisy(Dataset):
    """Numbers with noise of their own."""
    def __len__(self):
        return 23
    def __getitem__(self, index):
        return index, sample_generator().random()

class Environment(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return os.environ["TOKENIZERS_PARALLELISM"], os.getpid(), os.environ.get("BEGUN", ""), np.random.rand()

class Cruel(ValueError):
    def __init__(self, one, two):
        super().__init__(one, two)

class Broken(Dataset):
    """Sample 5 goes wrong as asked."""
    def __init__(self, way):
        self.way = way
    def __len__(self):
        return 12
    def __getitem__(self, index):
        if index == 5:
            if self.way == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.way == "exit":
                os._exit(3)
            if self.way == "hang":
                time.sleep(3600)
            if self.way == "nested":
                list(DataLoader(Noisy(), num_workers=1))
            if self.way == "lambda":
                return lambda: 0
            raise {"key": KeyError("no\\nkey"), "cruel": Cruel(1, 2), "stop": StopIteration(),
                   "value": ValueError("sample five is bad")}[self.way]
        return index

class Wide(Dataset):
    """Batches larger than any pipe's buffer, and as many indices."""
    def __len__(self):
        return 400_000
    def __getitem__(self, index):
        return index

class Unreadable(Dataset):
    def __len__(self):
        return 1
    def __getitem__(self, index):
        return 0
    def __setstate__(self, state):
        raise OSError("the file is gone")
    def __getstate__(self):
        return {"a": 1}

def begin(number):
    os.environ["BEGUN"] = f"as {number}"

def begin_badly(number):
    raise LookupError("nothing to begin with")

def keep(samples):
    return samples
'''


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("module")
    (folder / "samples_of_a_test.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    import samples_of_a_test

    yield samples_of_a_test
    sys.path.remove(str(folder))
    del sys.modules["samples_of_a_test"]


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    assert multiprocessing.active_children() == []


def test_the_same_whatever_the_number_of_workers(samples):
    def epochs(**options):
        loader = DataLoader(samples.Noisy(), 4, shuffle=True, seed=5, **options)
        return [batches(loader) for _ in range(2)]

    alone = epochs()
    assert alone[0] != alone[1]
    assert epochs(num_workers=1) == alone
    assert epochs(num_workers=3, prefetch_factor=1) == alone
    assert epochs(num_workers=2, persistent_workers=True) == alone
    noise = {i: x for batch in alone[0] for i, x in zip(*batch, strict=True)}
    other_sizes = DataLoader(samples.Noisy(), 7, seed=5)
    assert {i: x for batch in batches(other_sizes) for i, x in zip(*batch, strict=True)} == noise
    kept = DataLoader(samples.Noisy(), 4, shuffle=True, seed=5, collate_fn=samples.keep, num_workers=2)
    assert [sample for batch in kept for sample in batch] == [
        sample for batch in alone[0] for sample in zip(*batch, strict=True)
    ]


def test_resuming_with_workers(samples):
    reference = batches(DataLoader(samples.Noisy(), 4, shuffle=True))
    loader = DataLoader(samples.Noisy(), 4, shuffle=True, num_workers=2)
    for count, _ in enumerate(loader, 1):
        if count == 2:
            state = loader.state_dict()
            break
    resumed = DataLoader(samples.Noisy(), 4, shuffle=True)
    resumed.load_state_dict(state)
    assert batches(resumed) == reference[2:]


def test_the_environment_of_a_worker(samples):
    loader = DataLoader(samples.Environment(), 1, num_workers=2, worker_init_fn=samples.begin)
    once, again = (list(loader) for _ in range(2))
    assert [batch[0] for batch in once] == [["false"]] * 4
    assert [batch[2] for batch in once] == [["as 0"], ["as 1"]] * 2
    pids = [batch[1].item() for batch in once]
    assert pids[0] == pids[2] != pids[1] == pids[3]
    assert os.getpid() not in pids
    draws = [batch[3].item() for batch in once]
    assert len(set(draws)) == 4
    assert draws == [batch[3].item() for batch in again]


def test_persistent_workers_live_on_and_end_with_the_loader(samples):
    loader = DataLoader(samples.Environment(), 1, num_workers=2, persistent_workers=True)
    pids = [batch[1].item() for batch in loader]
    next(iter(loader))  # left early: what was asked for is dropped
    assert [batch[1].item() for batch in loader] == pids
    one, two = iter(loader), iter(loader)
    assert next(one)[1].item() != next(two)[1].item()  # two loops at once share no workers
    del one, two
    assert len(multiprocessing.active_children()) == 2
    del loader
    assert multiprocessing.active_children() == []


def test_leaving_a_loop_ends_the_workers(samples):
    for _ in DataLoader(samples.Noisy(), 1, num_workers=2):
        break
    assert multiprocessing.active_children() == []

    def interrupted():
        for _ in DataLoader(samples.Noisy(), 1, num_workers=1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_batches_larger_than_a_pipe(samples):
    loader = DataLoader(samples.Wide(), 100_000, num_workers=1, prefetch_factor=4)
    assert [int(batch.sum()) for batch in loader] == [
        int(batch.sum()) for batch in np.arange(400_000).reshape(4, -1)
    ]


@pytest.mark.parametrize(
    ("way", "kind", "message"),
    [
        ("value", ValueError, r"ValueError in worker 1 \(pid \d+\):\n\nTraceback .*"),
        ("key", KeyError, r"KeyError in worker 1 .*Traceback .*\n.*'no\\nkey'"),
        ("cruel", RuntimeError, "Cruel in worker 1 "),
        ("stop", RuntimeError, "StopIteration in worker 1 "),
        ("lambda", None, "in worker 1 .*lambda"),
        (
            "kill",
            RuntimeError,
            r"worker 1 \(pid \d+\) died unexpectedly \(exit code -9, SIGKILL\); SIGKILL mostly",
        ),
        ("exit", RuntimeError, r"worker 1 \(pid \d+\) died unexpectedly \(exit code 3\); What it printed"),
        (
            "nested",
            RuntimeError,
            "RuntimeError in worker 1 .* cannot start workers of its own: use num_workers=0",
        ),
    ],
)
def test_what_befalls_a_worker(samples, way, kind, message):
    loader = DataLoader(
        samples.Broken(way), 1, num_workers=2, collate_fn=samples.keep, persistent_workers=True
    )
    seen = []
    with pytest.raises(kind or Exception, match=f"(?s){message}") as caught:
        seen.extend(loader)
    assert seen == [[0], [1], [2], [3], [4]]
    assert way != "value" or "in __getitem__" in str(caught.value)
    assert multiprocessing.active_children() == []


def test_a_worker_that_takes_too_long(samples):
    loader = DataLoader(samples.Broken("hang"), 6, num_workers=1, timeout=2)
    with pytest.raises(TimeoutError, match=r"worker 0 \(pid \d+\) gave no batch within 2 s"):
        list(loader)


def test_killing_an_idle_worker_from_outside(samples):
    iterator = iter(DataLoader(samples.Noisy(), 1, num_workers=2, prefetch_factor=1))
    next(iterator)
    (pid,) = (child.pid for child in multiprocessing.active_children() if child.name.endswith("worker-0"))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(
        RuntimeError, match=rf"worker 0 \(pid {pid}\) died unexpectedly \(exit code -9, SIGKILL\)"
    ):
        list(iterator)


def test_what_cannot_be_sent(samples):
    class Local(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return 0

    for name, options in (
        ("dataset", {"dataset": Local()}),
        ("collate_fn", {"collate_fn": lambda x: x}),
        ("worker_init_fn", {"worker_init_fn": lambda x: x}),
    ):
        with pytest.raises(
            TypeError, match=f"{name} cannot be sent to worker processes: .* Define its class and func"
        ):
            list(DataLoader(**{"dataset": PAIRS, **options}, num_workers=1))


def test_what_cannot_begin(samples):
    with pytest.raises(OSError, match=r"(?s)OSError in worker 0 .*the file is gone"):
        list(DataLoader(samples.Unreadable(), num_workers=1))
    with pytest.raises(LookupError, match=r"(?s)LookupError in worker 0 .*nothing to begin with"):
        list(DataLoader(PAIRS, num_workers=1, worker_init_fn=samples.begin_badly))


def script(tmp_path, text, **options):
    path = tmp_path / "script.py"
    path.write_text(text)
    folders = [
        str(Path(sys.modules["samples_of_a_test"].__file__).parent),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def test_a_script_without_a_guard_is_told_so(samples, tmp_path):
    text = (
        "from rondeau.data import DataLoader\nfrom samples_of_a_test import Noisy\n"
        "for batch in DataLoader(Noisy(), 4, num_workers=2):\n    print(batch)\n"
    )
    process = script(tmp_path, text)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert "put what the script does under `if __name__ == '__main__':`, or use num_workers=0" in errors
    assert errors.count("Traceback") == 1


def test_an_interrupt_ends_all_processes_with_one_traceback(samples, tmp_path):
    text = (
        "import signal\nfrom rondeau.data import DataLoader\nfrom samples_of_a_test import Broken\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # tests that run in the background ignore it
        "if __name__ == '__main__':\n"
        "    for batch in DataLoader(Broken('hang'), 1, num_workers=2):\n"
        "        print(batch, flush=True)\n"
    )
    process = script(tmp_path, text, start_new_session=True)
    for _ in range(5):
        process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to the workers too
    _, errors = process.communicate(timeout=120)  # which waits for every holder of the pipes
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_workers_end_with_a_parent_that_is_killed(samples, tmp_path):
    text = (
        "from rondeau.data import DataLoader\nfrom samples_of_a_test import Noisy\n"
        "if __name__ == '__main__':\n"
        "    for batch in DataLoader(Noisy(), 1, num_workers=2):\n"
        "        print(batch, flush=True)\n"
        "        input()\n"
    )
    process = script(tmp_path, text, stdin=subprocess.PIPE)
    process.stdout.readline()
    process.kill()
    process.communicate(timeout=120)  # ends when the workers, who hold the pipes too, have ended


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork a process")
def test_a_forked_child_leaves_the_workers_of_its_parent_alone(samples, tmp_path):
    text = """
import os
import warnings
from rondeau.data import DataLoader
from samples_of_a_test import Noisy

def in_child():
    try:
        next(loop)
    except RuntimeError as error:
        print(error)
    assert [batch[0].tolist() for batch in loader] == every  # by workers of its own
    loop.close()  # as the end of the process would
    loader._idle[0].stop()

if __name__ == "__main__":
    loader = DataLoader(Noisy(), 10, num_workers=1, persistent_workers=True)
    every = [batch[0].tolist() for batch in loader]
    loop = iter(loader)
    found = [next(loop)[0].tolist()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: there are threads
        child = os.fork()
    if child == 0:
        try:
            in_child()
            print("child done", flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    found += [batch[0].tolist() for batch in loop]
    assert found == every == [batch[0].tolist() for batch in loader]
    print("parent done")
"""
    process = script(tmp_path, text)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert out.splitlines()[1:] == ["child done", "parent done"]
    assert re.match(
        r"the loop over this loader was begun in process \d+, and worker 0 answers that process alone; this one, \d+, "
        "was forked from it: begin a loop of its own here",
        out,
    )
