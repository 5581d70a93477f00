"""Keypoints, masks of objects and rotated boxes: built to INT8 with and without labels, served and predicted."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.tasks import TASKS, Task

from .conftest import qtriton

#: Cells of 16 x 16 pixels: their centres, row by row.
CENTRES = np.stack(np.divmod(np.arange(16), 4)[::-1], axis=1) * 16 + 8


@dataclass(frozen=True)
class Kind:
    """A task: how its spec differs, what its head gives of each cell, and what predict tells of an object."""

    task: Task
    last: str
    #: [16, K]
    features: np.ndarray[Any, np.dtype[np.float32]]
    field: str


_ANGLES = np.full((16, 1), math.radians(30), np.float32)
_POINTS = np.concatenate([CENTRES - 4, np.ones((16, 1)), CENTRES + 4, np.ones((16, 1))], axis=1).astype(np.float32)
KINDS = {
    "keypoints": Kind("keypoints", "{op: pose, keypoints: 2}", _POINTS, "keypoints"),
    "masks": Kind("instance_segmentation", "{op: instance_masks}", np.ones((16, 1), np.float32), "outline"),
    "rotated": Kind("rotated_detection", "{op: rotated_nms}", _ANGLES, "corners"),
}
SPEC = """
name: cells
task: {task}
input: {{name: image, dims: [3, 64, 64]}}
preprocess: [{{op: letterbox}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: yolo8_head, features: {features}}}, {last}]
classes: [red, green, blue]
"""


def network(path: Path, kind: Kind) -> Path:
    """Finds the cells that are bright in a channel; a mask is the left half of each cell."""
    weight = np.zeros((3, 8, 16, 16), np.float32)
    weight[np.arange(3), np.arange(3)] = 20 / 256
    boxes = np.concatenate([CENTRES, np.full((16, 1), 16), np.full((16, 1), 8)], axis=1)
    lefts = np.tile(np.where(np.arange(16) % 4 < 2, 9, -9), (16, 1))[np.newaxis, np.newaxis]
    identity = np.eye(8, dtype=np.float32)[..., np.newaxis, np.newaxis]
    constants = {
        "first": identity[:, :3], "middle": identity, "last": weight, "bias": np.full(3, -10, np.float32),
        "shape": np.array([0, 3, 16]), "boxes_": boxes.T[np.newaxis].astype(np.float32),
        "features_": kind.features.T[np.newaxis], "prototypes_": lefts.astype(np.float32), "all": np.array([1]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "first"], ["channels"]),
        node("Relu", ["channels"], ["bright"]),
        node(
            "Conv", ["bright", "middle"], ["again"]
        ),  # the one that INT8 takes: the first and the last stay as they are
        node("Relu", ["again"], ["colours"]),
        node("Conv", ["colours", "last", "bias"], ["logits"], strides=[16, 16]),
        node("Sigmoid", ["logits"], ["maps"]),
        node("Reshape", ["maps", "shape"], ["scores"]),
        node("ReduceMean", ["scores"], ["mean"], axes=[1, 2]),
        node("Sub", ["mean", "mean"], ["nothing"]),
        node("Add", ["nothing", "boxes_"], ["boxes"]),
        node("Add", ["nothing", "features_"], ["features"]),
        node("Concat", ["boxes", "scores", "features"], ["head"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("head", TensorProto.FLOAT, ["N", 7 + kind.features.shape[1], 16])]
    if kind.field == "outline":
        nodes += [node("Unsqueeze", ["nothing", "all"], ["none"]), node("Add", ["none", "prototypes_"], ["masks"])]
        outputs.append(helper.make_tensor_value_info("masks", TensorProto.FLOAT, ["N", 1, 16, 16]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 64, 64])
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "cells", [image], outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def images(folder: Path, count: int, seed: int) -> list[tuple[str, int, int]]:
    """Images with one bright cell each: name, cell and class."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        pixels, cell, kind = random.integers(0, 40, (64, 64, 3), np.uint8), number % 16, number % 3
        x, y = CENTRES[cell] - 8
        pixels[y : y + 16, x : x + 16, 2 - kind] = random.integers(200, 256)  # BGR
        cv2.imwrite(str(folder / f"{number:02}.png"), pixels)
        made.append((f"{number:02}", cell, kind))
    return made


def write_labels(place: Path, kind: Kind, made: list[tuple[str, int, int]]) -> Path:
    """What is in the images, as COCO or DOTA writes it."""
    if kind.field == "corners":
        place.mkdir()
        for name, cell, label in made:
            box = ((float(CENTRES[cell][0]), float(CENTRES[cell][1])), (16, 8), 30)
            corners = " ".join(f"{each:.3f}" for each in cv2.boxPoints(box).reshape(-1))
            (place / f"{name}.txt").write_text(f"{corners} {('red', 'green', 'blue')[label]} 0\n")
        return place
    annotations = []
    for number, (_, cell, label) in enumerate(made):
        (x, y), points = (CENTRES[cell] - (8, 4)).tolist(), _POINTS[cell].copy()
        points[2::3] = 2
        annotations.append(
            {"image_id": number, "category_id": label, "bbox": [x, y, 16, 8], "keypoints": points.tolist(),
             "segmentation": [[x, y, x + 8, y, x + 8, y + 8, x, y + 8]]}
        )  # fmt: skip
    content = {
        "images": [{"id": number, "file_name": f"{name}.png"} for number, (name, _, _) in enumerate(made)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(("red", "green", "blue"))],
        "annotations": annotations,
    }
    place.write_text(json.dumps(content))
    return place


@pytest.mark.parametrize("name", KINDS)
def test_a_task_is_built_measured_served_and_predicted(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    spec = tmp_path / "cells.yaml"
    spec.write_text(SPEC.format(task=kind.task, features=kind.features.shape[1], last=kind.last))
    images(tmp_path / "calibration", 33, seed=0)
    labels = write_labels(tmp_path / "labels", kind, images(tmp_path / "validation", 32, seed=1))
    common = (
        "build", spec, "--weights", network(tmp_path / "cells.onnx", kind), "--calibration", tmp_path / "calibration",
        "--learner", "onnxruntime", "--method", "ptq", "--algorithm", "abs_max", "--json",
    )  # fmt: skip
    repository = tmp_path / "repository"
    measured = (*common, "--validation", tmp_path / "validation", "--labels", labels)
    done = qtriton(*measured, "--repository", repository)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for precision in ("fp32", "int8"):
        metric = said["metrics"][precision]
        assert (metric["name"], metric["images"]) == (TASKS[kind.task].metric, 32)
        assert metric["value"] == pytest.approx(100)
    done = qtriton(*common, "--repository", tmp_path / "unlabelled")
    assert done.returncode == 0, done.stderr
    assert "against FP32's" in done.stdout
    done = qtriton("predict", said["ensemble"], tmp_path / "validation" / "05.png", "--repository", repository,
                   "--output", tmp_path / "drawn", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (((found,), _),) = (told.values() for told in json.loads(done.stdout).values())
    assert (found["name"], len(found[kind.field])) == ("blue", {"keypoints": 2, "outline": 1, "corners": 4}[kind.field])
    assert (tmp_path / "drawn" / "05.png").is_file()
