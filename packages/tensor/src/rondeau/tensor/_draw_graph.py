"""`draw_graph`: the recorded graph as Graphviz source."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor._graph import Node, is_leaf_node
from rondeau.tensor._tensor import Tensor
from rondeau.tensor.files import durable

__all__ = ["draw_graph"]


def draw_graph(
    tensor: Tensor, path: str | Path | None = None, *, names: Mapping[str, Tensor] | None = None
) -> str:
    r"""Return the graph of the computation of a tensor, as Graphviz source.

    Boxes are operations, and ellipses are the leaves that gradients flow to; edges run from an input to the operation
    that used it.

    Parameters
    ----------
    tensor : Tensor
    path : str or Path, optional
        The file to write: the source for a suffix of ``.dot`` or ``.gv``; ``.svg`` needs Graphviz's program ``dot``.
    names : mapping of str to Tensor, optional
        Names of leaves, for example ``dict(model.named_parameters())``.

    Returns
    -------
    str
        The source.

    Raises
    ------
    ValueError
        If the tensor has no graph, or the suffix is unknown.
    RuntimeError
        If the suffix is ``.svg`` and ``dot`` is not installed.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([1.0, 2.0], requires_grad=True)
    >>> print(rt.draw_graph((x * x).sum(), names={"x": x}))
    digraph {
        rankdir=LR
        n0 [label="x\nfloat32 (2)" shape=ellipse]
        n1 [label="mul" shape=box]
        n2 [label="sum" shape=box]
        n0 -> n1
        n0 -> n1
        n1 -> n2
    }
    """
    nodes = reachable(tensor)
    called = names_of_nodes(names)
    number = {node: f"n{i}" for i, node in enumerate(nodes)}
    lines = ["digraph {", "    rankdir=LR"]
    for node in nodes:
        if is_leaf_node(node):
            label, shape = _escaped(leaf_label(node, called)), "ellipse"
        else:
            label, shape = node.name, "box"
        lines.append(f'    {number[node]} [label="{label}" shape={shape}]')
    lines += [
        f"    {number[parent]} -> {number[node]}"
        for node in nodes
        for parent in node.parents
        if parent is not None
    ]
    source = "\n".join([*lines, "}"])
    if path is not None:
        _write(source, Path(path))
    return source


def reachable(tensor: Tensor) -> list[Node]:
    """Return all nodes of a tensor's graph, oldest first; raise ValueError if it has none."""
    if tensor.grad_fn is None and not tensor.requires_grad:
        raise ArgumentValueError(
            "there is no graph to draw: the tensor was not computed from anything that requires gradients"
        )
    assert tensor._node is not None
    seen = {tensor._node}
    stack = [tensor._node]
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.number)


def names_of_nodes(names: Mapping[str, Tensor] | None) -> dict[Node, str]:
    """Return the names of leaves, by their nodes."""
    return {t._node: name for name, t in (names or {}).items() if t._node is not None}


def leaf_label(node: Node, called: Mapping[Node, str]) -> str:
    """Return a leaf's name and, if its tensor is still alive, its dtype and shape on a second line."""
    tensor = node.holder() if node.holder is not None else None
    name = called.get(node, "leaf")
    return name if tensor is None else f"{name}\n{tensor.dtype} ({', '.join(map(str, tensor.shape))})"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _write(source: str, path: Path) -> None:
    if path.suffix in (".dot", ".gv"):
        durable.save_file(path, f"{source}\n".encode())
    elif path.suffix == ".svg":
        program = shutil.which("dot")
        if program is None:
            raise RuntimeError(
                "writing SVG needs the program 'dot' of Graphviz (graphviz.org), which is not installed: "
                "install it, or write the source to a .dot file"
            )
        subprocess.run([program, "-Tsvg", "-o", str(path)], input=source, text=True, check=True)
    else:
        raise ArgumentValueError(f"expected a path that ends in .dot, .gv or .svg, got {path}")
