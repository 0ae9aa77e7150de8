"""Threads that go back through graphs of the same parameters: each gradient is added, whole and once."""

import sys
import threading

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.kernels.ops.few_rows import FewRows
from rondeau.tensor.autograd import from_few_rows

THREADS, TIMES = 4, 25


class Row(rt.Function):
    """A row of a table, whose gradient is of few rows."""

    owns_gradients = True

    @staticmethod
    def forward(ctx, table):
        ctx.number = len(table)
        return rt.Tensor(table.detach().numpy()[1:2])

    @staticmethod
    def backward(ctx, g):
        return from_few_rows(FewRows(np.array([1]), g.numpy().copy(), ctx.number))


@pytest.fixture
def _threads_that_take_turns_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_threads_that_take_turns_often")
@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("function", [Row.apply, lambda table: table * 1.0], ids=["few rows", "whole"])
def test_every_gradient_is_added(function, create_graph):
    table = rt.ones(400, 300, requires_grad=True)
    expected = np.zeros(table.shape, np.float32)
    expected[1 if function == Row.apply else slice(None)] = THREADS * TIMES
    started = threading.Barrier(THREADS)

    def work():
        started.wait()
        for _ in range(TIMES):
            function(table).sum().backward(create_graph=create_graph)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same_bits(table.grad.detach().numpy(), expected)
