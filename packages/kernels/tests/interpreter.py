"""The interpreter: a scheduled cell over a batch of sequences in NumPy, as the second oracle of every target.

It reads the schedule as a target does, phases, loops, slots, carries and the products between phases, and computes with
plain arrays. So where it agrees with the reference and a target does not, the target's emitter is wrong; where it
disagrees with the reference, the schedule is. A value of units lives for one loop, and a value of rows for one phase,
as in emitted code: what a later one reads must come from where the schedule says that it lies.
"""

import numpy as np

from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.numerics import noise, philox
from rondeau.kernels.recurrent.substreams import NOISE, RECURRENT_DROPOUT


class Interpreter:
    """A run of a scheduled cell, forward and then backward.

    `every` and `final` are the states after every step and at the end. Cells whose first state is projected have their
    projection outside the program, and are not run here. `rounded` rounds an array of operands of recurrent products.
    """

    def __init__(self, run, x, weights, initial, inputs=(), rounded=np.asarray):
        self.rounded = rounded
        self.inputs = dict(zip(run.cell.inputs, inputs, strict=True))
        self.run, self.weights, self.schedule = run, weights, run.cell.schedule
        self.graph, self.layout, settings = self.schedule.graph, run.layout, run.settings
        N, B = self.layout.num_rows, self.layout.batch_size
        self.gates = self.graph.gates
        H = self.H = weights.weight_ih.shape[0] // len(self.gates)
        part = x @ weights.weight_ih.T
        self.slots = {("x", g): part[:, k * H : (k + 1) * H].copy() for k, g in enumerate(self.gates)}
        self.slots |= {("r", g): np.zeros((N, H)) for g in self.schedule.split}
        self.values = {node: np.zeros((N, H)) for node in self.schedule.values}
        self.row_values = {}
        self.states = [np.zeros((B + N, H)) for _ in initial]
        for storage, state in zip(self.states, initial, strict=True):
            storage[self.layout.initial_rows(run.reverse)] = state
        self.mask = np.zeros((0, H))
        if self.schedule.has_input("mask"):
            drawn = philox.uniforms(
                settings.key, settings.substream + RECURRENT_DROPOUT, philox.CONSTANT_OVER_TIME,
                self.layout.origins[:, None], np.arange(H),
            )  # fmt: skip
            self.mask = np.where(drawn >= settings.dropout, 1 / (1 - settings.dropout), 0.0)
        for at, old, new in self._steps():
            self._step_forward(at, old, new)
        self.every = [s[self.layout.after_rows(run.reverse)] for s in self.states]
        self.final = [s[self.layout.final_rows(run.reverse)] for s in self.states]

    def backward(self, d_every, d_final):
        """Return the adjoints of slots (by slot), initial states, learned vectors, and named inputs (by name)."""
        self.d_inputs = {name: np.zeros(array.shape) for name, array in self.inputs.items()}
        self.d_states = [d.copy() for d in d_final]
        self.d_values = {node: np.zeros((self.layout.batch_size, self.H)) for node in self.schedule.values}
        self.d_params = {name: np.zeros((self.layout.batch_size, self.H)) for name in self.graph.params}
        for at, old, new in reversed(list(self._steps())):
            count = at.stop - at.start
            for adjoint, of_steps in zip(self.d_states, d_every, strict=True):
                adjoint[:count] += of_steps[at]
            self._step_backward(at, old, new)
        params = {name: d.sum(0) for name, d in self.d_params.items()}
        return self.slots, self.d_states, params, self.d_inputs

    def _steps(self):
        """Yield the rows of each step, and of the states before and after it, in the order of running."""
        for start, before, after, size in zip(*self.layout.steps(self.run.reverse), strict=True):
            yield slice(start, start + size), slice(before, before + size), slice(after, after + size)

    # ------------------------------------------------------------ products between phases

    def _matrix(self, gate):
        """Return a gate's recurrent matrix, in full where heads keep blocks of it."""
        H, heads = self.H, self.run.settings.num_heads
        k = self.schedule.recurrent.index(gate)
        rows = self.weights.weight_hh[k * H : (k + 1) * H]
        if heads > 1:
            full = np.zeros((H, H))
            for head in range(heads):
                of_head = slice(head * H // heads, (head + 1) * H // heads)
                full[of_head, of_head] = rows[of_head]
            rows = full
        return self.rounded(rows)

    def _bias(self, slot):
        """Return what is added to a slot: the input's bias, and the recurrent one where the product fills it."""
        where, gate = slot
        bias = np.zeros(self.H)
        if where == "x" and self.weights.bias_ih is not None:
            k = self.gates.index(gate)
            bias = bias + self.weights.bias_ih[k * self.H : (k + 1) * self.H]
        if self.weights.bias_hh is not None and (where == "r" or gate in self.schedule.joint):
            k = self.schedule.recurrent.index(gate)
            bias = bias + self.weights.bias_hh[k * self.H : (k + 1) * self.H]
        return bias

    def _multiply_forward(self, operand, at, old):
        value = self.rounded(self.states[0][old] if operand.node is None else self.values[operand.node][at])
        for gate in operand.joint:
            self.slots["x", gate][at] += value @ self._matrix(gate).T
        for gate in operand.split:
            self.slots["r", gate][at] = value @ self._matrix(gate).T

    def _multiply_backward(self, operand, at):
        count = at.stop - at.start
        d = np.zeros((count, self.H))
        for where, gates in (("x", operand.joint), ("r", operand.split)):
            for gate in gates:
                d += self.rounded(self.slots[where, gate][at]) @ self._matrix(gate)
        if operand.node is None:
            self.d_states[0][:count] += d  # to the part of the step itself
        else:
            self.d_values[operand.node][:count] = d

    # ------------------------------------------------------------ a step

    def _step_forward(self, at, old, new):
        schedule, program = self.schedule, self.schedule.forward
        carries = {}
        for number, phase in enumerate(program.phases):
            for operand in schedule.operands:
                ready = -1 if operand.node is None else program.written["value", str(operand.node)]
                if ready + 1 == number:
                    self._multiply_forward(operand, at, old)
            self._phase(phase, at, old, new, carries)

    def _step_backward(self, at, old, new):
        schedule, program = self.schedule, self.schedule.backward
        carries = {}
        for number, phase in enumerate(program.phases):
            self._phase(phase, at, old, new, carries)
            for operand in schedule.operands:
                if operand.node is None:
                    due = len(program.phases) - 1
                else:
                    slots = [("x", g) for g in operand.joint] + [("r", g) for g in operand.split]
                    due = max(program.written["slot", slot] for slot in slots)
                if due == number:
                    self._multiply_backward(operand, at)

    def _phase(self, phase, at, old, new, carries):
        rows = {}
        for node in phase.call_nodes:
            rows[node] = self._compute(node, rows)
        if phase.prologue is not None:
            units = rows | {
                read.node: self._read(read.location, at, old, new, {}) for read in phase.prologue.reads
            }
            for node in phase.prologue.nodes:
                units[node] = self._compute(node, units)
            self.vectors = {node: units[node] for _, node in phase.prologue.writes}
        for loop in phase.loops:
            for read in loop.row_reads:
                kind, key = read.location
                rows[read.node] = (
                    self.row_values[key][at] if kind == "row" else self._of_rows(self.inputs, key, at)
                )
            for node in loop.row_nodes:
                rows[node] = self._compute(node, rows)
            for (kind, key), node in loop.row_writes:
                value = 0.0 if node is None else self._value(node, rows)
                if kind == "row":
                    self.row_values.setdefault(key, np.zeros((self.layout.num_rows, 1)))[at] = value
                else:
                    self._of_rows(self.d_inputs, key, at)[...] += value
            units = dict(rows)
            for read in loop.reads:
                value = np.array(self._read(read.location, at, old, new, carries))
                units[read.node] = value + self._bias(read.location[1]) if read.raw else value
            for node in loop.nodes:
                units[node] = self._compute(node, units)
            count = at.stop - at.start
            for node in loop.sums:
                (term,) = self.graph.nodes[node].args
                rows[node] = np.broadcast_to(self._value(term, units), (count, self.H)).sum(1, keepdims=True)
            for location, node in loop.writes:
                value = 0.0 if node is None else self._value(node, units)
                self._write(location, value, at, new, carries)

    def _value(self, node, known):
        op, _, value = self.graph.nodes[node]
        return value if op == "const" else known[node]

    def _compute(self, node, known):
        op, args, value = self.graph.nodes[node]
        if op == "input":  # one number for the whole run
            return float(self.H) if value == ("width", "H") else self.run.settings.scalars[value]
        return OPERATIONS[op].function(*(self._value(a, known) for a in args))

    def _read(self, location, at, old, new, carries):
        kind, key = location
        count = at.stop - at.start
        if kind == "slot":
            return self.slots[key][at]
        if kind == "value":
            return self.values[int(key)][at]
        if kind in ("old", "new"):
            return self.states[self.graph.states.index(key)][old if kind == "old" else new]
        if kind == "adjoint":
            return self.d_states[self.graph.states.index(key)][:count]
        if kind == "back":
            return self.d_values[int(key)][:count]
        if kind == "parameter":
            return self.weights.params[self.graph.params.index(key)]
        if kind == "mask":
            return self.mask[:count]
        if kind == "input":
            return self._of_rows(self.inputs, key, at)
        if kind in ("normal", "uniform", "zoneout"):
            settings, time, origin = self.run.settings, *self.layout.positions[at].T[:, :, None]
            if kind != "zoneout":
                draw = noise.normals if kind == "normal" else noise.uniforms
                return draw(
                    settings.key, settings.substream + NOISE + int(key), time, origin, np.arange(self.H)
                )
            substream = settings.substream + self.graph.states.index(key)
            return philox.uniforms(settings.key, substream, time, origin, np.arange(self.H))
        if kind == "vector":
            return self.vectors[key]
        assert kind == "carry", kind
        return carries[key]

    def _of_rows(self, arrays, name, at):
        """Return the rows of a named input, or of its adjoint: those of a step, or those of the sequences."""
        return arrays[name][at if self.graph.inputs[name] == "step" else slice(at.stop - at.start)]

    def _write(self, location, value, at, new, carries):
        kind, key = location
        count = at.stop - at.start
        value = np.broadcast_to(value, (count, self.H))
        if kind == "slot":
            self.slots[key][at] = value
        elif kind == "value":
            self.values[int(key)][at] = value
        elif kind == "new":
            self.states[self.graph.states.index(key)][new] = value
        elif kind == "adjoint":
            self.d_states[self.graph.states.index(key)][:count] = value
        elif kind == "d_parameter":
            self.d_params[key][:count] += value
        elif kind == "d_input":
            self._of_rows(self.d_inputs, key, at)[...] += value
        else:
            assert kind == "carry", kind
            carries[key] = value.copy()
