"""`GraphBuilder`: collects the nodes and constants of an ONNX graph."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from rondeau.export._errors import ExportError
from rondeau.export._text import shortened

__all__ = ["IR_VERSION", "OPSET", "GraphBuilder", "Value", "identifier", "import_onnx"]

OPSET, IR_VERSION = 22, 10
"""What ONNX Runtime 1.20 and later read; the defaults of the onnx package are ahead of many runtimes."""

_LARGEST_FILE = 2**31 - 1
"""Protobuf's limit of one message, in bytes."""


class Value(NamedTuple):
    """An input or an output of a graph: its name, its shape, and whether it is of float32 or of int64 or int32.

    A dimension that is known when the graph runs alone is a name.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: Any = np.float32


def import_onnx() -> Any:
    """Return the package `onnx`, or say how to install it."""
    try:
        import onnx
    except ImportError as error:
        raise ExportError(
            "ONNX files are written with the package onnx; "
            'in the clone of rondeau: python -m pip install -e ".[onnx]"'
        ) from error
    return onnx


def identifier(text: str) -> str:
    """Return a name of letters, digits and underscores of ASCII, which is what ONNX allows.

    Examples
    --------
    >>> identifier("recurrent.0"), identifier("0 'β'")
    ('recurrent_0', '_0____')
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", shortened(text))
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


class GraphBuilder:
    """Collects the nodes and constants of a graph, each under a name of its own.

    Examples
    --------
    >>> builder = GraphBuilder()
    >>> builder.node("Add", ["x", builder.constant(np.float32(1), "one")], "sum")
    'sum'
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._taken: set[str] = set()
        self._outputs: dict[str, str] = {}

    @property
    def weight_bytes(self) -> int:
        """What the constants take in memory."""
        return sum(array.nbytes for array in self._constants.values())

    def reserve(self, name: str) -> str:
        """Take a name, or one like it that is free."""
        name = free = identifier(name)
        number = 1
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free)
        return free

    def constant(self, array: Any, name: str) -> str:
        """Return the name of a constant; equal ones are kept once."""
        array = np.asarray(array, order="C")
        key = str(array.dtype), array.shape, array.tobytes()
        found = self._by_content.get(key)
        if found is None:
            found = self._by_content[key] = self.reserve(name)
            self._constants[found] = array
        return found

    @overload
    def node(
        self, op: str, inputs: Sequence[str], name: str, outputs: Literal[1] = 1, **attributes: Any
    ) -> str: ...
    @overload
    def node(
        self, op: str, inputs: Sequence[str], name: Sequence[str], outputs: None, **attributes: Any
    ) -> list[str]: ...
    def node(
        self, op: str, inputs: Sequence[str], name: Any, outputs: Any = 1, **attributes: Any
    ) -> str | list[str]:
        """Add a node, and return the name of its output; or, with ``outputs=None``, those of as many as `name` has."""
        names = [self.reserve(part) for part in ([name] if outputs == 1 else name)]
        self._nodes.append((op, list(inputs), names, attributes))
        return names[0] if outputs == 1 else names

    def finish(self, value: str, name: str) -> None:
        """Make a value an output of the graph, under a name that was reserved."""
        computed = {output for _, _, outputs, _ in self._nodes for output in outputs}
        if value not in computed or value in self._outputs:
            value = self.node("Identity", [value], f"{value}_again")
        self._outputs[value] = name

    def build(
        self, inputs: Sequence[Value], outputs: Sequence[Value], metadata: Mapping[str, str], text: str
    ) -> bytes:
        """Return the model as the bytes of a file.

        Raises
        ------
        ExportError
            If a file could not hold it.
        """
        if self.weight_bytes > _LARGEST_FILE - 2**20:
            raise ExportError(
                f"the weights take {self.weight_bytes:,} bytes, and a file of ONNX at most {_LARGEST_FILE:,}"
            )
        helper = import_onnx().helper

        def named(names: Sequence[str]) -> list[str]:
            return [self._outputs.get(name, name) for name in names]

        nodes = [
            helper.make_node(op, named(sources), named(results), name=f"node_{number}_{op}", **attributes)
            for number, (op, sources, results, attributes) in enumerate(self._nodes)
        ]
        infos = [
            [
                helper.make_tensor_value_info(
                    value.name, helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype)), value.shape
                )
                for value in values
            ]
            for values in (inputs, outputs)
        ]
        constants = [
            helper.make_tensor(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, _raw(array), raw=True
            )
            for name, array in self._constants.items()
        ]
        graph = helper.make_graph(nodes, "model", *infos, constants)
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="rondeau",
            doc_string=text,
        )
        helper.set_model_props(model, dict(metadata))
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def _raw(array: NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
