"""The last convolution of an anchor-based head, as it is cheapest to choose from: place by place, and scores apart.

YOLOv5 and its kin reshape its output [batch, B * W, height, width] to [batch, B, W, height, width] and move the W
numbers of a box last, for all boxes, before anything else is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qtriton.fresh_names import FreshNames
from qtriton.placement.shapes import batched_shapes
from qtriton.quantize.graph import GraphView, attribute

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: [batch, B, W, height, width] with the numbers of a box last.
_BOX_LAST: Final = [0, 1, 3, 4, 2]
_PLACES_FIRST: Final = (0, 2, 3, 1)
_BOXES_FIRST: Final = (0, 3, 1, 2, 4)


class _Head(NamedTuple):
    """The nodes, and the sizes B, W, height, width."""

    conv: NodeProto
    transpose: NodeProto
    sizes: tuple[int, int, int, int]


def split_heads(model: ModelProto, width: int, cuts: tuple[int, ...]) -> None:
    """Rewrite each such convolution, in place, into one for each part of a box's numbers, cut before the given ones.

    Args:
        model: opset 13 or later.
        width: how many numbers a box has; what else a model reshapes so is left alone.
        cuts: the first number of each part but the first.
    """
    from onnx import helper, numpy_helper

    view, shapes = GraphView(model), batched_shapes(model)
    found = (_head(view, shapes, node) for node in view.nodes)
    heads = [head for head in found if head is not None and head.sizes[1] == width]
    names = FreshNames(model)

    def constant(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], like: str) -> str:
        name = names.fresh(like)
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    for conv, transpose, (boxes, _, rows, columns) in heads:
        weights = [view.constants[name] for name in conv.input[1:]]
        nodes, parts, base = [], [], transpose.output[0]
        for low, high in zip((0, *cuts), (*cuts, width), strict=True):
            own = [each.reshape(boxes, width, *each.shape[1:])[:, low:high] for each in weights]
            inputs = [constant(each.reshape(-1, *each.shape[2:]), f"{base}_{low}_weights") for each in own]
            part = helper.make_node("Conv", [conv.input[0], *inputs], [names.fresh(f"{base}_{low}_conv")])
            part.attribute.extend(conv.attribute)
            moved = names.fresh(f"{base}_{low}_places")
            sizes = constant(np.array([0, rows, columns, boxes, high - low], np.int64), f"{base}_{low}_sizes")
            parts.append(names.fresh(f"{base}_{low}_boxes"))
            nodes += [
                part,
                helper.make_node("Transpose", list(part.output), [moved], perm=_PLACES_FIRST),
                helper.make_node("Reshape", [moved, sizes], [parts[-1]]),
            ]
        joined = names.fresh(f"{base}_joined")
        nodes.append(helper.make_node("Concat", parts, [joined], axis=4))
        nodes.append(helper.make_node("Transpose", [joined], list(transpose.output), perm=_BOXES_FIRST))
        place = list(model.graph.node).index(transpose)
        model.graph.node.remove(transpose)
        for node in reversed(nodes):
            node.name = node.output[0]
            model.graph.node.insert(place, node)


def _head(view: GraphView, shapes: dict[str, tuple[int, ...]], transpose: NodeProto) -> _Head | None:
    if transpose.op_type != "Transpose" or attribute(transpose, "perm", []) != _BOX_LAST:
        return None
    reshape = view.producer.get(transpose.input[0])
    conv = view.producer.get(reshape.input[0]) if reshape is not None and reshape.op_type == "Reshape" else None
    if reshape is None or conv is None or conv.op_type != "Conv" or attribute(conv, "group", 1) != 1:
        return None
    before, behind = shapes.get(conv.output[0], ()), shapes.get(reshape.output[0], ())
    alone = view.only_reader(conv.output[0], "Reshape") and view.only_reader(reshape.output[0], "Transpose")
    fits = len(before) == 4 and len(behind) == 5 and before[2:] == behind[3:] and before[1] == behind[1] * behind[2]
    if not alone or not fits or any(name not in view.constants for name in conv.input[1:]):
        return None
    _, boxes, width, rows, columns = behind
    return _Head(conv, transpose, (boxes, width, rows, columns))
