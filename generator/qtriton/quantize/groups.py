"""Layers with what a runtime fuses into them: what goes back to floating point goes back whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qtriton.quantize.batch import shapes_of_one
from qtriton.quantize.graph import GraphView

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: What works on each value by itself, so that runtimes compute it behind a layer while its result is at hand.
_FUSED: Final = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Mish"),
        *("Elu", "Selu", "Erf", "Gelu", "Add", "Sub", "Mul", "Div", "BatchNormalization"),
    }
)
#: What stands behind a node's name, or its output's, in the name that a runtime gives what it made of it.
_ENDS: Final = "_/ "


@dataclass(frozen=True)
class Group:
    """A layer and what is fused into it; tensors go by their names."""

    #: The outputs of its nodes.
    tensors: frozenset[str]
    #: What it reads and what others read of it.
    reads: frozenset[str]
    gives: frozenset[str]


def group_of(view: GraphView, layer: str) -> Group:
    """The group of the layer with that output: SiLU's Sigmoid and Mul behind a convolution, for one."""
    nodes, tensors = [view.producer[layer]], {layer}
    queue = [layer]
    while queue:
        for node in view.readers(queue.pop()):
            outputs = set(node.output)
            if node.op_type in _FUSED and not outputs & tensors and {*view.activations(node)} <= tensors:
                nodes.append(node)
                tensors |= outputs
                queue += sorted(outputs)
    reads = {name for node in nodes for name in view.activations(node)} - tensors
    readers = {name: view.readers(name) for name in tensors}
    gives = {
        name
        for name, nodes in readers.items()
        if name in view.outputs or any(n.output[0] not in tensors for n in nodes)
    }
    return Group(frozenset(tensors), frozenset(reads), frozenset(gives))


class Names:
    """Finds the nodes that the names of a runtime's layers were made of."""

    def __init__(self, view: GraphView) -> None:
        self._nodes: dict[str, NodeProto] = {}
        for node in view.nodes:
            for name in (node.name, *node.output):
                if name:
                    self._nodes.setdefault(name, node)

    def outputs(self, runtime_name: str) -> frozenset[str]:
        """The first outputs of the nodes that a layer, whose parts stand between " + ", was made of."""
        nodes = (self._node(part.strip()) for part in runtime_name.split(" + "))
        return frozenset(node.output[0] for node in nodes if node is not None)

    def _node(self, name: str) -> NodeProto | None:
        """The node with the longest name that this one begins with."""
        for end in range(len(name), 0, -1):
            if (end == len(name) or name[end] in _ENDS) and name[:end] in self._nodes:
                return self._nodes[name[:end]]
        return None


def sizes_of(model: ModelProto, tensors: Collection[str]) -> Mapping[str, int]:
    """How many values tensors have for one image; those whose shapes are not known are left out."""
    shapes = shapes_of_one(model)
    return {name: int(np.prod(shapes[name])) for name in tensors if name in shapes and all(shapes[name])}
