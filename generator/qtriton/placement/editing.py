"""An ONNX graph that nodes are added to: the shapes of its tensors, who makes them, and new names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qtriton.compress.normalize.graph import opset_of
from qtriton.fresh_names import FreshNames
from qtriton.placement.shapes import batched_shapes
from qtriton.quantize.graph import GraphView, attribute, graphs_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

#: Since this opset the axes of ReduceMax are an input.
_AXES_ARE_INPUT: Final = 18
#: Sizes of a tensor, -1 where one is free; none where they are unknown.
Shape = tuple[int, ...] | None


def free_output(model: ModelProto, output: str) -> str:
    """Rename the tensor of an output, and the output with it, so that what is made of it can have its name."""
    new = FreshNames(model).fresh(f"{output}_whole")
    read_instead(model.graph, output, new)
    for node in model.graph.node:
        node.output[:] = [new if name == output else name for name in node.output]
    for value in model.graph.output:
        value.name = new if value.name == output else value.name
    return new


def read_instead(graph: GraphProto, tensor: str, other: str) -> None:
    """Let whatever reads a tensor read another one, in the graphs within nodes, as those of If, too."""
    for each in graphs_of(graph):
        for node in each.node:
            node.input[:] = [other if name == tensor else name for name in node.input]


class Editor:
    """Adds nodes to a model of opset 13 or later, which `finish` writes into it."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.view = GraphView(model)
        self._shapes = batched_shapes(model)
        self._names = FreshNames(model)
        self._added: list[NodeProto] = []

    def shape(self, tensor: str) -> Shape:
        """The sizes of a tensor of the model as it was; none where they are unknown, or do not begin with the batch."""
        constant = self.view.constants.get(tensor)
        return self._shapes.get(tensor) if constant is None else constant.shape

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that makes a tensor of the model as it was; none of an input or a constant."""
        return None if tensor in self.view.constants else self.view.producer.get(tensor)

    def add(self, op_type: str, inputs: Sequence[str], like: str, **attributes: Any) -> str:
        """Add a node; the name of its output, which resembles that of another tensor."""
        return self.add_split(op_type, inputs, (like,), **attributes)[0]

    def add_split(self, op_type: str, inputs: Sequence[str], like: Sequence[str], **attributes: Any) -> list[str]:
        """Add a node with as many outputs as names to resemble."""
        from onnx import helper

        outputs = [self._names.fresh(f"{name}_placed") for name in like]
        self._added.append(helper.make_node(op_type, list(inputs), outputs, name=outputs[0], **attributes))
        return outputs

    def constant(self, value: object, like: str, dtype: Any = np.int64) -> str:
        """The name of a new constant."""
        return self.named_constant(np.asarray(value, dtype), self._names.fresh(f"{like}_constant"))

    def named_constant(self, array: np.ndarray[Any, Any], name: str) -> str:
        """A new constant of a name that nothing has."""
        from onnx import numpy_helper

        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def reduce_max(self, tensor: str, axis: int) -> str:
        """The largest number along an axis, which goes."""
        if opset_of(self.model) < _AXES_ARE_INPUT:
            return self.add("ReduceMax", [tensor], tensor, axes=[axis], keepdims=0)
        return self.add("ReduceMax", [tensor, self.constant([axis], tensor)], tensor, keepdims=0)

    def give(self, tensor: str, whole: str, output: str, sizes: Sequence[int]) -> None:
        """Make a tensor that was added the output of that name, in place of the whole.

        Sizes are those behind the batch, -1 where one is free.
        """
        (value,) = (each for each in self.model.graph.output if each.name == whole)
        (node,) = (each for each in self._added if tensor in each.output)
        node.output[list(node.output).index(tensor)] = value.name = output
        kind = value.type.tensor_type
        del kind.shape.dim[1:]
        for place, size in enumerate(sizes):
            dim = kind.shape.dim.add()
            if size < 0:
                dim.dim_param = f"{output}_{place}"
            else:
                dim.dim_value = size

    def finish(self) -> None:
        """Write the nodes into the model."""
        self.model.graph.node.extend(self._added)
        tidy(self.model)


def state_reshapes(model: ModelProto) -> None:
    """Write down the shape that a Reshape gives, where the model computes it from its batch."""
    from onnx import numpy_helper

    shapes, view, names = batched_shapes(model), GraphView(model), FreshNames(model)
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] in view.constants:
            continue
        before, behind = shapes.get(node.input[0]), shapes.get(node.output[0])
        if before is not None and behind is not None and attribute(node, "allowzero", 0) == 0:
            name = names.fresh(f"{node.output[0]}_shape")
            model.graph.initializer.append(numpy_helper.from_array(np.array([0, *behind[1:]], np.int64), name))
            node.input[1] = name
    tidy(model)


def tidy(model: ModelProto) -> None:
    """Put the nodes in an order that runs, without those, and constants, that no output needs."""
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    ordered: dict[int, NodeProto] = {}
    stack = [(producer[value.name], False) for value in reversed(graph.output) if value.name in producer]
    while stack:
        node, ready = stack.pop()
        if id(node) in ordered:
            continue
        if ready:
            ordered[id(node)] = node
            continue
        stack.append((node, True))
        stack += [(producer[name], False) for name in (*node.input, *_outer(node)) if name in producer]
    kept = list(ordered.values())
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in (*node.input, *_outer(node))} | {each.name for each in graph.output}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]


def _outer(node: NodeProto) -> list[str]:
    """What the graphs within a node, as those of If, read of the graph around it, and more."""
    inner = [each.g for each in node.attribute if each.HasField("g")]
    return [name for graph in inner for each in graph.node for name in (*each.input, *_outer(each))]
