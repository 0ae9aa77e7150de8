"""Recurrent layers as a plain PyTorch loop over time, for any step: what every sequence feature has to equal.

Everything is padded, (T, B, ...), and computed for every row at every step; where a row has no step there, its states
pass through unchanged and its outputs are 0. Slow, and hard to get wrong.
"""

import functools
from types import MappingProxyType

import numpy as np
import pytest
from tools.fuzz.noise import Noise

torch = pytest.importorskip("torch")


class Direction:
    """The weights of one layer and direction, as a step reads them.

    `named` holds tensors by the names of the layer's parameters; `keep` is the mask of recurrent dropout, which
    multiplies whatever enters a recurrent matrix. `inputs` are the named inputs of the step that runs, and `draw` draws
    its noise: ``draw(kind)`` returns the numbers of the next call, (B, H).
    """

    inputs = MappingProxyType({})
    draw = None

    def __init__(self, named, suffix, hidden_size, num_heads=1, keep=None):
        self._named, self._suffix, self._hidden_size, self._keep = named, suffix, hidden_size, keep
        (self._weight_ih,) = self["weight_ih",]
        self._weight_hh = named.get(f"weight_hh{suffix}")
        if num_heads > 1 and self._weight_hh is not None:
            self._weight_hh = block_diagonal(self._weight_hh, hidden_size, num_heads)
        self._bias_ih, self._bias_hh = named.get(f"bias_ih{suffix}"), named.get(f"bias_hh{suffix}")

    def __getitem__(self, names):
        """Return learned vectors by name, always several."""
        return [self._named[name + self._suffix] for name in names]

    def input(self, x):
        """Return every gate's input part, W_k x + b_k."""
        return torch.nn.functional.linear(x, self._weight_ih, self._bias_ih).split(self._hidden_size, -1)

    def recurrent(self, value, *gates):
        """Return R_k value + c_k for the blocks of rows `gates` of the recurrent matrix, all if none is named."""
        value = value if self._keep is None else self._keep * value
        parts = torch.nn.functional.linear(value, self._weight_hh, self._bias_hh).split(self._hidden_size, -1)
        return [parts[gate] for gate in gates] if gates else parts

    def project(self, value):
        """Return the projection W_hr value."""
        (weight_hr,) = self["weight_hr",]
        return value @ weight_hr.T


def block_diagonal(weight, hidden_size, num_heads):
    """Return the (G*H, H) matrix of G*A blocks (H/A, H/A): head a of a gate reads the units of head a alone."""
    width = hidden_size // num_heads
    blocks = weight.reshape(-1, num_heads, width, width)
    return torch.einsum("gaij,ab->gaibj", blocks, torch.eye(num_heads, dtype=weight.dtype)).reshape(
        -1, hidden_size
    )


def keep_states(t, old, new):
    """Return the new states: what happens after a step where nothing is zoned out."""
    return new


def units_of(value, ndim):
    """Return an input with a last dimension, of 1 if it is one number for all units."""
    return value if value.ndim == ndim else value[..., None]


def draws(key, index, t, batch_size, hidden_size):
    """Return a function that draws the noise of a step: its calls are numbered, and each has a substream."""
    drawing = Noise(key).of_layer(index).at(t, np.arange(batch_size), hidden_size)
    return lambda distribution: torch.from_numpy(drawing(distribution))


def run_direction(
    step,
    weights,
    x,
    initial,
    lengths,
    reset,
    *,
    reverse=False,
    bptt_truncate=None,
    after_step=keep_states,
    inputs=MappingProxyType({}),
    draws_at=lambda t: None,
):
    """Run one layer in one direction.

    Parameters
    ----------
    step : callable
        ``step(weights, x_t, *states)``; see `oracles.cells`.
    weights : Direction
    x : torch.Tensor, shape (T, B, I)
    initial : sequence of torch.Tensor, shape (B, H)
    lengths : torch.Tensor of int, shape (B,)
    reset : torch.Tensor of bool, shape (T, B)
        Where a row is cut before step t: the state that would be carried over the cut, either way, is zero instead.
    reverse : bool
    bptt_truncate : int, optional
        k: what comes of step t reaches steps t - k to t, so they are run again from the state before them, detached.
        So a row's first k steps reach its initial states, and later ones do not.
    after_step : callable
        ``after_step(t, old, new)`` returns the states to go on with.
    inputs : mapping of str to (str, torch.Tensor)
        The kind and the value of each named input, with a last dimension for the units.
    draws_at : callable
        ``draws_at(t)`` returns the function that draws the noise of step t.

    Returns
    -------
    sequences : list of torch.Tensor, shape (T, B, H)
        Every state after every step, 0 past a row's length.
    final : list of torch.Tensor, shape (B, H)
    """
    order = list(range(len(x)))[:: -1 if reverse else 1]
    nowhere = torch.zeros_like(lengths, dtype=torch.bool)

    def cut(t):
        """Tell the rows that are cut between step t and the step run before it."""
        if not reverse:
            return reset[t]
        return reset[t + 1] & (t + 1 < lengths) if t + 1 < len(x) else nowhere

    def advance(states, t):
        before = [torch.where(cut(t)[:, None], 0.0, state) for state in states]
        weights.inputs = {n: value[t] if kind == "step" else value for n, (kind, value) in inputs.items()}
        weights.draw = draws_at(t)
        after = after_step(t, before, step(weights, x[t], *before))
        is_there = (t < lengths)[:, None]
        return [torch.where(is_there, new, old) for new, old in zip(after, states, strict=True)]

    def run(states, steps):
        trajectory = []
        for t in steps:
            states = advance(states, t)
            trajectory.append(states)
        return trajectory

    trajectory = run(initial, order)
    if bptt_truncate is not None:
        whole, trajectory = [initial, *trajectory], []
        # Backwards, a row's first step comes as much later as the row is short.
        firsts = (len(x) - lengths)[:, None] if reverse else torch.zeros_like(lengths)[:, None]
        for n in range(len(order)):
            begin = max(0, n - bptt_truncate)
            states = [
                torch.where(n - firsts >= bptt_truncate, state.detach(), start)
                for state, start in zip(whole[begin], initial, strict=True)
            ]
            trajectory.append(run(states, order[begin : n + 1])[-1])
    by_time = dict(zip(order, trajectory, strict=True))
    sequences = [
        torch.stack([torch.where((t < lengths)[:, None], by_time[t][i], 0.0) for t in range(len(x))])
        for i in range(len(initial))
    ]
    final = [
        torch.stack(
            [
                initial[i][b] if lengths[b] == 0 else by_time[0 if reverse else int(lengths[b]) - 1][i][b]
                for b in range(len(lengths))
            ]
        )
        for i in range(len(initial))
    ]
    return sequences, final


def run(
    layer,
    step,
    named,
    x,
    initial,
    *,
    lengths=None,
    reset=None,
    bptt_truncate=None,
    recurrent_masks=None,
    after_step=None,
    between_layers=None,
    masked_weights=None,
    inputs=MappingProxyType({}),
    key=0,
):
    """Run all layers and directions of a `rondeau.nn.Recurrent`, with its sizes and `named` for its parameters.

    Parameters
    ----------
    layer : nn.Recurrent
        Only its sizes are read.
    step : callable
    named : dict of str to torch.Tensor
    x : torch.Tensor, shape (T, B, I)
    initial : sequence of torch.Tensor, shape (L*D, B, H)
    lengths, reset : array_like, optional
    bptt_truncate : int, optional
        Of each layer by itself: a layer's gradient reaches back k steps, and what it sends down is then cut by the
        layer below at k steps again.
    recurrent_masks : callable, optional
        ``recurrent_masks(layer, direction)`` returns what multiplies the input of the recurrent matrices, (B, P).
    after_step : callable, optional
        ``after_step(layer, direction)`` returns that of `run_direction`.
    between_layers : callable, optional
        ``between_layers(layer, x)`` returns the input of a layer above the first.
    masked_weights : callable, optional
        ``masked_weights(named)`` returns the tensors to compute with.
    inputs : mapping of str to torch.Tensor
        The named inputs of all layers.
    key : int
        The key of the call's random numbers.

    Returns
    -------
    sequences : list of torch.Tensor, shape (T, B, D*H)
        Every state of the last layer.
    final : list of torch.Tensor, shape (L*D, B, H)
    """
    T, B = x.shape[:2]
    named = named if masked_weights is None else masked_weights(named)
    lengths = torch.full((B,), T) if lengths is None else torch.as_tensor(lengths)
    reset = torch.zeros(T, B, dtype=torch.bool) if reset is None else torch.as_tensor(reset, dtype=torch.bool)
    kinds = layer.cell.inputs
    inputs = {
        name: (kinds[name], units_of(v, 3 if kinds[name] == "step" else 2)) for name, v in inputs.items()
    }
    ends = []
    for depth in range(layer.num_layers):
        if depth > 0 and between_layers is not None:
            x = between_layers(depth, x)
        sides = []
        for direction in range(layer.num_directions):
            weights = Direction(
                named,
                f"_l{depth}" + "_reverse" * direction,
                layer.hidden_size,
                getattr(layer, "num_heads", 1),
                None if recurrent_masks is None else recurrent_masks(depth, direction),
            )
            sequences, final = run_direction(
                step,
                weights,
                x,
                [state[len(ends)] for state in initial],
                lengths,
                reset,
                reverse=direction == 1,
                bptt_truncate=bptt_truncate,
                after_step=keep_states if after_step is None else after_step(depth, direction),
                inputs=inputs,
                draws_at=functools.partial(
                    draws, key, len(ends), batch_size=B, hidden_size=layer.hidden_size
                ),
            )
            sides.append(sequences)
            ends.append(final)
        sequences = [torch.cat(parts, -1) for parts in zip(*sides, strict=True)]
        x = sequences[0]
    return sequences, [torch.stack(parts) for parts in zip(*ends, strict=True)]
