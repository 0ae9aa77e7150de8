"""`plot_graph`: the recorded graph as a matplotlib drawing, without Graphviz."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from rondeau.tensor._draw_graph import leaf_label, names_of_nodes, reachable
from rondeau.tensor._graph import Node, is_leaf_node
from rondeau.tensor._tensor import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

#: An item that has a place in a column: a node, or the edges of a node that pass through the column of that number.
Item: TypeAlias = Node | tuple[Node, int]

__all__ = ["plot_graph"]

#: Passes that move each node towards the middle of its neighbours; the order of small graphs settles within a few.
SWEEPS = 12


def plot_graph(tensor: Tensor, ax: Axes | None = None, *, names: Mapping[str, Tensor] | None = None) -> Axes:
    r"""Draw the graph of the computation of a tensor, from its leaves on the left to the tensor on the right.

    Boxes are operations; rounded boxes are the leaves that gradients flow to, with value and gradient if they are
    single numbers. For graphs of up to about fifty nodes; `draw_graph` has Graphviz lay out larger ones.

    Parameters
    ----------
    tensor : Tensor
    ax : matplotlib Axes, optional
        Where to draw; by default in a new figure.
    names : mapping of str to Tensor, optional
        Names of leaves, for example ``dict(model.named_parameters())``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the tensor has no graph.
    ModuleNotFoundError
        If matplotlib (the extra ``plot``) is not installed.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([1.0, 2.0], requires_grad=True)
    >>> ax = rt.plot_graph((x * x).sum(), names={"x": x})
    >>> [text.get_text() for text in ax.texts if text.get_text()]
    ['x\nfloat32 (2)', 'mul', 'sum']
    """
    import matplotlib.pyplot as plt

    nodes = reachable(tensor)
    called = names_of_nodes(names)
    place, ways = _places(nodes)
    labels = {node: _value_label(node, called) if is_leaf_node(node) else node.name for node in nodes}
    if ax is None:
        columns = max(x for x, _ in place.values()) + 1
        rows = max(y for _, y in place.values()) - min(y for _, y in place.values()) + 1
        longest = max(len(line) for label in labels.values() for line in label.splitlines())
        column_width = max(1.2, 0.5 + 0.085 * longest)  # inches: a label and an arrow
        _, ax = plt.subplots(figsize=(column_width * columns + 0.6, 0.75 * rows + 0.4), layout="constrained")
    boxes = {}
    for node in nodes:
        is_leaf = is_leaf_node(node)
        boxes[node] = ax.text(
            *place[node],
            labels[node],
            ha="center",
            va="center",
            fontsize=9,
            color="black",
            bbox={
                "boxstyle": "round,pad=0.4" if is_leaf else "square,pad=0.4",
                "facecolor": "#cfe3f5" if is_leaf else "#f2f2f2",
                "edgecolor": "#40566b",
            },
        )
        for k, parent in enumerate(parent for parent in node.parents if parent is not None):
            # Two edges between the same nodes, as in x * x, differ in their curvature.
            bend = 0.15 * k if node.parents.count(parent) > 1 else 0.0
            # From the middle of the right side of one label to the left side of the other, minus its box's padding.
            ax.annotate(
                "",
                xy=(0, 0.5),
                xycoords=boxes[node],
                xytext=(1, 0.5),
                textcoords=boxes[parent],
                zorder=0,
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": "#7a8a99",
                    "shrinkA": 4,
                    "shrinkB": 4,
                    "connectionstyle": _through(ax, way)
                    if (way := ways[parent, node])
                    else f"arc3,rad={bend}",
                },
            )
    ax.set_xlim(-0.6, max(x for x, _ in place.values()) + 0.6)
    # The first leaf on top.
    ax.set_ylim(max(y for _, y in place.values()) + 0.6, min(y for _, y in place.values()) - 0.6)
    ax.set_axis_off()
    return ax


def _value_label(node: Node, called: Mapping[Node, str]) -> str:
    """Return a leaf's label, with its value and gradient if it is a single number."""
    tensor = node.holder() if node.holder is not None else None
    if tensor is None or tensor.ndim > 0:
        return leaf_label(node, called)
    label = f"{called.get(node, 'leaf')} = {tensor.item():.4g}"
    return label if tensor.grad is None else f"{label}\ngrad {tensor.grad.item():.4g}"


def _through(ax: Axes, way: Sequence[tuple[float, float]]) -> Callable[..., Path]:
    """Return the style of an edge through these points, horizontal at each of them and at its ends."""
    from matplotlib.path import Path

    def style(
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        shrinkA: float,
        shrinkB: float,
        **patches: object,
    ) -> Path:
        start, end = (start[0] + shrinkA, start[1]), (end[0] - shrinkB, end[1])
        corners, kinds = [start], [Path.MOVETO]
        for (x0, y0), (x1, y1) in itertools.pairwise([start, *ax.transData.transform(way), end]):
            corners += [((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1), (x1, y1)]
            kinds += [Path.CURVE4] * 3
        return Path(corners, kinds)

    return style


def _places(
    nodes: list[Node],
) -> tuple[dict[Item, tuple[float, float]], dict[tuple[Node, Node], list[tuple[float, float]]]]:
    """Return the positions of nodes, in columns by the longest path to them, and the points that each edge passes.

    The order within a column avoids most crossings of edges. An edge has its own place in the columns between its ends,
    which keeps it away from the boxes there; edges from the same node share it.
    """
    users: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for parent in node.parents:
            if parent is not None:
                users[parent].append(node)
    column: dict[Node, int] = {}
    for node in nodes:
        column[node] = max((column[p] + 1 for p in node.parents if p is not None), default=0)
    for node in nodes:
        if is_leaf_node(node) and users[node]:
            column[node] = min(column[user] for user in users[node]) - 1
    neighbours: dict[Item, list[Item]] = {node: [] for node in nodes}
    ways: dict[tuple[Node, Node], list[Item]] = {}
    for node in nodes:
        for parent in node.parents:
            if parent is not None:
                way: list[Item] = [(parent, k) for k in range(column[parent] + 1, column[node])]
                ways[parent, node] = way
                for one, other in itertools.pairwise([parent, *way, node]):
                    neighbours.setdefault(one, []).append(other)
                    neighbours.setdefault(other, []).append(one)
    height = dict.fromkeys(neighbours, 0.0)
    where = {item: item[1] if isinstance(item, tuple) else column[item] for item in neighbours}
    columns = [[item for item in neighbours if where[item] == k] for k in range(max(where.values()) + 1)]
    for sweep in range(SWEEPS):
        for members in columns if sweep % 2 == 0 else reversed(columns):
            wanted = {}
            for item in members:
                near = [height[other] for other in neighbours[item]]
                wanted[item] = sum(near) / len(near) if near else 0.0
            members.sort(key=wanted.__getitem__)
            _spread(members, wanted, height)
    place = {item: (float(where[item]), height[item]) for item in neighbours}
    return place, {edge: [place[item] for item in way] for edge, way in ways.items()}


def _spread(members: list[Item], wanted: Mapping[Item, float], height: dict[Item, float]) -> None:
    """Set the heights of a column's items, in order, near the wanted ones and at least one apart."""
    below = -float("inf")
    for item in members:
        below = max(wanted[item], below + 1)
        height[item] = below
    shift = sum(height[item] - wanted[item] for item in members) / len(members)
    for item in members:
        height[item] -= shift
