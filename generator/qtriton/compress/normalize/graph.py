"""The graph that rewrites work on: every shape is known, and new tensors get names that nothing else has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto, NodeProto

#: The names of the domain of ONNX's own operations.
ONNX_DOMAINS: Final = ("", "ai.onnx")


class Graph:
    """An index over a model of one fixed input shape."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import numpy_helper

        self.model = _with_shapes(model)
        graph = self.model.graph
        self.opset = opset_of(model)
        self.constants: dict[str, NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self._shapes = {name: array.shape for name, array in self.constants.items()}
        self._types = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
        for value in (*graph.value_info, *graph.input, *graph.output):
            self._types[value.name] = value.type.tensor_type.elem_type
            if value.type.tensor_type.HasField("shape"):
                self._shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        self._names = {name for node in graph.node for name in (*node.input, *node.output)} | set(self._shapes)

    def shape(self, name: str, node: NodeProto) -> tuple[int, ...]:
        """The sizes of a tensor that `node` reads or writes.

        Raises:
            ConversionError: they depend on what is in the image.
        """
        shape = self._shapes.get(name)
        if shape is None or not all(shape):
            raise ConversionError(f"{describe(node)}: the shape of tensor {name} is not known in advance")
        return shape

    def datatype(self, name: str) -> int:
        """ONNX's number of the datatype of a tensor; 0 where it is unknown."""
        return self._types.get(name, 0)

    def constant(self, node: NodeProto, index: int) -> NDArray[Any] | None:
        """The constant that `node` reads as its input number `index`; none where that is left out or computed."""
        return self.constants.get(node.input[index]) if has_input(node, index) else None

    def fresh(self, base: str) -> str:
        """`base`, or a name like it that nothing in the graph has."""
        name, count = base, 1
        while name in self._names:
            name, count = f"{base}_{count}", count + 1
        self._names.add(name)
        return name

    def add_constant(self, array: NDArray[Any], base: str) -> str:
        """The name of a new initializer."""
        from onnx import numpy_helper

        name = self.fresh(base)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        self.constants[name], self._shapes[name] = array, array.shape
        return name


def _with_shapes(model: ModelProto) -> ModelProto:
    """The same model with the shapes of all tensors, as far as ONNX infers them, and beyond GroupNormalization."""
    import onnx

    inferred: ModelProto = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = inferred.graph
    known = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    missing = [
        node
        for node in graph.node
        if node.op_type == "GroupNormalization" and node.input[0] in known and node.output[0] not in known
    ]
    for node in missing:
        value = graph.value_info.add()
        value.CopyFrom(known[node.input[0]])
        value.name = node.output[0]
    return _with_shapes(inferred) if missing else inferred


class Replacement:
    """The nodes that replace a node, in order; calling it adds one and returns the name of its output."""

    def __init__(self, graph: Graph, node: NodeProto) -> None:
        self._graph, self._node = graph, node
        self.nodes: list[NodeProto] = []

    def __call__(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with an output of its own."""
        output = self._graph.fresh(f"{self._node.output[0]}_{op_type.lower()}")
        self._add(op_type, inputs, [output], attributes)
        return output

    def result(self, op_type: str, *inputs: str, **attributes: Any) -> Sequence[NodeProto]:
        """Add the node that writes what the replaced node wrote; returns all nodes."""
        self._add(op_type, inputs, list(self._node.output), attributes)
        return self.nodes

    def ending_with(self, name: str) -> Sequence[NodeProto]:
        """All nodes, where `name` is what the replaced node gave."""
        if not self.nodes or self.nodes[-1].output[0] != name:
            return self.result("Identity", name)
        self.nodes[-1].output[:] = self._node.output
        self.nodes[-1].name = self._node.output[0]
        return self.nodes

    def constant(self, value: object, dtype: Any = np.float32) -> str:
        """The name of a new constant."""
        return self._graph.add_constant(np.asarray(value, dtype), f"{self._node.output[0]}_constant")

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """A tensor in another shape."""
        return self("Reshape", name, self.constant(shape, np.int64))

    def _add(self, op_type: str, inputs: Sequence[str], outputs: list[str], attributes: dict[str, Any]) -> None:
        from onnx import helper

        while outputs[-1] == "":
            outputs.pop()
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, name=outputs[0], **attributes))


def opset_of(model: ModelProto) -> int:
    """The opset of ONNX's own operations."""
    return max((item.version for item in model.opset_import if item.domain in ONNX_DOMAINS), default=0)


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Name and value of every attribute that is written down."""
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def has_input(node: NodeProto, index: int) -> bool:
    """Whether input number `index` is there; trailing ones can be left out, and any can be empty."""
    return len(node.input) > index and bool(node.input[index])


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Write an attribute down, in place of what is there; None removes it."""
    from onnx import helper

    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend(kept if value is None else [*kept, helper.make_attribute(name, value)])


def describe(node: NodeProto) -> str:
    """An operation as a person looks for it in a viewer."""
    return f"{node.op_type} (node {node.name or node.output[0]})"
