"""Detectors with NMS inside, whose outputs have as many rows as there are objects, and classes of 64 bits: served."""

import json
from pathlib import Path
from typing import Final, TypeAlias

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.builder.trial import try_model
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton.target import Precision, Target

from .conftest import qtriton

SPEC = """
name: cells
task: detection
input: {{name: image, dims: [3, 64, 64]}}
preprocess: [{{op: letterbox}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{post}]
outputs: {outputs}
classes: [red, green, blue]
"""
#: The operation that reads each kind of export, and the outputs in its order.
KINDS = {
    "tensors": ("{op: detection_tensors, pixels: input, first_class: 1}", "[boxes, scores, labels]"),
    "indices": ("{op: onnx_nms, pixels: input, score_threshold: 0.6}", "[selected, grid, cells]"),
    "rows": ("{op: detections, pixels: input, columns: batch_box_class_score}", "[rows]"),
}


def spec(kind: str) -> str:
    post, outputs = KINDS[kind]
    return SPEC.format(post=post, outputs=outputs)


def detector(path: Path) -> Path:
    """Finds cells of 16 x 16 that are bright in a channel; gives them as torchvision does, as indices, and as rows."""
    corner = np.stack(np.divmod(np.arange(16), 4)[::-1], axis=1) * 16
    grid = np.concatenate([corner, corner + 16], axis=1).astype(np.float32)
    constants = {
        "grid_": grid[np.newaxis], "three": np.array([0, 3, 16]), "most": np.array([10]),
        "iou": np.array([0.5], np.float32),
        "score": np.array([0.6], np.float32), "last": np.array(2), "first": np.array(0), "middle": np.array(1),
        "one": np.array(1), "column": np.array([1]), "begin": np.array([1]), "end": np.array([3]),
        "axis": np.array([1]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("AveragePool", ["image"], ["means"], kernel_shape=[16, 16], strides=[16, 16]),
        node("Reshape", ["means", "three"], ["cells"]),
        node("Identity", ["grid_"], ["grid"]),
        node("NonMaxSuppression", ["grid_", "cells", "most", "iou", "score"], ["selected"]),
        node("Gather", ["selected", "last"], ["places"], axis=1),
        node("Gather", ["grid_", "first"], ["flat_grid"], axis=0),
        node("Gather", ["flat_grid", "places"], ["boxes"], axis=0),
        node("Gather", ["cells", "first"], ["flat_cells"], axis=0),
        node("Slice", ["selected", "begin", "end", "axis"], ["pairs"]),
        node("GatherND", ["flat_cells", "pairs"], ["scores"]),
        node("Gather", ["selected", "middle"], ["kinds"], axis=1),
        node("Add", ["kinds", "one"], ["labels"]),
        node("Gather", ["selected", "first"], ["images"], axis=1),
        *(node("Unsqueeze", [name, "column"], [f"{name}_"]) for name in ("images", "kinds", "scores")),
        *(node("Cast", [f"{name}_"], [f"{name}_f"], to=TensorProto.FLOAT) for name in ("images", "kinds")),
        node("Concat", ["images_f", "boxes", "kinds_f", "scores_"], ["rows"], axis=1),
    ]
    values: dict[str, tuple[int, list[str | int]]] = {
        "boxes": (1, ["n", 4]),
        "scores": (1, ["n"]),
        "rows": (1, ["n", 7]),
    }
    values |= {"labels": (7, ["n"]), "selected": (7, ["n", 3]), "grid": (1, [1, 16, 4]), "cells": (1, ["b", 3, 16])}
    outputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in values.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["b", 3, 64, 64])
    graph = helper.make_graph(
        nodes,
        "g",
        [image],
        outputs,
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


#: Cells (row, column) and what is painted there: the channel in BGR.
Cells: TypeAlias = dict[tuple[int, int], int]
PICTURES: Final[dict[str, Cells]] = {
    "none": {},
    "one": {(1, 2): 2},
    "three": {(0, 0): 2, (1, 2): 0, (1, 0): 1},
}


def picture(path: Path, cells: Cells) -> Path:
    """Of 128 x 64 pixels, so that there are 16 rows of grey above and below in the letterbox."""
    pixels = np.zeros((64, 128, 3), np.uint8)
    for (row, column), channel in cells.items():
        pixels[32 * row : 32 * row + 32, 32 * column : 32 * column + 32, channel] = 255
    cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_one_detection_is_no_batch_of_one(tmp_path: Path, kind: str) -> None:
    of: ModelSpec = parse_spec(spec(kind), "cells.yaml")
    one = picture(tmp_path / "one.png", PICTURES["one"])
    model = detector(tmp_path / "net.onnx")
    tried = try_model(Target("onnxruntime", Precision.FP32), only(model, of.outputs), of, (one, one))
    assert tried.max_batch == 0 and "has no free batch" in tried.reason


def only(model: Path, outputs: tuple[str, ...]) -> Path:
    """The model with these outputs, in this order."""
    onnx.utils.extract_model(str(model), str(model.with_name("only.onnx")), ["image"], list(outputs))
    return model.with_name("only.onnx")


@pytest.mark.parametrize("kind", ["tensors", "indices"])
def test_it_is_served(tmp_path: Path, kind: str) -> None:
    (tmp_path / "cells.yaml").write_text(spec(kind))
    done = qtriton(
        "build", tmp_path / "cells.yaml", "--weights", detector(tmp_path / "net.onnx"), "--precision", "fp32",
        "--backend", "onnxruntime,openvino", "--repository", tmp_path / "repository",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    images = [picture(tmp_path / f"{name}.png", cells) for name, cells in PICTURES.items()]
    for backend in ("onnxruntime", "openvino"):
        done = qtriton("predict", f"cells_{backend}_fp32", *images, "--repository", tmp_path / "repository", "--json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        for path, cells in zip(images, PICTURES.values(), strict=True):
            found = sorted((each["box"], each["name"], each["score"]) for each in said[str(path)]["found"])
            assert found == sorted(
                ([32 * column, 32 * row, 32 * column + 32, 32 * row + 32], ("blue", "green", "red")[channel], 1.0)
                for (row, column), channel in cells.items()
            )
