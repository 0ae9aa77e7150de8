"""A drawn layer with inputs and cotangents, run by the kernels, by the reference, and by PyTorch on the reference."""

import functools
from types import SimpleNamespace

import numpy as np

from comparing import assert_close
from rondeau.kernels.recurrent import reference
from rondeau.kernels.sequence import Layout, Run, Settings, Weights, backward, forward

LAYOUTS = {
    "dense": Layout.dense(4, 5),
    "ragged": Layout.packed([7, 7, 4, 3, 1]),
    "one row": Layout.packed([1, 1]),
    "no step": Layout.dense(0, 3),
    "no batch": Layout.dense(3, 0),
}
TOLERANCE = {np.float32: {"rtol": 2e-5, "atol": 2e-5}, np.float64: {"rtol": 1e-11, "atol": 1e-11}}


class Problem:
    """A drawn layer with its inputs and cotangents, those of every state after every step."""

    def __init__(
        self,
        cell,
        layout,
        dtype,
        I=3,  # noqa: E741 - the field's letter
        H=5,
        P=None,
        bias=True,
        one_hot=False,
        zero=False,
        seed=0,
        heads=1,
    ):
        rng = np.random.default_rng(seed)
        G, R, width = len(cell.gates), len(cell.recurrent), H if P is None else P

        def draw(*shape):
            return rng.standard_normal(shape).astype(dtype)

        scale = dtype(1 / np.sqrt(I + H))
        self.cell, self.layout = cell, layout
        self.weights = Weights(
            draw(G * H, I) * scale,
            draw(R * H, width // heads) * scale if R else None,
            draw(G * H) if bias else None,
            draw(R * H) if bias else None,
            None if P is None else draw(P, H) * scale,
            tuple(draw(H) for _ in cell.params),
        )
        rates = {("rate", state): 0.25 + 0.5 * k for k, state in enumerate(cell.regularisers.zoneout)}
        scalars = {("k", name): value for name, value in cell.scalars.items()}
        self.settings = Settings(scalars | rates, 0.375, rng.integers(2**63).item(), 64, heads)
        self.x = rng.integers(0, max(I, 1), layout.num_rows) if one_hot else draw(layout.num_rows, I)
        widths = [width] + [H] * (len(cell.states) - 1)
        self.initial = tuple(draw(layout.batch_size, w) * dtype(not zero) for w in widths)
        self.inputs = tuple(
            draw(
                layout.num_rows if kind == "step" else layout.batch_size,
                1 if name in cell.forms.numbers else H,
            )
            for name, kind in cell.inputs.items()
        )
        self.d_every = tuple(draw(layout.num_rows, w) for w in widths)
        self.d_final = tuple(draw(layout.batch_size, w) for w in widths)

    def inputs_at(self, rows, sequences):
        """Return the named inputs of some rows and of some sequences."""
        pairs = zip(self.cell.inputs.values(), self.inputs, strict=True)
        return tuple(array[rows if kind == "step" else sequences] for kind, array in pairs)

    def run(self, reverse=False, **fields):
        return Run(self.cell, self.layout, reverse, **{"settings": self.settings, **fields})

    def forward(self, reverse=False, save=True, every_state=True, **fields):
        run = self.run(reverse, **fields)
        return forward(
            run, self.x, self.weights, self.initial, self.inputs, save=save, every_state=every_state
        )

    def reference(self, functions=reference.NUMPY, reverse=False):
        return reference.run(self.run(reverse), functions, self.x, self.weights, self.initial, self.inputs)

    def loss(self, reverse):
        """Return the sum of all states and final states times their cotangents, by the reference."""
        every, final = self.reference(reverse=reverse)
        pairs = zip((*every, *final), (*self.d_every, *self.d_final), strict=True)
        return sum((state * cotangent).sum() for state, cotangent in pairs)

    def gradients(self, reverse=False, recompute_every=None, truncate=None, **options):
        saved = self.forward(reverse, recompute_every=recompute_every, truncate=truncate).saved
        return backward(self.cell, saved, self.d_every, self.d_final, **options)

    def arrays(self):
        return (self.x, *self.initial, *self.weights[:-1], *self.weights.params, *self.varying_inputs())

    def varying_inputs(self):
        """Return the inputs that have a gradient."""
        pairs = zip(self.cell.inputs, self.inputs, strict=True)
        return [array for name, array in pairs if name not in self.cell.forms.constants]

    def in_float64(self):
        """Return the same problem, to rounding exactly."""
        other = Problem(self.cell, self.layout, np.float64)
        vars(other).update(vars(self))
        other.x = self.x.astype(np.float64)
        for field in ("initial", "inputs", "d_every", "d_final"):
            setattr(other, field, tuple(a.astype(np.float64) for a in getattr(self, field)))
        *arrays, params = self.weights
        arrays = [None if a is None else a.astype(np.float64) for a in arrays]
        other.weights = Weights(*arrays, tuple(a.astype(np.float64) for a in params))
        return other


def flatten(gradients):
    inputs = [array for array in gradients.inputs if array is not None]
    return (
        gradients.x,
        *(gradients.initial or ()),
        *gradients.weights[:-1],
        *gradients.weights.params,
        *inputs,
    )


def assert_agrees(got, expected, dtype):
    """Compare within the tolerance of a dtype, which is that of what was computed."""
    assert got.dtype == dtype
    assert_close(got, expected, **TOLERANCE[dtype])


def torch_functions(torch):
    """Return the functions of the language on PyTorch's tensors."""
    names = ["sigmoid", "tanh", "relu", "exp", "log", "sqrt", "abs", "minimum", "maximum", "where", "cat"]
    return SimpleNamespace(
        **{name: getattr(torch, name) for name in names},
        softplus=torch.nn.functional.softplus,
        sum=lambda x: x.sum(-1, keepdim=True),
        constant=lambda array, like: torch.from_numpy(array),
    )


@functools.cache
def torch_class(torch):
    """Return a class of tensors that tell their dtype as NumPy's arrays do, which the reference asks for."""

    class Tensor(torch.Tensor):
        dtype = property(
            lambda self: np.dtype(torch.Tensor.dtype.__get__(self).__repr__().removeprefix("torch."))
        )

    return Tensor


def torch_leaf(torch, array):
    """Return a tensor to differentiate by."""
    if array is None:
        return None
    return (
        torch.from_numpy(array.copy()).as_subclass(torch_class(torch)).requires_grad_(array.dtype.kind == "f")
    )


def torch_gradients(torch, problem, reverse):
    """Differentiate the reference, run on PyTorch's tensors, by PyTorch's autograd."""
    x, *initial = (torch_leaf(torch, array) for array in (problem.x, *problem.initial))
    *arrays, params = problem.weights
    weights = Weights(
        *(torch_leaf(torch, array) for array in arrays), tuple(torch_leaf(torch, array) for array in params)
    )
    inputs = tuple(torch_leaf(torch, array) for array in problem.inputs)
    every, final = reference.run(
        problem.run(reverse), torch_functions(torch), x, weights, tuple(initial), inputs
    )
    pairs = zip((*every, *final), (*problem.d_every, *problem.d_final), strict=True)
    loss = sum((state * torch.from_numpy(cotangent)).sum() for state, cotangent in pairs)
    constants = problem.cell.forms.constants
    varying = [leaf for name, leaf in zip(problem.cell.inputs, inputs, strict=True) if name not in constants]
    return differentiate(torch, loss, (x, *initial, *weights[:-1], *weights.params, *varying))


def differentiate(torch, loss, leaves):
    """Return the gradients of a loss with respect to leaves as arrays, None for what has none."""
    wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    loss = loss.as_subclass(torch.Tensor)
    found = iter(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))
    return [None if leaf is None or not leaf.requires_grad else next(found).numpy() for leaf in leaves]


def assert_gradients_are_torchs(torch, problem, reverse, dtype):
    expected = torch_gradients(torch, problem, reverse)
    for got, wanted in zip(flatten(problem.gradients(reverse)), expected, strict=True):
        if wanted is None:
            assert got is None
        else:
            assert_agrees(got, wanted, dtype)
