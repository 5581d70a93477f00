"""A view of an ONNX graph: which node produces a tensor, which ones read it, what is constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto


class GraphView:
    """An index over a model's main graph; it does not follow later changes of the graph."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import numpy_helper

        graph = model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.constants: dict[str, NDArray[np.generic]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.producer: dict[str, NodeProto] = {name: node for node in self.nodes for name in node.output}
        self.inputs = [value.name for value in inputs_of(graph)]
        self.outputs = {value.name for value in graph.output}
        readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                readers[name].append(node)
        self._readers = dict(readers)

    def readers(self, tensor: str) -> list[NodeProto]:
        return self._readers.get(tensor, [])

    def activations(self, node: NodeProto) -> list[str]:
        """The inputs of `node` that are neither constant nor left out."""
        return [name for name in node.input if name and name not in self.constants]

    def only_reader(self, tensor: str, *op_types: str) -> NodeProto | None:
        """The one node that reads `tensor`, if it is of one of these types and nothing else needs the tensor."""
        readers = self.readers(tensor)
        if len(readers) == 1 and tensor not in self.outputs and readers[0].op_type in op_types:
            return readers[0]
        return None


def inputs_of(graph: GraphProto) -> list[ValueInfoProto]:
    """The inputs of a graph; old exporters list constants among them."""
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def attribute(node: NodeProto, name: str, default: object) -> object:
    from onnx import helper

    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph with all graphs in its nodes."""
    yield graph
    for node in graph.node:
        for item in node.attribute:
            for inner in (*item.graphs, *([item.g] if item.HasField("g") else [])):
                yield from graphs_of(inner)
