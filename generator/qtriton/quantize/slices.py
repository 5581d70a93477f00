"""Slices that part a tensor as one Split: what OpenVINO reads rightly in front of GatherElements."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qtriton.quantize.graph import GraphView

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: From this opset on a Split takes its sizes as an input.
_OPSET: Final = 13


class _Part(NamedTuple):
    first: int
    end: int
    node: NodeProto


def split_for_gathers(model: ModelProto) -> None:
    """Turn the slices of a tensor into a Split where they part it and GatherElements reads one of them, in place.

    OpenVINO 2026.4 drops the Slice in front of such a GatherElements when there are three, and refuses the model:
    "Shapes [1,2100,135] and [1,300,4] are not consistent". So YOLO26-seg, -pose and -obb choose their objects.
    """
    import onnx

    if next((each.version for each in model.opset_import if not each.domain), 0) < _OPSET:
        return
    graph = GraphView(model)
    sliced: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.nodes:
        if node.op_type == "Slice":
            sliced[node.input[0]].append(node)
    shapes: dict[str, list[int]] = {}
    for name, nodes in sliced.items():
        if not any(reader.op_type == "GatherElements" for node in nodes for reader in graph.readers(node.output[0])):
            continue
        shapes = shapes or _shapes(onnx.shape_inference.infer_shapes(model))
        if (found := _parts(graph, nodes, shapes.get(name, []))) is not None:
            _replace(model, name, *found)


def _parts(graph: GraphView, nodes: list[NodeProto], shape: list[int]) -> tuple[int, list[_Part]] | None:
    """The axis and the slices in their order, if they part a tensor of that shape without gap or overlap."""
    parts, axes = [], set()
    for node in nodes:
        numbers = [graph.constants.get(name) for name in node.input[1:]]
        if len(numbers) < 3 or any(each is None or each.size != 1 for each in numbers):
            return None
        first, end, axis, *step = (int(each.reshape(-1)[0]) for each in numbers if each is not None)
        axis += len(shape) * (axis < 0)
        if not 0 <= axis < len(shape) or step not in ([], [1]):
            return None
        axes.add(axis)
        first, end = (each + shape[axis] * (each < 0) for each in (first, min(end, shape[axis])))
        parts.append(_Part(first, end, node))
    parts.sort(key=lambda part: part.first)
    edges = [0, *(part.end for part in parts)]
    whole = len(axes) == 1 and len(parts) > 1 and edges[:-1] == [part.first for part in parts]
    (axis, *_) = axes
    return (axis, parts) if whole and edges[-1] == shape[axis] and min(np.diff(edges)) > 0 else None


def _replace(model: ModelProto, name: str, axis: int, parts: list[_Part]) -> None:
    from onnx import helper, numpy_helper

    sizes = np.array([part.end - part.first for part in parts], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(sizes, f"{name}_parts"))
    outputs = [part.node.output[0] for part in parts]
    split = helper.make_node("Split", [name, f"{name}_parts"], outputs, f"{name}_split", axis=axis)
    nodes = list(model.graph.node)
    at = min(nodes.index(part.node) for part in parts)
    for part in parts:
        model.graph.node.remove(part.node)
    model.graph.node.insert(at, split)


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """The shape of every tensor that is known, 0 where a size is free."""
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    return {each.name: [size.dim_value for size in each.type.tensor_type.shape.dim] for each in values}
