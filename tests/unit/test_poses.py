"""Keypoints: read as Ultralytics does, labelled and measured as COCO does."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from qtriton.backends.runner import Array, Feed, Runner, TensorInfo
from qtriton.builder.contracts import check_postprocess
from qtriton.builder.evaluate import evaluate
from qtriton.errors import InputError, ModelError
from qtriton.labels import LabelledImages, load_labelled
from qtriton.labels.rows import Pose as PoseRow
from qtriton.metrics.agreement import agreement
from qtriton.metrics.coco_map import coco_map
from qtriton.metrics.poses import POSES
from qtriton.runtime.heads import Yolo8Head
from qtriton.runtime.poses import Pose
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.values import Results
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton_client.predict import annotate, describe

from . import ultralytics_rules as rules

GEOMETRY = Geometry(*rules.ORIGINAL, scale_x=0.5, scale_y=0.5, pad_y=12)


def head(classes: int, dims: int, count: int = 17, seed: int = 0) -> Array:
    """Keypoints all over and a little out of the picture, with scores where there are three numbers each."""
    points = np.random.default_rng(seed).uniform((-20, -20, 0)[:dims], (660, 400, 1)[:dims], (300, count, dims))
    return rules.invented(300, classes, points.reshape(300, -1), seed)


@pytest.mark.parametrize(("classes", "dims", "count"), [(1, 3, 17), (3, 3, 5), (1, 2, 17)])
def test_keypoints_are_those_of_ultralytics(classes: int, dims: int, count: int) -> None:
    raw = head(classes, dims, count)
    ops = (Yolo8Head(features=dims * count), Pose(iou_threshold=0.7, detections=20, keypoints=count))
    results = postprocess([raw], GEOMETRY, ops)
    expected = rules.non_max_suppression(raw, classes, 0.25, 0.7, 20)
    assert 3 < len(expected) == int(results["num_detections"][0])
    assert (str(results["keypoints"].dtype), results["keypoints"].shape) == ("float32", (20, count, 3))
    for place, row in enumerate(expected):
        assert int(results["classes"][place]) == row.kind
        np.testing.assert_allclose(results["boxes"][place], rules.scaled_box(row.box), atol=2e-3)
        points = row.extra.reshape(count, dims)
        wanted = [(*rules.scaled(*each[:2]), each[2] if dims == 3 else 1) for each in points]
        np.testing.assert_allclose(results["keypoints"][place], wanted, atol=2e-3)
    assert not results["keypoints"][len(expected) :].any()
    raw[4 : 4 + classes] = 0
    assert postprocess([raw], GEOMETRY, ops)["num_detections"] == [0], "a picture of nobody"


def spec(keypoints: int = 2, features: int = 6) -> ModelSpec:
    return parse_spec(
        f"""
name: pair
task: keypoints
input: {{name: image, dims: [3, 64, 64]}}
preprocess: [{{op: letterbox}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: yolo8_head, features: {features}}}, {{op: pose, keypoints: {keypoints}}}]
classes: [thing]
""",
        "pair.yaml",
    )


ONE = np.array([32, 32, 20, 20, 0.9, 26, 30, 0.8, 40, 35, 0.7], np.float32)


def check(of: ModelSpec, head: Array) -> tuple[str, ...]:
    return check_postprocess(of, ["out"], [head], Geometry(64, 64))


def test_heads_that_have_no_such_keypoints_are_refused() -> None:
    raw = np.repeat(ONE[:, np.newaxis], 4, axis=1)
    assert check(spec(), raw) == ()
    with pytest.raises(ModelError, match="6 features a box, not two or three for each of 4 keypoints"):
        check(spec(keypoints=4), raw)
    with pytest.raises(ModelError, match=r"scores outside of 0 to 1. Export the model with its keypoints decoded"):
        check(spec(), np.where(np.arange(11)[:, np.newaxis] == 7, 9, raw))
    with pytest.raises(ModelError, match="no keypoints in pixels of the input"):
        check(spec(), np.where(np.arange(11)[:, np.newaxis] > 4, 0.5, raw))
    with pytest.raises(
        ModelError, match=r"5 scores a box beside 2 features, the spec names 1 classes. Write features: 6"
    ):
        check(spec(keypoints=1, features=2), raw)


class Finds(Runner):
    """A model that finds the same things in every image."""

    def __init__(self, head: Array) -> None:
        self.head = head[np.newaxis]
        channel: Any = None  # it runs in no process
        ports = (TensorInfo("image", "FP32", (-1, 3, 64, 64)),), (TensorInfo("out", "FP32", (-1, *head.shape)),)
        super().__init__(*ports, channel, "finds")

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return {"out": self.head}


def coco(folder: Path, *annotations: dict[str, Any]) -> LabelledImages:
    cv2.imwrite(str(folder / "a.png"), np.zeros((64, 64, 3), np.uint8))
    content = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"image_id": 7, "category_id": 1, **each} for each in annotations],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return load_labelled("keypoints", folder, folder / "labels.json", ["thing"])


RIGHT = {"bbox": [22, 22, 20, 20], "keypoints": [26, 30, 2, 40, 35, 1], "area": 300}


def test_labels_are_read_and_measured(tmp_path: Path) -> None:
    data = coco(tmp_path, RIGHT)
    assert data.boxes == (PoseRow(0, 0, 22, 22, 20, 20, keypoints=((26, 30, 2), (40, 35, 1)), area=300),)
    model = Finds(ONE[:, np.newaxis])
    score = evaluate(model, spec(), data, lambda done, total: None)
    assert score.value == pytest.approx(100) and score.meaningful
    far = coco(tmp_path, {**RIGHT, "keypoints": [60, 60, 2, 1, 1, 2], "area": 3})
    assert evaluate(model, spec(), far, lambda done, total: None).value == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"keypoints": None}, "none of its annotations has a labelled keypoint"),
        ({"keypoints": [26, 30, 0, 40, 35, 0]}, "none of its annotations has a labelled keypoint"),
        ({"keypoints": [26, 30, 2, 40]}, "visibility is 0, 1 or 2"),
        ({"keypoints": [26, 30, 7, 40, 35, 1]}, "visibility is 0, 1 or 2"),
        ({"keypoints": "all"}, "keypoints are numbers"),
        ({"area": -4}, "area is a number of pixels"),
    ],
)
def test_labels_without_keypoints_are_refused(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        coco(tmp_path, {**RIGHT, **change})


def test_labels_of_other_keypoints_are_refused(tmp_path: Path) -> None:
    data = coco(tmp_path, {**RIGHT, "keypoints": [26, 30, 2]})
    with pytest.raises(InputError, match="objects have 1 keypoints, those of pair have 2"):
        evaluate(Finds(ONE[:, np.newaxis]), spec(), data, lambda done, total: None)
    with pytest.raises(InputError, match="have 1 or 2 keypoints"):
        coco(tmp_path, RIGHT, {**RIGHT, "keypoints": [26, 30, 2]})


def detections(points: Array, classes: Array, boxes: Array) -> Results:
    count = len(points)
    return {
        "num_detections": np.array([count], np.int32),
        "boxes": boxes.astype(np.float32),
        "scores": np.linspace(0.9, 0.3, count).astype(np.float32),
        "classes": classes.astype(np.int32),
        "keypoints": points.astype(np.float32),
    }


def test_the_metric_is_that_of_pycocotools(tmp_path: Path) -> None:
    """Persons in five images, and what COCOeval says of them from files, as everybody calls it."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(1)
    truth, results, annotations, found = [], [], [], []
    for image in range(5):
        corners = random.uniform(0, 200, (6, 2))
        boxes = np.concatenate([corners, corners + random.uniform(40, 150, (6, 2))], axis=1)
        points = corners[:, np.newaxis] + random.uniform(0, 100, (6, 17, 2))
        seen = random.integers(0, 3, (6, 17, 1))
        for box, rows in zip(boxes, np.concatenate([points, seen], axis=2), strict=True):
            x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
            keypoints = tuple((float(x), float(y), int(v)) for x, y, v in rows)
            pose = PoseRow(image, 0, x, y, width, height, keypoints=keypoints, area=width * height / 2)
            truth.append(pose)
            annotations.append(
                {"id": len(truth), "image_id": image, "category_id": 0, "bbox": [x, y, width, height], "iscrowd": 0,
                 "area": pose.area, "keypoints": rows.reshape(-1).tolist(), "num_keypoints": pose.labelled}
            )  # fmt: skip
        off = points + random.normal(0, 6, points.shape)
        result = detections(np.concatenate([off, np.ones_like(seen)], axis=2), np.zeros(6), boxes)
        results.append(result)
        for rows, score in zip(result["keypoints"], result["scores"].tolist(), strict=True):
            found.append({"image_id": image, "category_id": 0, "keypoints": rows.reshape(-1).tolist(), "score": score})
    content = {"images": [{"id": at} for at in range(5)], "categories": [{"id": 0}], "annotations": annotations}
    for name, rows in (("truth", content), ("found", found)):
        (tmp_path / name).write_text(json.dumps(rows))
    labels = COCO(str(tmp_path / "truth"))
    evaluation = COCOeval(labels, labels.loadRes(str(tmp_path / "found")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert 10 < 100 * evaluation.stats[0] < 90
    assert coco_map(truth, results, POSES).value() == pytest.approx(100 * evaluation.stats[0])


def test_other_objects_spread_evenly_over_their_keypoints() -> None:
    """PoseValidator takes sigma = 1 / K: the similarity of keypoints that are all off by d."""
    box, area, off = np.array([[10, 10, 60, 60]]), 0.53 * 2500, 12.0
    points = np.array([[[20, 20], [40, 40], [50, 30], [30, 50]]], float)
    similarity = np.exp(-(off**2) / (2 * area * (2 / 4) ** 2))
    passed = sum(similarity >= threshold for threshold in np.linspace(0.5, 0.95, 10))
    assert 0 < passed < 10
    truth = detections(np.dstack([points, np.ones((1, 4))]), np.zeros(1), box)
    other = detections(np.dstack([points + np.array([off, 0]), np.ones((1, 4))]), np.zeros(1), box)
    assert agreement("keypoints", [truth], [other]).value() == pytest.approx(10 * passed)
    assert agreement("keypoints", [truth], [truth]).value() == pytest.approx(100)


def test_keypoints_that_fp32_only_guesses_do_not_count() -> None:
    points = np.array([[[20, 20, 0.9], [40, 40, 0.1]]])
    truth = detections(points, np.zeros(1), np.array([[10, 10, 60, 60]]))
    moved = {**truth, "keypoints": truth["keypoints"] + np.array([[0, 0, 0], [30, 30, 0]], np.float32)}
    assert agreement("keypoints", [truth], [moved]).value() == pytest.approx(100)
    unsure = {**truth, "keypoints": truth["keypoints"] * np.array([1, 1, 0.1], np.float32)}
    assert agreement("keypoints", [unsure], [moved]).value() < 100, "where all are guesses, all count"


def test_keypoints_are_told_and_drawn() -> None:
    found = detections(np.array([[[20, 20, 0.9], [40, 40, 0.1]]]), np.zeros(1), np.array([[10, 10, 60, 60]]))
    (told,) = describe(found, ["cat"])
    assert told["name"] == "cat" and told["box"] == [10, 10, 60, 60]
    np.testing.assert_allclose(told["keypoints"], [[20, 20, 0.9], [40, 40, 0.1]], rtol=1e-6)
    grey = np.full((80, 80, 3), 100, np.uint8)
    picture = cv2.imdecode(np.frombuffer(annotate(bytes(cv2.imencode(".png", grey)[1]), found), np.uint8), 1)
    assert (picture[20, 20] != 100).any() and (picture[40, 40] == 100).all(), "a guess is not drawn"
