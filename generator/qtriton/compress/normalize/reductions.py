"""Reductions, n-ary operations and defaults, in the one form that x2paddle reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qtriton.compress.normalize.graph import Graph, Replacement, attributes_of, describe, has_input, set_attribute
from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import NodeProto

#: The axis where none is written down, since opset 13; x2paddle takes others, or none.
_DEFAULT_AXES: Final = {"Softmax": -1, "LogSoftmax": -1, "ArgMax": 0, "ArgMin": 0, "GatherElements": 0}


def _axes(graph: Graph, node: NodeProto) -> list[int] | None:
    """The axes that a reduction goes over, counted from the front; none where it does nothing."""
    given = attributes_of(node).get("axes")
    if has_input(node, 1):
        constant = graph.constant(node, 1)
        if constant is None:
            raise ConversionError(f"{describe(node)}: its axes are computed")
        given = constant.reshape(-1).tolist()
    rank = len(graph.shape(node.input[0], node))
    if not given:
        return None if attributes_of(node).get("noop_with_empty_axes") else list(range(rank))
    return sorted(axis % rank for axis in given)


def reduction(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    """Axes and keepdims written down: x2paddle takes axes as an input for ReduceSum only, and drops defaults."""
    new, axes = Replacement(graph, node), _axes(graph, node)
    if axes is None:
        return new.result("Identity", node.input[0])
    return _reduce(new, node.op_type, node.input[0], axes, attributes_of(node).get("keepdims", 1))


def _reduce(new: Replacement, op_type: str, source: str, axes: list[int], keepdims: int) -> Sequence[NodeProto]:
    if op_type == "ReduceSum":
        return new.ending_with(sum_over(new, source, axes, keepdims))
    return new.result(op_type, source, axes=axes, keepdims=keepdims)


def sum_over(new: Replacement, source: str, axes: Sequence[int], keepdims: int) -> str:
    """A sum over one axis after the other, from the last: x2paddle writes several down as no list."""
    for axis in sorted(axes, reverse=True):
        source = new("ReduceSum", source, new.constant([axis], np.int64), keepdims=keepdims)
    return source


def norm(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    """Reductions with a function before or behind the sum."""
    new, axes = Replacement(graph, node), _axes(graph, node)
    if axes is None:
        return None
    source = node.input[0]
    match node.op_type:
        case "ReduceL1":
            source = new("Abs", source)
        case "ReduceL2" | "ReduceSumSquare":
            source = new("Mul", source, source)
        case "ReduceLogSumExp":
            source = new("Exp", source)
    keepdims = attributes_of(node).get("keepdims", 1)
    behind = {"ReduceL2": "Sqrt", "ReduceLogSum": "Log", "ReduceLogSumExp": "Log"}.get(node.op_type)
    if behind is None:
        return _reduce(new, "ReduceSum", source, axes, keepdims)
    return new.result(behind, sum_over(new, source, axes, keepdims))


def lp_normalization(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """x / norm(x) along an axis."""
    new, attributes, source = Replacement(graph, node), attributes_of(node), node.input[0]
    axes = new.constant([attributes.get("axis", -1) % len(graph.shape(source, node))], np.int64)
    if attributes.get("p", 2) == 1:
        length = new("ReduceSum", new("Abs", source), axes, keepdims=1)
    else:
        length = new("Sqrt", new("ReduceSum", new("Mul", source, source), axes, keepdims=1))
    return new.result("Div", source, length)


def n_ary(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    """Two by two: of more than two inputs x2paddle adds the first ones twice."""
    new, inputs = Replacement(graph, node), list(node.input)
    op_type = "Add" if node.op_type in ("Sum", "Mean") else node.op_type
    if len(inputs) == 1:
        return new.result("Identity", *inputs)
    if len(inputs) == 2 and node.op_type != "Mean":
        return None if op_type == node.op_type else new.result(op_type, *inputs)
    total = inputs[0]
    for name in inputs[1:-1]:
        total = new(op_type, total, name)
    if node.op_type == "Mean":
        return new.result("Div", new("Add", total, inputs[-1]), new.constant(len(inputs)))
    return new.result(op_type, total, inputs[-1])


def default_axis(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    """The axis written down, counted from the front."""
    attributes = attributes_of(node)
    axis = attributes.get("axis", _DEFAULT_AXES[node.op_type])
    set_attribute(node, "axis", axis % len(graph.shape(node.input[0], node)))
    if node.op_type == "ArgMin":
        new = Replacement(graph, node)
        attributes = {**attributes_of(node)}
        return new.result("ArgMax", new("Neg", node.input[0]), **attributes)
    return [node]


def power(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    """The exponent in the base's datatype: Paddle takes no other."""
    exponent = graph.constant(node, 1)
    if exponent is None or exponent.dtype == np.float32:
        return None
    new = Replacement(graph, node)
    return new.result("Pow", node.input[0], new.constant(exponent))
