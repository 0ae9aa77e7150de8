"""Problems on a device, and how their numbers compare with those of the CPU target and of the interpreter."""

import numpy as np

from comparing import assert_close
from rondeau.kernels.sequence import backward

from .interpreter import Interpreter
from .problem import Problem, flatten

CLOSE = {
    np.dtype(np.float32): {"rtol": 1e-5, "atol": 1e-5},
    np.dtype(np.float64): {"rtol": 1e-12, "atol": 1e-12},
}


def on_device(cupy, problem):
    """Return the problem with its arrays on the device."""
    sent = object.__new__(Problem)
    vars(sent).update(vars(problem))

    def send(array):
        return None if array is None else cupy.asarray(array)

    *arrays, params = problem.weights
    sent.weights = type(problem.weights)(*map(send, arrays), tuple(map(send, params)))
    sent.x = send(problem.x)
    for field in ("initial", "inputs", "d_every", "d_final"):
        arrays = getattr(problem, field)
        setattr(sent, field, None if arrays is None else tuple(map(send, arrays)))
    return sent


def to_host(arrays):
    return [
        None if array is None else array if isinstance(array, np.ndarray) else array.get() for array in arrays
    ]


def bits(gradients):
    return b"".join(array.tobytes() for array in to_host(flatten(gradients)) if array is not None)


def states_and_gradients(problem, reverse=False, **fields):
    """Return what forward and backward give, each run once: an emulated kernel takes long."""
    result = problem.forward(reverse, **fields)
    return result, backward(problem.cell, result.saved, problem.d_every, problem.d_final)


def arrays_of(result, gradients):
    """Return all states and gradients on the host."""
    return to_host([*result.every, *result.final, *flatten(gradients)])


def assert_like_the_cpu(cupy, problem, reverse=False, **fields):
    """Compare states and gradients with the CPU target's; return the device's, as `states_and_gradients` does."""
    found = states_and_gradients(on_device(cupy, problem), reverse, **fields)
    expected = states_and_gradients(problem, reverse, **fields)
    for one, other in zip(arrays_of(*found), arrays_of(*expected), strict=True):
        if other is None:
            assert one is None
        else:
            assert one.dtype == other.dtype
            assert_close(one, other, **CLOSE[problem.weights.weight_ih.dtype])
    return found


def assert_like_the_interpreter(cupy, problem, reverse):
    """Compare a problem in float32 with the CPU target too, and states and their gradients with the interpreter's."""
    exact = problem.in_float64()
    oracle = Interpreter(exact.run(reverse), exact.x, exact.weights, exact.initial, exact.inputs)
    result, gradients = assert_like_the_cpu(cupy, problem, reverse)
    for got, expected in zip(to_host(result.every), oracle.every, strict=True):
        assert_close(got, expected, rtol=1e-5, atol=1e-5)
    d_initial = oracle.backward(exact.d_every, exact.d_final)[1]
    for got, expected in zip(to_host(gradients.initial), d_initial, strict=True):
        assert_close(got, expected, rtol=1e-5, atol=2e-5)
