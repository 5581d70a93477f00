"""Operations that ONNX itself defines by others, replaced by that definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtriton.compress.normalize.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import AttributeProto, FunctionProto, NodeProto


def expand(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    """The body of the function that an operation is, with names of its own; none where it is no function."""
    import onnx

    body = _body(graph, node)
    if body is None:
        return None
    names = {"": ""}
    for formal, actual in (
        *zip(body.input, [*node.input, *[""] * len(body.input)], strict=False),
        *zip(body.output, [*node.output, *[""] * len(body.output)], strict=False),
    ):
        names[formal] = actual or (graph.fresh(f"{node.output[0]}_{formal}") if formal in body.output else "")
    schema = onnx.defs.get_schema(node.op_type, graph.opset, "")
    defaults = {name: each.default_value for name, each in schema.attributes.items() if each.default_value.name}
    given = {**defaults, **{attribute.name: attribute for attribute in node.attribute}}
    nodes = []
    for inner in body.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(inner)
        for name in (*inner.input, *inner.output):
            if name not in names:
                names[name] = graph.fresh(f"{node.output[0]}_{name}")
        copy.input[:] = [names[name] for name in inner.input]
        copy.output[:] = [names[name] for name in inner.output]
        copy.name = copy.output[0]
        _fill_references(copy, given)
        nodes.append(copy)
    return nodes


def _body(graph: Graph, node: NodeProto) -> FunctionProto | None:
    import onnx
    from onnx import helper

    schema: Any = onnx.defs.get_schema(node.op_type, graph.opset, "")
    # The newest definition, which is in the operations of this opset or of an older one.
    plain = [version for version in schema.function_opset_versions if version <= graph.opset]
    if plain:
        return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(max(plain)))
    by_context = [version for version in schema.context_dependent_function_opset_versions if version <= graph.opset]
    if not by_context:
        return None
    types = [
        helper.make_tensor_type_proto(graph.datatype(name), None).SerializeToString() if name else b""
        for name in node.input
    ]
    body = schema.get_context_dependent_function_with_opset_version(max(by_context), node.SerializeToString(), types)
    return onnx.FunctionProto.FromString(body) if body else None


def _fill_references(node: NodeProto, given: dict[str, AttributeProto]) -> None:
    """Replace references to the function's attributes by what the call says."""
    import onnx

    attributes = []
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            attributes.append(attribute)
        elif attribute.ref_attr_name in given:
            copy = onnx.AttributeProto()
            copy.CopyFrom(given[attribute.ref_attr_name])
            copy.name = attribute.name
            attributes.append(copy)
    del node.attribute[:]
    node.attribute.extend(attributes)
