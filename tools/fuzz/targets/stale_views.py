"""Programs of views, changes in place and switched-off recording: every gradient that comes back is the right one.

What is right is computed forwards. A memory holds numbers, a history the derivative of each of them by every element
of every leaf; a view is an array of places in both. A recorded change writes both, one under `no_grad` the numbers
alone. The library may refuse a step or a backward, clearly, and must never return another number.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn, train
from rondeau import tensor as rt

from ..drawing import Draw
from ..verdict import Refused, attempt, check_close

Array = NDArray[Any]

_DIRECTIONS = 160
"""How many elements of leaves, and of tensors that retain their gradients, a program may have."""
_SHAPES = ((2, 3), (3,), (4,), (3, 2), (2, 2), (1, 3))
_TOLERANCE = 1e-9
_SCALE = 1.0


@dataclass(eq=False)
class Shown:
    """A tensor of the library, and what it should be.

    Attributes
    ----------
    ours : Tensor
    numbers : ndarray
        Of its memory, flat.
    history : ndarray
        (cells, directions): the derivative of every number by every direction, for this tensor and its family.
    cells : ndarray of int
        Which of them it shows.
    base : Shown or None
        Of a view that follows its base.
    is_constant : bool
        Whether it was taken under `no_grad`.
    directions : slice or None
        Those of its own elements: of a leaf, or while it retains its gradient.
    as_leaf : (ndarray, slice) or None
        The history and directions of a leaf that does not require gradients now.
    """

    ours: Any
    numbers: Array
    history: Array
    cells: Array
    base: Shown | None = None
    is_constant: bool = False
    directions: slice | None = None
    as_leaf: tuple[Array, slice] | None = None

    @property
    def values(self) -> Array:
        """Its elements."""
        return np.asarray(self.numbers[self.cells])

    @property
    def rows(self) -> Array:
        """The derivatives of its elements."""
        return np.asarray(self.history[self.cells] * (not self.is_constant))


def _made(ours: Any, values: Array, rows: Array) -> Shown:
    """Return a tensor with memory of its own."""
    cells = np.arange(values.size).reshape(values.shape)
    return Shown(ours, values.reshape(-1).copy(), rows.reshape(-1, _DIRECTIONS).copy(), cells)


class _Program:
    """One program while it runs."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.pool: list[Shown] = []
        self.used = 0

    def run(self) -> None:
        draw = self.draw
        draw.open = "a history that would need the values of an earlier time"
        self.leaf()
        self.leaf()
        steps: tuple[Callable[[], None], ...] = (self.leaf, self.view, self.operation, self.change)
        rare = (self.detach, self.require, self.retain, self.optimise, self.backward)
        for _ in range(draw.random.randint(4, 14)):
            draw.random.choices((*steps, *rare), (1, 7, 5, 7, 1, 0.5, 1, 0.7, 0.7))[0]()
            for i, shown in enumerate(self.pool):
                check_close(f"t{i}", shown.ours, shown.values, np.float64, tolerance=_TOLERANCE, least=_SCALE)
        for shown in tuple(self.pool):
            self.check(shown)

    # ------------------------------------------------------------------------------------------------- steps

    def call(self, text: str, function: Callable[[], Any], *, off: bool = False) -> Any:
        """Run a step of the library, under `no_grad` if `off`."""
        self.draw.note("step", f"{text} under no_grad" if off else text)
        with rt.no_grad() if off else nullcontext():
            return attempt(self.draw, function, last=False)

    def name(self, shown: Shown) -> str:
        return f"t{self.pool.index(shown)}"

    def any(self, fits: Callable[[Shown], bool] = lambda shown: True) -> Shown | None:
        """Return a tensor of the last few, or of all."""
        found = [shown for shown in self.pool if fits(shown)]
        recent = found[-3:] if self.draw.chance(0.7) else found
        return self.draw.choose(recent) if recent else None

    def new_directions(self, shown: Shown) -> None:
        """Let the elements of `shown` be what is differentiated by."""
        self.used += shown.cells.size
        shown.directions = slice(self.used - shown.cells.size, self.used)
        shown.history[shown.cells, shown.directions] = np.eye(shown.cells.size).reshape(
            (*shown.cells.shape, shown.cells.size)
        )

    def has_room(self, shown: Shown) -> bool:
        return self.used + shown.cells.size <= _DIRECTIONS

    def leaf(self) -> None:
        shape = self.draw.choose(_SHAPES)
        values = self.draw.normal(shape, np.float64).round(2)
        laid = np.asfortranarray(values) if self.draw.chance(0.2) else values
        requires = self.draw.chance(0.6) and self.used + values.size <= _DIRECTIONS
        shown = _made(
            self.call(
                f"rt.Tensor({values.tolist()}, {requires})", lambda: rt.Tensor(laid.copy("K"), requires)
            ),
            values,
            np.zeros((*shape, _DIRECTIONS)),
        )
        if requires:
            self.new_directions(shown)
        self.pool.append(shown)

    def view(self) -> None:
        source = self.any()
        assert source is not None
        show, text = self.drawn_view(source.cells.shape)
        off = self.draw.chance(0.15)
        ours = self.call(f"t{len(self.pool)} = {self.name(source)}{text}", lambda: show(source.ours), off=off)
        if not np.shares_memory(
            ours.detach().numpy(), source.ours.detach().numpy()
        ):  # a reshape that had to copy
            rows = np.zeros((*ours.shape, _DIRECTIONS)) if off else self.shown_rows(source, show)
            self.pool.append(_made(ours, show(source.values), rows))
            return
        base = None if off or source.is_constant else source.base or source
        constant = off or source.is_constant
        self.pool.append(Shown(ours, source.numbers, source.history, show(source.cells), base, constant))

    def shown_rows(self, source: Shown, show: Callable[[Any], Any]) -> Array:
        return np.stack([show(source.rows[..., k]) for k in range(_DIRECTIONS)], -1)

    def drawn_view(self, shape: tuple[int, ...]) -> tuple[Callable[[Any], Any], str]:
        draw = self.draw
        kind = draw.choose(("part", "row", "reshape", "transpose", "expand", "unsqueeze"))
        if kind == "part" and shape:
            first = draw.random.randrange(shape[0])
            part = slice(first, draw.random.randint(first + 1, shape[0]), draw.choose((1, 2)))
            index: Any = draw.choose((part, (..., slice(None, None, 2))))
            return lambda x: x[index], f"[{index}]"
        if kind == "row" and shape:
            index = draw.choose((0, -1, (Ellipsis, 0)))
            return lambda x: x[index], f"[{index}]"
        if kind == "transpose":
            return lambda x: x.T, ".T"
        if kind == "expand" and len(shape) < 2:
            return lambda x: np.broadcast_to(x, (2, *shape)), f".expand(2, {shape})"
        if kind == "unsqueeze":
            return lambda x: x[None], "[None]"
        size = int(np.prod(shape))
        new = draw.choose(((size,), (1, size), (size, 1), shape))
        return lambda x: x.reshape(new), f".reshape({new})"

    def operation(self) -> None:
        """Compute something new."""
        draw, a = self.draw, self.any()
        assert a is not None
        b = self.any(lambda shown: shown.cells.shape == a.cells.shape)
        assert b is not None
        off = draw.chance(0.15)
        kind = draw.choose(("*", "+", "tanh", "exp", "sum", "stack", "clone"))
        x, y, dx, dy = a.values, b.values, a.rows, b.rows
        results: dict[str, tuple[Callable[[], Any], Array, Array]] = {
            "*": (lambda: a.ours * b.ours, x * y, dx * y[..., None] + dy * x[..., None]),
            "+": (lambda: a.ours + b.ours, x + y, dx + dy),
            "tanh": (a.ours.tanh, np.tanh(x), dx * (1 - np.tanh(x) ** 2)[..., None]),
            "exp": (lambda: (a.ours * 0.1).exp(), np.exp(x * 0.1), dx * 0.1 * np.exp(x * 0.1)[..., None]),
            "sum": (a.ours.sum, x.sum(keepdims=False), dx.reshape(-1, _DIRECTIONS).sum(0)),
            "stack": (lambda: rt.stack([a.ours, b.ours]), np.stack([x, y]), np.stack([dx, dy])),
            "clone": (a.ours.clone, x, dx),
        }
        if kind == "stack" and len(x.shape) > 2:
            kind = "clone"
        ours, values, rows = results[kind]
        text = f"t{len(self.pool)} = {kind} of {self.name(a)}, {self.name(b)}"
        self.pool.append(_made(self.call(text, ours, off=off), np.asarray(values), rows * (not off)))

    def change(self) -> None:
        """Change something in place."""
        draw, a = self.draw, self.any()
        assert a is not None
        b = self.any(lambda shown: shown.cells.shape == a.cells.shape)
        row = self.any(lambda shown: shown.cells.shape == a.cells.shape[1:]) if a.cells.ndim else None
        assert b is not None
        off = draw.chance(0.15) or (a.ours.is_leaf and a.ours.requires_grad)
        x, y, dx, dy = a.values, b.values, a.rows, b.rows
        if b is not a and np.shares_memory(a.ours.detach().numpy(), b.ours.detach().numpy()):
            draw.note("operand", "a clone")
            b = _made(b.ours.clone() if not off else b.ours.detach().clone(), y, dy)
        changes: dict[str, tuple[Callable[[], Any], Array, Array]] = {
            "mul_(2)": (lambda: a.ours.mul_(2), x * 2, dx * 2),
            "mul_": (lambda: a.ours.mul_(b.ours), x * y, dx * y[..., None] + dy * x[..., None]),
            "add_": (lambda: a.ours.add_(b.ours), x + y, dx + dy),
            "copy_": (lambda: a.ours.copy_(b.ours), y, dy),
            "tanh_": (lambda: a.ours.tanh_(), np.tanh(x), dx * (1 - np.tanh(x) ** 2)[..., None]),
            "zero_": (lambda: a.ours.zero_(), x * 0, dx * 0),
        }
        kind = draw.choose(tuple(changes))
        if (
            row is not None
            and x.size
            and not np.shares_memory(a.ours.detach().numpy(), row.ours.detach().numpy())
            and draw.chance(0.2)
        ):
            at = draw.random.randrange(len(x))
            kind = f"[{at}] = {self.name(row)}"
            values, rows = x.copy(), dx.copy()
            values[at], rows[at] = row.values, row.rows
            changes[kind] = (lambda: a.ours.__setitem__(at, row.ours), values, rows)
        function, values, rows = changes[kind]
        other = self.name(b) if b in self.pool else "a clone"
        self.call(f"{self.name(a)}.{kind} of {other}", function, off=off)
        a.numbers[a.cells] = values
        recorded = not off and not a.is_constant
        if recorded:
            a.history[a.cells] = rows
        self.follow(a, recorded)

    def follow(self, changed: Shown, recorded: bool) -> None:
        """Look again at every view of the memory that changed, and go on with what retains its gradient."""
        same = [shown for shown in self.pool if shown.numbers is changed.numbers]
        for shown in same:
            if shown.base is not None and shown.base.ours.requires_grad:
                shown.history, shown.directions = shown.base.history, None
        for shown in same:
            its_own = recorded and shown.history is changed.history
            if its_own and shown.directions is not None and not shown.ours.is_leaf:
                if self.has_room(shown):
                    self.new_directions(shown)
                else:
                    raise Refused

    def detach(self) -> None:
        shown = self.any()
        assert shown is not None
        retains = shown.directions is not None and not shown.ours.is_leaf
        if shown.base is None and not shown.is_constant and not retains and self.draw.chance(0.3):
            if shown.directions is not None:
                shown.as_leaf = shown.history, shown.directions
            required = shown.ours.requires_grad
            self.call(f"{self.name(shown)}.detach_()", shown.ours.detach_)
            if required:
                shown.history, shown.directions = np.zeros_like(shown.history), None
            return
        ours = self.call(f"t{len(self.pool)} = {self.name(shown)}.detach()", shown.ours.detach)
        self.pool.append(Shown(ours, shown.numbers, np.zeros_like(shown.history), shown.cells))

    def require(self) -> None:
        shown = self.any(lambda shown: not shown.ours.requires_grad and self.has_room(shown))
        if shown is None or shown.is_constant or len(np.unique(shown.cells)) < shown.cells.size:
            return
        self.call(f"{self.name(shown)}.requires_grad_()", shown.ours.requires_grad_)
        if shown.as_leaf is not None:
            shown.history, shown.directions = shown.as_leaf
            return
        shown.history = np.zeros_like(shown.history)
        self.new_directions(shown)

    def retain(self) -> None:
        """Compute something and let it retain its gradient: uses that are older had no direction for it."""
        self.operation()
        shown = self.pool[-1]
        computed = shown.ours.requires_grad and not shown.ours.is_leaf
        if computed and shown.base is None and not shown.is_constant and self.has_room(shown):
            self.call(f"{self.name(shown)}.retain_grad()", shown.ours.retain_grad)
            self.new_directions(shown)

    def optimise(self) -> None:
        leaves = [shown for shown in self.pool if shown.ours.requires_grad and shown.ours.is_leaf]
        if not leaves:
            return
        for shown in leaves:
            shown.ours.grad = rt.ones_like(shown.ours)
        kind = self.draw.choose((train.optim.SGD, train.optim.Adam, train.optim.Adagrad, train.optim.RMSprop))
        nn.utils.clip_grad_norm_([shown.ours for shown in leaves], 0.5)
        self.call(f"{kind.__name__}.step()", kind([shown.ours for shown in leaves], lr=0.1).step)
        for shown in leaves:
            shown.numbers[shown.cells] = shown.ours.detach().numpy()
            self.follow(shown, recorded=False)

    # ------------------------------------------------------------------------------------------- what comes back

    def backward(self) -> None:
        shown = self.any(lambda shown: shown.ours.requires_grad)
        if shown is not None:
            self.compare(shown, retain_graph=self.draw.chance(0.7))

    def check(self, shown: Shown) -> None:
        if shown.ours.requires_grad:
            try:
                self.compare(shown, retain_graph=True)
            except Refused:
                return

    def compare(self, shown: Shown, retain_graph: bool) -> None:
        """Propagate a drawn gradient back from `shown`, and compare what arrives."""
        weights = self.draw.normal(shown.cells.shape, np.float64)
        for other in self.pool:
            other.ours.grad = None
        self.call(
            f"{self.name(shown)}.backward(..., {retain_graph})",
            lambda: shown.ours.backward(rt.Tensor(weights), retain_graph=retain_graph),
        )
        wanted = np.tensordot(weights, shown.rows, shown.cells.ndim)
        for i, other in enumerate(self.pool):
            if other.directions is not None and other.ours.requires_grad:
                found = other.ours.grad
                check_close(
                    f"gradient of t{i}",
                    np.zeros(other.cells.shape) if found is None else found,
                    wanted[other.directions].reshape(other.cells.shape),
                    np.float64,
                    tolerance=_TOLERANCE,
                    least=_SCALE,
                )


def stale_views(draw: Draw) -> None:
    """Run a program, and compare every gradient of it."""
    _Program(draw).run()
