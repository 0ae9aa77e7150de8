"""The parts of the file that are the same for every model, or nearly so."""

from __future__ import annotations

__all__ = [
    "CHECK",
    "FUNCTIONS",
    "GENERATE",
    "HEAD",
    "MODEL",
    "RUN_BACKWARDS",
    "RUN_LAYER",
    "STEP",
    "STORED",
    "TOKENS",
]

HEAD = '''\
"""A recurrent model in NumPy alone, exported by rondeau.

The command `python {name}.py` compares what it computes with what the library computed. In Python,

    from {name} import Model
    model = Model()          # reads {name}.npz
    y, state = model.run(x)  # {what}, to outputs (T, B, {outputs})

Letters of shapes: T steps, B sequences, I numbers of an input, G gates, H hidden units of a layer, P of its outputs.
{licence}
"""

import numpy as np
'''

FUNCTIONS = {
    "sigmoid": '''\
def sigmoid(x):
    """1 / (1 + exp(-x)), without an overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)
''',
    "erf": '''\
def erf(x):
    """The error function, by a series whose terms are all of one sign; beyond 4 it is 1 in float32."""
    z = np.clip(x, -4, 4).astype(np.float64)
    term = total = z
    for n in range(1, 60):
        term = term * 2 * z * z / (2 * n + 1)
        total = total + term
    return (2 / np.sqrt(np.pi) * np.exp(-z * z) * total).astype(np.float32)
''',
    "layer_norm": '''\
def layer_norm(x, eps):
    """Each row of x less its mean, divided by its standard deviation."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred * np.where(variance < np.inf, 1 / np.sqrt(variance + eps), np.nan)
''',
    "softmax": '''\
def softmax(x):
    """Positive numbers that add up to 1."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
''',
    "log_softmax": '''\
def log_softmax(x):
    """The logarithms of the softmax."""
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
''',
    "by_heads": '''\
def by_heads(h, weight):
    """h @ weight.T for each head: the blocks of the heads lie below one another in weight."""
    heads = h.shape[1] // weight.shape[1]
    blocks = weight.reshape(heads, -1, weight.shape[1]).swapaxes(1, 2)
    return (h.reshape(len(h), heads, 1, weight.shape[1]) @ blocks).reshape(len(h), len(weight))
''',
    "over_units": '''\
def over_units(u, of_steps, shape, width):
    """A named input as (T, B, H), from one number for all units or one for each, of each step or of all."""
    u = np.asarray(u, np.float32) if of_steps else np.asarray(u, np.float32)[None]
    return np.broadcast_to(u if u.ndim == 3 else u[..., None], (*shape, width))
''',
}
"""The functions of the file, of which each holds those that its model calls."""

RUN_LAYER = '''\
def run_layer(step, w, x, state, inside, reset{parameters}):
    """Run a layer over x (T, B, I){or_ids}: its outputs (T, B, P), and its states after the last steps."""
    {product}
    begin = [w[name] for name in w if name.startswith("initial_")]
    outputs = np.zeros(x.shape[:2] + state[0].shape[1:], np.float32)
{backwards}    for t in {order}:
        before = [np.where(reset[t, :, None], b, s) for b, s in zip(begin, state)]
        after = step(x[t], *before, w{arguments})
        state = [np.where(inside[t, :, None], a, s) for a, s in zip(after, state)]
        outputs[t] = np.where(inside[t, :, None], state[0], 0)
    return outputs, state
'''

RUN_BACKWARDS = """\
    if backwards:  # a sequence ends, from there, before the step at which it begins
        reset = np.append(reset[1:], np.zeros_like(reset[:1]), axis=0)
"""

MODEL = '''\
class Model:
    """The model. A state is a list with an entry for each layer{and_direction}: a list of its states, (B, H) each."""

    def __init__(self, file=None):
        """Read the weights, by default from the .npz beside this file."""
        self.w, file = {{}}, file or __file__[:-3] + ".npz"
        try:
            with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
                for name in stored.files:
                    block, part = name.split(".")
                    self.w.setdefault(block, {{}})[part] = stored[name]
            is_ours = self.w["check"]["export"] == {fingerprint}
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f"{{file}} is damaged, export the model again: {{error}}") from None
        if not is_ours:
            raise ValueError(f"{{file}} was not exported with this file: export the model again")
{tokens}
    def begin_state(self, batch):
        """The state that sequences begin with."""
        layers = [self.w[f"layer_{{k}}"] for k in range({layers})]
        return [[np.tile(w[name], (batch, 1)) for name in w if name.startswith("initial_")] for w in layers]

    def run(self, x, state=None, lengths=None, reset=None{parameters}):
        """Run {what}; return outputs (T, B, {outputs}) and the state after the last steps.

        lengths (B,) has the steps of each sequence; reset (T, B) marks steps before which a new sequence begins.
{about}        """
{x}        lengths = np.broadcast_to(len(x) if lengths is None else lengths, x.shape[1])
        inside = np.arange(len(x))[:, None] < lengths
        reset = inside & (False if reset is None else np.asarray(reset, bool))
{checked}        state = list(self.begin_state(x.shape[1]) if state is None else state)
{blocks}        return np.where(inside[..., None], x, 0), state
'''

STEP = '''
    def step(self, x, state{parameters}):
        """One step {what}: outputs (B, {outputs}) and the new state."""
{first}        y, state = self.run(np.asarray(x)[None], state{arguments})
        return y[0], state
'''

GENERATE = '''
    def generate(self, ids, count, temperature=1.0, seed=0):
        """Continue a list of ids by as many more, each drawn by the probability that the model gives it."""
        random, ids = np.random.default_rng(seed), list(ids)
        if not ids or not temperature > 0:
            raise ValueError("generate needs ids to continue, and a temperature above 0")
        logits, state = self.run(np.array(ids)[:, None]{arguments})
        for _ in range(count):
            powers = np.exp((logits[-1, 0] - logits[-1, 0].max()) / temperature).astype(float)
            ids.append(int(random.choice(len(powers), p=powers / powers.sum())))
            logits, state = self.run(np.array([[ids[-1]]]), state{arguments})
        return ids
'''

TOKENS = """\
        text, sizes = self.w["tokens"]["text"].tobytes(), self.w["tokens"]["sizes"]
        ends = np.cumsum(sizes)
        self.tokens = [text[e - n : e].decode("utf-8", "surrogatepass") for e, n in zip(ends, sizes)]
"""

STORED = '''\
class Stored:
    """The random numbers of the check, in the place of a NumPy Generator."""

    def __init__(self, numbers):
        self.numbers = list(numbers)

    def standard_normal(self, size, dtype):
        return np.array([self.numbers.pop(0) for _ in range(size[0] * size[1])], dtype).reshape(size)

    random = standard_normal
'''

CHECK = '''\
def check():
    """Compare outputs and last states with those that the library computed; return whether they agree."""
    model = Model()
    c = model.w["check"]
    y, state = model.run(c["x"][:, None]{arguments})
    found = [y[:, 0]] + [array[0] for layer in state for array in layer]
    expected = [c["y"]] + [c[f"state_{{k}}"] for k in range(len(found) - 1)]
    near = [np.allclose(f, e, c["tolerance"], c["tolerance"], equal_nan=True) for f, e in zip(found, expected)]
    return all(near)


if __name__ == "__main__":
    try:
        agrees = check()
    except (OSError, ValueError) as error:
        raise SystemExit(error)
    if not agrees:
        raise SystemExit("what this computes differs from the library")
    print("{steps} steps agree with the library")
'''
