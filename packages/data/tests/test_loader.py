"""DataLoader: orders, states, worker processes and all that can befall them."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.data import BucketBatches, DataLoader, Dataset, TensorDataset, sample_generator

PAIRS = TensorDataset(np.arange(10), np.arange(10) ** 2)

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


def batches(loader):
    return [tuple(np.asarray(part).tolist() for part in batch) for batch in loader]


# In this process


def test_in_order():
    loader = DataLoader(PAIRS, 4)
    assert len(loader) == 3
    assert batches(loader) == [
        ([0, 1, 2, 3], [0, 1, 4, 9]),
        ([4, 5, 6, 7], [16, 25, 36, 49]),
        ([8, 9], [64, 81]),
    ]
    assert batches(loader) == batches(loader)
    cut = DataLoader(PAIRS, 4, drop_last=True)
    assert batches(cut) == batches(loader)[:2]
    assert len(cut) == 2
    assert batches(DataLoader(TensorDataset(np.zeros(0)), 4)) == []


def test_shuffled_anew_each_epoch_by_the_seed_alone():
    def orders(seed):
        loader = DataLoader(PAIRS, 3, shuffle=True, seed=seed)
        return [[i for batch in loader for i in batch[0].tolist()] for _ in range(3)]

    first = orders(0)
    assert all(sorted(order) == list(range(10)) for order in first)
    assert len({tuple(order) for order in first}) == 3
    assert orders(0) == first != orders(1)


def test_a_loop_that_is_left_early_ends_its_epoch():
    loader, whole = (DataLoader(PAIRS, 3, shuffle=True) for _ in range(2))
    _, second = batches(whole), batches(whole)
    next(iter(loader))
    assert batches(loader) == second


def test_samplers():
    assert batches(DataLoader(PAIRS, 2, sampler=[3, 1, 3])) == [([3, 1], [9, 1]), ([3], [9])]
    loader = DataLoader(PAIRS, batch_sampler=[[1], [2, 5]])
    assert batches(loader) == [([1], [1]), ([2, 5], [4, 25])]
    assert len(loader) == 2
    named = DataLoader({"a": 1, "b": 2}, sampler=["b", "a"], collate_fn=list)
    assert list(named) == [[2], [1]]


def test_buckets_follow_the_epoch_of_the_loader():
    lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    loader = DataLoader(PAIRS, batch_sampler=BucketBatches(lengths, 3))
    first, second = batches(loader), batches(loader)
    assert first != second
    again = DataLoader(PAIRS, batch_sampler=BucketBatches(lengths, 3))
    iterator = iter(again)
    next(iterator)
    resumed = DataLoader(PAIRS, batch_sampler=BucketBatches(lengths, 3))
    resumed.load_state_dict(again.state_dict())
    assert batches(resumed) == first[1:]
    assert batches(resumed) == second


def test_a_dataset_may_read_many_at_once():
    class Many(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            raise AssertionError("they are to be read at once")

        def __getitems__(self, indices):
            return [10 * index for index in indices]

    assert [batch.tolist() for batch in DataLoader(Many(), 3)] == [[0, 10, 20], [30, 40]]
    assert list(DataLoader(Many(), 3, collate_fn=sum)) == [30, 70]


@pytest.mark.parametrize("left_after", [0, 1, 3, 4])
def test_resuming(left_after):
    loader = DataLoader(PAIRS, 3, shuffle=True, seed=4)
    list(loader)
    expected = batches(DataLoader(PAIRS, 3, shuffle=True, seed=4))
    reference = DataLoader(PAIRS, 3, shuffle=True, seed=4)
    expected = [batches(reference) for _ in range(3)]
    iterator = iter(loader)
    for _ in range(left_after):
        next(iterator)
    state = json.loads(json.dumps(loader.state_dict()))
    resumed = DataLoader(PAIRS, 3, shuffle=True)
    resumed.load_state_dict(state)
    assert batches(resumed) == expected[1][left_after:]
    assert batches(resumed) == expected[2]


def test_states_of_other_loaders_are_refused():
    state = DataLoader(PAIRS, 3).state_dict()
    with pytest.raises(ValueError, match="cannot resume: batch_size is 4 here, but was 3 in the state"):
        DataLoader(PAIRS, 4).load_state_dict(state)
    with pytest.raises(ValueError, match="expected the state of a loader with"):
        DataLoader(PAIRS, 3).load_state_dict({})
    with pytest.raises(ValueError, match="batch in the state must be 0 or more, got -1"):
        DataLoader(PAIRS, 3).load_state_dict({**state, "batch": -1})


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"dataset": iter([])}, TypeError, "dataset must have __len__ and __getitem__, got list_iterator"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": None}, TypeError, "batch_size must be an integer, got NoneType"),
        ({"num_workers": -1}, ValueError, "num_workers must be 0 or more, got -1"),
        ({"prefetch_factor": 0}, ValueError, "prefetch_factor must be at least 1, got 0"),
        ({"num_workers": 1, "timeout": -1}, ValueError, "timeout must be 0"),
        ({"timeout": 1}, ValueError, "need workers"),
        ({"persistent_workers": True}, ValueError, "need workers"),
        ({"collate_fn": 3}, TypeError, "collate_fn must be callable, got int"),
        ({"sampler": 3}, TypeError, "sampler must be an iterable of indices, got int"),
        ({"sampler": [1], "shuffle": True}, ValueError, "sampler and shuffle exclude each other"),
        ({"batch_sampler": [[1]], "batch_size": 2}, ValueError, "batch_sampler excludes batch_size"),
        ({"seed": -1}, ValueError, "seed must be 0 or more"),
        ({"shuffle": "no"}, TypeError, "shuffle must be True or False, got 'no'"),
        ({"drop_last": None}, TypeError, "drop_last must be True or False, got None"),
        ({"num_workers": 1, "timeout": float("nan")}, ValueError, "timeout must be 0 .* got nan"),
        ({"num_workers": 1, "timeout": 1e300}, ValueError, "timeout must be 0 .* got 1e[+]300"),
    ],
)
def test_mistakes(arguments, kind, message):
    with pytest.raises(kind, match=message):
        DataLoader(**{"dataset": PAIRS, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": [0.5, 1.0]}, "indices must be a row of integers, got float64"),
        ({"sampler": [True, False]}, "indices must be a row of integers, got bool"),
        ({"sampler": "ab"}, "indices must be an array of numbers"),
        ({"batch_sampler": [0, 1]}, "a batch of batch_sampler must be an iterable of indices, got int"),
    ],
)
def test_mistakes_of_samplers(arguments, message):
    with pytest.raises(TypeError, match=message):
        list(DataLoader(PAIRS, **arguments, **({"batch_size": 2} if "sampler" in arguments else {})))


def test_a_batch_larger_than_any_data_set():
    assert [len(x) for x, _ in DataLoader(PAIRS, 2**63 - 1)] == [len(PAIRS)]


@pytest.mark.parametrize(
    "arguments", [{"shuffle": True}, {"batch_sampler": BucketBatches([3, 1, 2, 5, 4] * 2, 3)}]
)
def test_every_loop_has_a_position_of_its_own(arguments):
    def loader():
        return DataLoader(PAIRS, **arguments, **({"batch_size": 3} if "shuffle" in arguments else {}))

    epochs = [[x.tolist() for x, _ in whole] for whole in [loader()] for _ in range(3)]
    looped, seen = loader(), []
    for i, (x, _) in enumerate(looped):
        seen.append(x.tolist())
        if i == 1:
            assert next(iter(looped))[0].tolist() == epochs[1][0]
        if i == 2:
            assert [x.tolist() for x, _ in looped] == epochs[1]
            assert len(looped) == len(epochs[0])
    assert seen == epochs[0]
    one, other = iter(looped), iter(looped)
    turns = [(next(one)[0].tolist(), next(other)[0].tolist()) for _ in epochs[0]]
    assert [list(epoch) for epoch in zip(*turns, strict=True)] == epochs[1:]
    resumed = loader()
    resumed.load_state_dict(looped.state_dict())
    assert [x.tolist() for x, _ in resumed] == []  # the last loop took its last batch
    assert [x.tolist() for x, _ in resumed] == [x.tolist() for x, _ in looped]


def test_a_loaded_seed_is_that_of_the_samples_too():
    class Drawn(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return sample_generator().random()

    loader, other = DataLoader(Drawn(), 2, True, seed=1), DataLoader(Drawn(), 2, True, seed=2)
    first, second = (
        [batch.tolist() for batch in loader],
        [batch.tolist() for batch in DataLoader(Drawn(), 2, True, seed=2)],
    )
    loop = iter(again := DataLoader(Drawn(), 2, True, seed=1))
    assert next(loop).tolist() == first[0]
    again.load_state_dict(other.state_dict())
    assert next(loop).tolist() == first[1], "a loop that has begun keeps its seed"
    again.load_state_dict(other.state_dict())
    assert [batch.tolist() for batch in again] == second


def test_a_refused_state_changes_nothing():
    loader = DataLoader(PAIRS, 3, shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    for name, value in (
        ("seed", -1),
        ("epoch", 2**63),
        ("batch", len(loader) + 1),
        ("batch", 0.5),
        ("seed", None),
    ):
        with pytest.raises((TypeError, ValueError), match=f"{name} in the state must be"):
            loader.load_state_dict({"seed": 7, **state, name: value})
        assert loader.state_dict() == state
    unmeasured = DataLoader(PAIRS, sampler=Endless())
    unmeasured.load_state_dict({**unmeasured.state_dict(), "batch": 5})
    assert next(iter(unmeasured))[0].tolist() == [5]


class Endless:
    """A sampler without a length."""

    def __iter__(self):
        return iter(range(len(PAIRS)))


def test_the_state_is_json_whatever_integers_were_given():
    state = DataLoader(PAIRS, np.int64(3), np.bool_(True)).state_dict()
    assert json.loads(json.dumps(state)) == state


# In worker processes


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


# --------------------------------------------------------------------------------------------------- pinned memory


class Point(NamedTuple):
    x: Any
    name: Any


class Points(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return {"point": Point(np.full(3, i, np.float32), f"p{i}"), "target": rt.tensor(float(i))}


def test_batches_are_pinned_each_in_memory_of_its_own(device_stand_in):
    is_pinned = device_stand_in.cuda.pinned_memory.is_memory_pinned
    expected, found = (list(DataLoader(Points(), 2, pin_memory=pin)) for pin in (False, True))
    for got, want in zip(found, expected, strict=True):
        assert is_pinned(got["point"].x.ctypes.data)
        assert got["target"].is_pinned()
        assert_same_bits((got["point"].x, got["target"]), (want["point"].x, want["target"]))
        assert (type(got["point"]), got["point"].name) == (Point, want["point"].name)
    assert not np.may_share_memory(found[0]["point"].x, found[1]["point"].x)
    assert not is_pinned(expected[0]["point"].x.ctypes.data)


def test_without_a_gpu_batches_are_not_pinned(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert batches(DataLoader(PAIRS, 4, pin_memory=True)) == batches(DataLoader(PAIRS, 4))
