"""Operations that move values, in the one form that x2paddle reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qtriton.compress.normalize.graph import Graph, Replacement, attributes_of, describe, has_input
from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from onnx import NodeProto


def slices(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    """Bounds within the sizes, and a Gather for each axis that is read backwards.

    ONNX says "to the end" with the largest int64, which Paddle's int32 turns into -1 and then writes out of bounds;
    x2paddle flips one axis at most.
    """
    given = [graph.constant(node, index) for index in (1, 2, 3, 4)]
    if any(has_input(node, index) and given[index - 1] is None for index in (1, 2, 3, 4)):
        return None  # the bounds are computed
    shape = graph.shape(node.input[0], node)
    starts, ends = (array.reshape(-1).tolist() for array in given[:2] if array is not None)
    axes = list(range(len(starts))) if given[2] is None else (given[2].reshape(-1) % len(shape)).tolist()
    steps = [1] * len(starts) if given[3] is None else given[3].reshape(-1).tolist()
    new, source = Replacement(graph, node), node.input[0]
    forward: list[tuple[int, int, int, int]] = []
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        start, end, step = slice(*bounds).indices(shape[axis])
        if step > 0:
            forward.append((start, end, axis, step))
        else:
            indices = new.constant(range(start, end, step), np.int64)
            source = new("Gather", source, indices, axis=axis)
    if not forward:
        return new.ending_with(source)
    columns = [new.constant(column, np.int64) for column in zip(*forward, strict=True)]
    return new.result("Slice", source, *(columns if any(row[3] != 1 for row in forward) else columns[:3]))


def split(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """The sizes written down, as opset 13 does."""
    new, axis = Replacement(graph, node), attributes_of(node).get("axis", 0)
    axis %= len(graph.shape(node.input[0], node))
    if len(node.output) == 1:
        return new.result("Identity", node.input[0])
    sizes = [graph.shape(name, node)[axis] for name in node.output]
    return new.result("Split", node.input[0], new.constant(sizes, np.int64), axis=axis)


def pad(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    """Padding with a constant as Concat, but for zeros around pixels, which x2paddle reads.

    It drops other values, and under oneDNN Paddle's padding of channels corrupts memory.
    """
    shape, mode = graph.shape(node.input[0], node), attributes_of(node).get("mode", b"constant")
    pads = _pads(graph, node, len(shape))
    value = graph.constant(node, 2)
    number = 0 if value is None else value.reshape(-1)[0]
    if (has_input(node, 2) and value is None) or pads.min() < 0:
        raise ConversionError(f"{describe(node)}: its value is computed, or it cuts off")
    new = Replacement(graph, node)
    around_pixels = len(shape) == 4 and not pads[:, :2].any()
    if mode != b"constant" or (around_pixels and number == 0):
        return new.result("Pad", node.input[0], new.constant(pads.reshape(-1), np.int64), mode=mode)
    source, sizes = node.input[0], list(shape)
    for axis in np.flatnonzero(pads.any(axis=0)).tolist():
        parts = [source]
        for side, count in enumerate(pads[:, axis].tolist()):
            if count:
                filled = new.constant(np.full([*sizes[:axis], count, *sizes[axis + 1 :]], number))
                parts.insert(0 if side == 0 else len(parts), filled)
        sizes[axis] += int(pads[:, axis].sum())
        source = new("Concat", *parts, axis=axis)
    return new.ending_with(source)


def _pads(graph: Graph, node: NodeProto, rank: int) -> NDArray[Any]:
    """How much is added before and behind each axis, int64 [2, rank]."""
    constants = [graph.constant(node, index) for index in (1, 3)]
    if constants[0] is None or (has_input(node, 3) and constants[1] is None):
        raise ConversionError(f"{describe(node)}: its sizes are computed")
    axes = range(rank) if constants[1] is None else (constants[1] % rank).tolist()
    pads = np.zeros((2, rank), np.int64)
    pads[:, list(axes)] = constants[0].reshape(2, -1)
    return pads
