"""The language of cells on PyTorch tensors: the same step that the library traces, run as it is written.

`functions` are those of `rondeau.nn.cell_math`; `run_step` calls a step ``step(x, r, s[, p][, u])`` of a cell with
tensors, as a step for `oracles.loop`.
"""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")


def lifted(value):
    """Return a number as a tensor: of two numbers torch.where would make a float32."""
    return torch.as_tensor(value, dtype=torch.float64)


def layer_norm(values, weight=None, bias=None, eps=1e-5):
    several = isinstance(values, tuple)
    group, weights, biases = ((v if several else (v,)) for v in (values, weight, bias))
    width = group[0].shape[-1]
    row = torch.nn.functional.layer_norm(torch.cat(group, -1), (len(group) * width,), eps=eps)
    parts = row.split(width, -1)
    if weight is not None:
        parts = [part * gain for part, gain in zip(parts, weights, strict=True)]
    if bias is not None:
        parts = [part + shift for part, shift in zip(parts, biases, strict=True)]
    return tuple(parts) if several else parts[0]


_running = []
"""The weights of the steps that run, the innermost last: they draw the noise."""


functions = SimpleNamespace(
    normal=lambda: _running[-1].draw("normal"),
    uniform=lambda: _running[-1].draw("uniform"),
    abs=torch.abs,
    clamp=lambda a, low, high: torch.clamp(a, low, high),
    cos=torch.cos,
    erf=torch.erf,
    exp=torch.exp,
    expm1=torch.expm1,
    layer_norm=layer_norm,
    log=torch.log,
    log1p=torch.log1p,
    maximum=lambda a, b: torch.maximum(lifted(a), lifted(b)),
    pow=torch.pow,
    minimum=lambda a, b: torch.minimum(lifted(a), lifted(b)),
    relu=torch.relu,
    sigmoid=torch.sigmoid,
    sign=torch.sign,
    sin=torch.sin,
    softplus=lambda a: torch.logaddexp(a, lifted(0.0)),  # F.softplus is the identity from 20 on
    sqrt=torch.sqrt,
    tanh=torch.tanh,
    where=lambda condition, a, b: torch.where(condition, lifted(a), lifted(b)),
)


class RecurrentPart(torch.Tensor):
    """What ``r.k`` is to a step: a tensor, R_k h + c_k, that can be called with another value than h."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # what is computed from it is a plain tensor

    def __call__(self, value):
        return self.apply(value)


def recurrent_parts(weights, gates, recurrent_gates, like, h):
    """Return ``r``. A gate on whose recurrent part no new state depends has no matrix; if it is read, it is zeros."""
    parts = SimpleNamespace()
    for gate in gates:
        apply = torch.zeros_like
        if gate in recurrent_gates:
            index = recurrent_gates.index(gate)
            apply = lambda value, index=index: weights.recurrent(value, index)[0]  # noqa: E731
        part = (apply(h) if gate in recurrent_gates else apply(like)).as_subclass(RecurrentPart)
        part.apply = apply
        setattr(parts, gate, part)
    return parts


def run_step(step, gates, recurrent_gates, states, params=(), scalars=None):
    """Return a step for `oracles.loop` that calls ``step(x, r, s)``, with ``p`` if there are `params`, and with ``u``.

    The last is left out where the loop has no named inputs. `recurrent_gates` are the gates whose recurrent part the
    step reads, whose rows the recurrent matrix has; `scalars` are the step's keyword arguments.
    """

    def run(weights, x, *values):
        rows = weights.input(x)
        inputs = SimpleNamespace(**dict(zip(gates, rows, strict=True)))
        parts = recurrent_parts(weights, gates, recurrent_gates, rows[0], values[0])
        before = SimpleNamespace(**dict(zip(states, values, strict=True)))
        vectors = [vector.expand(len(x), -1) for vector in weights[params]]
        learned = [SimpleNamespace(**dict(zip(params, vectors, strict=True)))] if params else []
        if weights.inputs:
            named = {n: torch.broadcast_to(v, rows[0].shape) for n, v in weights.inputs.items()}
            learned.append(SimpleNamespace(**named))
        _running.append(weights)
        after = step(inputs, parts, before, *learned, **(scalars or {}))
        _running.pop()
        after = after if isinstance(after, tuple) else (after,)
        return tuple(torch.broadcast_to(lifted(value), values[0].shape) for value in after)

    return run
