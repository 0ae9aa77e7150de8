"""`plot_graph`: the recorded graph as a matplotlib picture, where there is no Graphviz."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rondeau.tensor._autograd import Node, is_leaf_node
from rondeau.tensor._tensor import Tensor
from rondeau.tensor.graph import leaf_label, names_of_nodes, reachable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_graph"]

#: Passes that move each node towards the middle of its neighbours; the order of small graphs settles within a few.
SWEEPS = 12


def plot_graph(tensor: Tensor, ax: Axes | None = None, *, names: Mapping[str, Tensor] | None = None) -> Axes:
    r"""Draw the graph that a tensor was computed by, from its leaves on the left to the tensor on the right.

    Boxes are operations, rounded ones the leaves that gradients go to, with their value and gradient if they are
    single numbers. For graphs of up to some fifty nodes; `draw_graph` has Graphviz lay out larger ones.

    Parameters
    ----------
    tensor : Tensor
    ax : matplotlib Axes, optional
        Where to draw. Default: a new figure.
    names : mapping of str to Tensor, optional
        Names of leaves, e.g. ``dict(model.named_parameters())``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        For a tensor without a graph.
    ModuleNotFoundError
        Without matplotlib (the extra ``plot``).

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
    place = _places(nodes)
    labels = {node: _value_label(node, called) if is_leaf_node(node) else node.name for node in nodes}
    if ax is None:
        columns = max(x for x, _ in place.values()) + 1
        rows = 2 * max(abs(y) for _, y in place.values()) + 1
        longest = max(len(line) for label in labels.values() for line in label.splitlines())
        column_width = max(1.2, 0.5 + 0.085 * longest)  # inches: a label and an arrow's length
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
            # Two edges between the same nodes, as in x * x, part by their bend.
            bend = 0.15 * k if node.parents.count(parent) > 1 else 0.0
            # From the middle of one label's right side to that of the other's left side, less its box's padding.
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
                    "connectionstyle": f"arc3,rad={bend}",
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


def _places(nodes: list[Node]) -> dict[Node, tuple[float, float]]:
    """Return where nodes stand: in columns by the longest way to them, in an order that crosses few edges."""
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
    height = dict.fromkeys(nodes, 0.0)
    columns = [[n for n in nodes if column[n] == k] for k in range(max(column.values()) + 1)]
    for sweep in range(SWEEPS):
        for members in columns if sweep % 2 == 0 else reversed(columns):
            wanted = {}
            for node in members:
                near = [height[n] for n in (*node.parents, *users[node]) if n is not None]
                wanted[node] = sum(near) / len(near) if near else 0.0
            members.sort(key=wanted.__getitem__)
            _spread(members, wanted, height)
    return {node: (float(column[node]), height[node]) for node in nodes}


def _spread(members: list[Node], wanted: Mapping[Node, float], height: dict[Node, float]) -> None:
    """Set the heights of a column, in order, near what is wanted and one apart."""
    below = -float("inf")
    for node in members:
        below = max(wanted[node], below + 1)
        height[node] = below
    shift = sum(height[node] - wanted[node] for node in members) / len(members)
    for node in members:
        height[node] -= shift
