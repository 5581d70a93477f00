"""Networks that nobody trained and everybody knows: they see bright squares, and export as today's projects do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from unit.exports import ULTRALYTICS as METADATA

#: Sides of the image, and of the cell that one box of the head stands for.
SIDE, CELL = 64, 8
ULTRALYTICS = {**METADATA, "imgsz": f"[{SIDE}, {SIDE}]", "names": "{0: 'red', 1: 'green'}"}


def yolo8(path: Path, metadata: Mapping[str, str] = ULTRALYTICS) -> Path:
    """A head [1, 4 + 2, 84] as YOLOv8 exports it: the score of a class is how much of its colour a cell holds.

    Cells are of 8, 16 and 32 pixels; a box is its cell. What scores is bright in red or green and in nothing else.
    """
    nodes, parts, grids = [], [], []
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for stride in (CELL, 2 * CELL, 4 * CELL):
        cells = SIDE // stride
        # The sigmoid of 3 where a cell is full of a colour and of nothing else, of -3 where it is a quarter of that.
        kernel = np.full((2, 3, 1, 1), -8.0, np.float32)
        kernel[[0, 1], [0, 1]] = 8.0
        weights |= {f"w{stride}": kernel, f"b{stride}": np.full(2, -5, np.float32)}
        weights[f"s{stride}"] = np.array([1, 2, cells * cells])
        nodes += [
            helper.make_node(
                "AveragePool", ["images"], [f"p{stride}"], kernel_shape=[stride, stride], strides=[stride, stride]
            ),
            helper.make_node("Conv", [f"p{stride}", f"w{stride}", f"b{stride}"], [f"c{stride}"]),
            helper.make_node("Reshape", [f"c{stride}", f"s{stride}"], [f"r{stride}"]),
        ]
        parts.append(f"r{stride}")
        y, x = np.divmod(np.arange(cells * cells), cells)
        grids.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, 0 * x + stride, 0 * x + stride]))
    weights["boxes"] = np.concatenate(grids, axis=1)[np.newaxis].astype(np.float32)
    nodes += [
        helper.make_node("Concat", parts, ["logits"], axis=2),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "yolo8",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, weights["boxes"].shape[2]])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, dict(metadata))
    save(model, str(path))
    return path


def photo(path: Path) -> Path:
    """A photo of 128 x 128 with a red square, one cell of the network large, at x 32 to 48 and y 64 to 80."""
    pixels = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    pixels[64:80, 32:48] = (0, 0, 255)
    cv2.imwrite(str(path), pixels)
    return path
