"""One comparison for everything: a `rondeau.nn.Recurrent` with a PyTorch loop, every result and every gradient."""

import numpy as np
import pytest
from tools.fuzz.noise import key_of

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt

from . import loop

torch = pytest.importorskip("torch")

TOLERANCE = {"float64": 1e-10, "float32": 2e-5}


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


def draw_parameters(layer, rng):
    """Give a layer weights of a size at which states neither vanish nor saturate."""
    for name, parameter in layer.named_parameters():
        values = rng.standard_normal(parameter.shape)
        if name.startswith("weight"):
            values /= np.sqrt(parameter.shape[1])
        elif name.startswith("gain"):
            values = 1 + 0.3 * values
        else:
            values *= 0.5
        parameter.data = rt.tensor(values.astype(parameter.dtype))


def draw_states(layer, B, rng):
    """Return initial states; a state called n is a normaliser, and positive."""
    widths = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * (len(layer.cell.states) - 1)
    shapes = [(layer.num_layers * layer.num_directions, B, width) for width in widths]
    drawn = [0.7 * rng.standard_normal(shape) for shape in shapes]
    return [
        0.5 + np.abs(state) if name == "n" else state
        for name, state in zip(layer.cell.states, drawn, strict=True)
    ]


def draw_inputs(layer, T, B, rng):
    """Return named inputs for a layer, as arrays: some of them with one number for all units."""
    shapes = {"step": (T, B), "sequence": (B,)}
    units = {name: () if rng.random() < 0.5 else (layer.hidden_size,) for name in layer.cell.inputs}
    return {name: rng.standard_normal(shapes[kind] + units[name]) for name, kind in layer.cell.inputs.items()}


LEAST = 1e-2
"""The smallest number that counts as the largest of an array: what cancels leaves the rounding of its parts."""


def assert_same_run(one, other, what=""):
    """Compare two runs, `Ours` of both: results and gradients, bit for bit."""
    assert_same_bits((one.values, one.gradients), (other.values, other.gradients), what)


def cotangents(values):
    """Return a random array for each of several named arrays."""
    return {
        name: np.random.default_rng([i, *value.shape]).standard_normal(value.shape)
        for i, (name, value) in enumerate(values.items())
    }


def gradients(grad, loss, leaves, **options):
    """Return the gradients by name, as arrays; zeros of what the loss does not depend on."""
    found = grad(loss, list(leaves.values()), allow_unused=True, **options)
    return {
        name: np.zeros(leaf.shape) if d is None else np.asarray(d.detach().numpy())
        for (name, leaf), d in zip(leaves.items(), found, strict=True)
    }


class Ours:
    """A call of the layer: its results by name, and the gradients of everything by name.

    ``by_the_reference``: once more with ``create_graph=True``, which another program computes.
    """

    def __init__(self, layer, x, initial, *, all_states, by_the_reference=False, inputs=None, **features):
        names = layer.cell.states
        dtype = next(iter(layer.parameters())).dtype
        x = rt.tensor(x.astype(dtype), requires_grad=True)
        hx = None
        if initial is not None:
            hx = tuple(rt.tensor(state.astype(dtype), requires_grad=True) for state in initial)
        given = hx if hx is None or len(hx) > 1 else hx[0]
        inputs = {n: rt.tensor(np.asarray(v, dtype), requires_grad=True) for n, v in (inputs or {}).items()}
        if inputs:
            features["inputs"] = inputs
        if all_states:
            sequences, final = layer.all_states(x, given, **features)
            self.values = {f"every {name}": s for name, s in zip(names, sequences, strict=True)}
        else:
            output, final = layer(x, given, **features)
            self.values = {"output": output}
        self.values |= {f"final {name}": s for name, s in zip(names, as_tuple(final), strict=True)}
        leaves = {"x": x} | ({f"initial {n}": s for n, s in zip(names, hx, strict=True)} if hx else {})
        leaves |= {f"input {name}": value for name, value in inputs.items()}
        leaves |= dict(layer.named_parameters())
        weighting = cotangents(self.values)
        loss = sum((v * rt.tensor(weighting[n].astype(dtype))).sum() for n, v in self.values.items())
        self.gradients = gradients(rt.grad, loss, leaves, retain_graph=by_the_reference)
        self.reference_gradients = (
            gradients(rt.grad, loss, leaves, create_graph=True) if by_the_reference else self.gradients
        )
        self.values = {name: value.detach().numpy() for name, value in self.values.items()}


class Theirs:
    """The loop's results, and the gradients for the cotangents that `Ours` takes."""

    def __init__(self, layer, step, x, initial, *, inputs=None, **features):
        named = {
            name: torch.tensor(p.detach().numpy(), dtype=torch.float64, requires_grad=True)
            for name, p in layer.named_parameters()
        }
        x = torch.tensor(x, requires_grad=True)
        self.names = layer.cell.states
        given = initial is not None
        if not given:
            B = x.shape[1]
            initial = [np.zeros_like(s) for s in draw_states(layer, B, np.random.default_rng(0))]
        states = [torch.tensor(state, requires_grad=given) for state in initial]
        inputs = {n: torch.tensor(v, requires_grad=True) for n, v in (inputs or {}).items()}
        self.sequences, self.final = loop.run(layer, step, named, x, states, inputs=inputs, **features)
        self.leaves = {"x": x}
        if given:
            self.leaves |= {f"initial {n}": s for n, s in zip(self.names, states, strict=True)}
        self.leaves |= {f"input {name}": value for name, value in inputs.items()}
        self.leaves |= named

    def results(self, all_states):
        """Return values and gradients, by name, of a call or of all states."""
        if all_states:
            values = {f"every {name}": s for name, s in zip(self.names, self.sequences, strict=True)}
        else:
            values = {"output": self.sequences[0]}
        values |= {f"final {name}": s for name, s in zip(self.names, self.final, strict=True)}
        weighting = cotangents(values)
        loss = sum((value * torch.tensor(weighting[name])).sum() for name, value in values.items())
        found = gradients(torch.autograd.grad, loss, self.leaves, retain_graph=True)
        return {name: value.detach().numpy() for name, value in values.items()}, found


def compare(layer, step, x, initial=None, *, tolerance=None, what="", oracle=None, seed=0, **features):
    """Compare a layer with the loop of a PyTorch step: what a call returns, all states, and all gradients.

    Parameters
    ----------
    layer : nn.Recurrent
    step : callable
        See `oracles.cells`.
    x : ndarray of float64, shape (T, B, I)
    initial : list of ndarray, optional
    tolerance : float, optional
        Of the largest magnitude of each array; default by the layer's dtype.
    what : str
        What is compared, for the message.
    oracle : dict, optional
        Arguments of `loop.run` that are attributes of our layer, or follow from them and from `seed`.
    seed : int
        What `rt.manual_seed` gets before each call of the layer.
    **features
        Arguments of both calls: lengths, reset, and inputs, a mapping of names to arrays of float64.
    """
    dtype = str(next(iter(layer.parameters())).dtype)
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    x = x.astype(dtype).astype(np.float64)
    initial = None if initial is None else [s.astype(dtype).astype(np.float64) for s in initial]
    if features.get("inputs"):
        features["inputs"] = {n: v.astype(dtype).astype(np.float64) for n, v in features["inputs"].items()}
    theirs = Theirs(layer, step, x, initial, **features, **{"key": key_of(seed), **(oracle or {})})
    for all_states in (False, True):
        rt.manual_seed(seed)
        differentiable = all_states and layer.bptt_truncate is None
        ours = Ours(layer, x, initial, all_states=all_states, by_the_reference=differentiable, **features)
        values, expected = theirs.results(all_states)
        assert ours.values.keys() == values.keys()
        for name, value in values.items():
            assert_close(
                ours.values[name], value, of_largest=tolerance, least=LEAST, what=f"{name} of {what}"
            )
        for kind in ("gradients", "reference_gradients"):
            found = getattr(ours, kind)
            assert found.keys() == expected.keys()
            for name, gradient in expected.items():
                assert_close(
                    found[name],
                    gradient,
                    of_largest=tolerance,
                    least=LEAST,
                    what=f"{kind} of {name} of {what}",
                )
