"""Resize, by what x2paddle and Paddle compute as ONNX does, else as products with matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qtriton.compress.normalize.graph import Graph, Replacement, attributes_of, describe, has_input
from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from onnx import NodeProto


def resize(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """A Resize by scales, which x2paddle reads, with half pixels under PyTorch's name, which it knows.

    The two kinds of half pixels differ where the result is one pixel large.
    """
    scales = _scales(graph, node)
    new, attributes = Replacement(graph, node), attributes_of(node)
    mode = attributes.get("mode", b"nearest")
    pixels = attributes.get("coordinate_transformation_mode", b"half_pixel")
    if not _is_native(mode, pixels, scales, bool(attributes.get("antialias"))):
        return _by_matrices(graph, node, new, scales)
    if pixels == b"half_pixel":
        pixels = b"pytorch_half_pixel"
    kept = {name: attributes[name] for name in ("cubic_coeff_a", "nearest_mode") if name in attributes}
    return new.result(
        "Resize", node.input[0], "", new.constant(scales), mode=mode, coordinate_transformation_mode=pixels, **kept
    )


def _scales(graph: Graph, node: NodeProto) -> list[float]:
    before, after = (graph.shape(name, node) for name in (node.input[0], node.output[0]))
    scales = [out / size for size, out in zip(before, after, strict=True)]
    index = 1 if len(node.input) == 2 else 2  # opset 10 has no region of interest
    given = graph.constant(node, index)
    if given is not None and given.size:
        axes = attributes_of(node).get("axes", range(len(before)))
        for axis, scale in zip(axes, given.reshape(-1).tolist(), strict=True):
            scales[axis] = scale
    elif has_input(node, index) and not has_input(node, 3):
        raise ConversionError(f"{describe(node)}: its scales are computed")
    return scales


def _is_native(mode: bytes, pixels: bytes, scales: Sequence[float], antialias: bool) -> bool:
    if len(scales) != 4 or scales[:2] != [1, 1]:
        return False
    if mode == b"nearest":
        return pixels in (b"half_pixel", b"pytorch_half_pixel", b"asymmetric") and all(s == int(s) for s in scales)
    shrinks = min(scales) < 1
    known = (b"half_pixel", b"pytorch_half_pixel", b"align_corners")
    return mode == b"linear" and pixels in known and not (antialias and shrinks)


def _by_matrices(graph: Graph, node: NodeProto, new: Replacement, scales: Sequence[float]) -> Sequence[NodeProto]:
    """Every way to resize is linear, one axis at a time: as products with constants from the left.

    From the right the constant would be a layer's weights to ACT.
    """
    shape, source = list(graph.shape(node.input[0], node)), node.input[0]
    after = graph.shape(node.output[0], node)
    for axis, scale in enumerate(scales):
        if shape[axis] == after[axis] and scale == 1:
            continue
        matrix = _matrix(graph, node, axis, scale, shape[axis])
        behind = int(np.prod(shape[axis + 1 :]))
        flat = new.reshape(source, [int(np.prod(shape[:axis])), shape[axis], behind])
        shape[axis] = after[axis]
        source = new.reshape(new("MatMul", new.constant(matrix), flat), shape)
    return new.ending_with(source)


def _matrix(graph: Graph, node: NodeProto, axis: int, scale: float, size: int) -> NDArray[Any]:
    """What a Resize does along one axis, float32 [after, before], as ONNX Runtime does it."""
    import onnxruntime
    from onnx import TensorProto, helper

    attributes = {name: value for name, value in attributes_of(node).items() if name != "axes"}
    if attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise ConversionError(f"{describe(node)}: it crops")
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, 1, size, size])
    columns = helper.make_tensor_value_info("columns", TensorProto.FLOAT, None)
    by_sizes = has_input(node, 3)
    last = [1, 1, size, graph.shape(node.output[0], node)[axis]] if by_sizes else [1.0, 1.0, 1.0, scale]
    kind = TensorProto.INT64 if by_sizes else TensorProto.FLOAT
    inputs = ["rows", "", "", "last"] if by_sizes else ["rows", "", "last"]
    alone = helper.make_graph(
        [helper.make_node("Resize", inputs, ["columns"], **attributes)],
        "resize",
        [rows],
        [columns],
        [helper.make_tensor("last", kind, [4], last)],
    )
    model = helper.make_model(alone, opset_imports=[helper.make_opsetid("", max(graph.opset, 11))], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: NDArray[Any] = session.run(None, {"rows": np.eye(size, dtype=np.float32)[None, None]})[0]
    matrix: NDArray[Any] = result[0, 0].T
    return matrix
