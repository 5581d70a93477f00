"""Models of all opsets in that of opset 13, whose forms x2paddle reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtriton.compress.normalize.graph import attributes_of, describe, opset_of
from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto, ValueInfoProto

#: What the graph that x2paddle reads is written in.
OPSET: Final = 13


def upgrade(model: ModelProto, opset: int) -> ModelProto:
    """The same model in `opset` at least, by ONNX's own converter."""
    import onnx

    return model if opset_of(model) >= opset else onnx.version_converter.convert_version(model, opset)


def with_output_shapes(model: ModelProto) -> ModelProto:
    """The same model with a shape at every output, of free sizes maybe: ONNX's converter and onnxsim insist on one."""
    import onnx
    import onnxruntime

    if _shapeless(model):
        model = onnx.shape_inference.infer_shapes(model)
    if not _shapeless(model):
        return model
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = {output.name: output.shape for output in session.get_outputs()}
    for value in _shapeless(model):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, shapes[value.name]))
    return model


def _shapeless(model: ModelProto) -> list[ValueInfoProto]:
    return [value for value in model.graph.output if not value.type.tensor_type.HasField("shape")]


def inline(model: ModelProto) -> ModelProto:
    """The same model with its own functions written out, and without subordinate names for ONNX's domain."""
    import onnx.inliner

    return onnx.inliner.inline_local_functions(model) if model.functions else model


def constants_to_initializers(model: ModelProto) -> None:
    """Move what Constant nodes hold to the initializers: x2paddle mixes up the datatypes of the nodes."""
    from onnx import numpy_helper

    nodes = []
    for node in model.graph.node:
        value = _constant_value(node)
        if value is None:
            nodes.append(node)
        else:
            model.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _constant_value(node: NodeProto) -> NDArray[Any] | None:
    import numpy as np
    from onnx import numpy_helper

    if node.op_type != "Constant":
        return None
    ((name, value),) = attributes_of(node).items()
    match name:
        case "value":
            array: NDArray[Any] = numpy_helper.to_array(value)
            return array
        case "value_float" | "value_floats":
            return np.asarray(value, np.float32)
        case "value_int" | "value_ints":
            return np.asarray(value, np.int64)
    return None


def lower(model: ModelProto) -> None:
    """Call the model one of opset 13: its operations are in forms that mean the same there.

    Raises:
        ConversionError: an operation says what opset 13 cannot say.
    """
    for node in model.graph.node:
        _drop_later_attributes(node, opset_of(model))
    del model.opset_import[:]
    model.opset_import.add(domain="", version=OPSET)


def _drop_later_attributes(node: NodeProto, opset: int) -> None:
    import onnx

    try:
        known = onnx.defs.get_schema(node.op_type, OPSET, "").attributes
        later = onnx.defs.get_schema(node.op_type, max(opset, OPSET), "").attributes
    except onnx.defs.SchemaError:
        raise ConversionError(f"{describe(node)}: it is no operation of opset {OPSET}") from None
    for name, value in attributes_of(node).items():
        if name in known:
            continue
        default = later[name].default_value if name in later else None
        if default is None or onnx.helper.get_attribute_value(default) != value:
            raise ConversionError(f"{describe(node)}: it has the attribute {name}={value}")
        node.attribute.remove(next(each for each in node.attribute if each.name == name))
