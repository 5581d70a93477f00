"""Rows of objects with masks, keypoints or angles, against the rules of Ultralytics, written anew as loops."""

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from qtriton.builder.contracts import check_postprocess
from qtriton.errors import ModelError
from qtriton.metrics.divergence import divergence
from qtriton.runtime.heads import End2EndHead
from qtriton.runtime.instances import InstanceMasks
from qtriton.runtime.poses import Pose
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.rotated import RotatedNms
from qtriton.spec_files import parse_spec
from qtriton_client.masks import paste

from . import ultralytics_rules as rules
from .test_instances import PROTOTYPES

Array: TypeAlias = npt.NDArray[Any]

GEOMETRY = Geometry(*rules.ORIGINAL, scale_x=0.5, scale_y=0.5, pad_y=12)
UPRIGHT, ROTATED = (End2EndHead(),), (End2EndHead(box="cxcywh"),)


def rows(extra: Array, rotated: bool = False) -> Array:
    """Objects [1, n, 6 + K] as Detect.postprocess() gives them, best first and overlapping, a third of zeros behind."""
    random = np.random.default_rng(7)
    count = len(extra)
    corner, sides = random.uniform((20, 20), (400, 200), (count, 2)), random.uniform(40, 200, (count, 2))
    corner[1], sides[1] = corner[0], sides[0]
    boxes = np.concatenate([corner + sides / 2, sides] if rotated else [corner, corner + sides], axis=1)
    scores = np.sort(random.uniform(0, 1, count))[::-1, np.newaxis]
    kinds = random.integers(0, 5, (count, 1))
    kinds[:2] = 3
    found = np.concatenate([boxes, scores, kinds, extra], axis=1)
    padded: Array = np.concatenate([found, np.zeros((count // 2, found.shape[1]))])[np.newaxis].astype(np.float32)
    return padded


def over(found: Array, conf: float = 0.25) -> list[Array]:
    """The end2end branch of non_max_suppression(), utils/nms.py: over the score, in the order of the model."""
    return [row for row in found[0].astype(np.float64) if row[4] > conf]


def test_keypoints_of_chosen_objects() -> None:
    """PosePredictor: the columns behind the class, scaled."""
    points = np.random.default_rng(0).uniform((-20, -20, 0), (660, 400, 1), (60, 5, 3))
    found = rows(points.reshape(60, -1))
    results = postprocess([found], GEOMETRY, (*UPRIGHT, Pose(keypoints=5, iou_threshold=1, detections=300)))
    expected = over(found)
    assert 20 < len(expected) == int(results["num_detections"][0]), "what overlaps is kept"
    for place, row in enumerate(expected):
        assert (results["scores"][place], results["classes"][place]) == (pytest.approx(row[4]), row[5])
        np.testing.assert_allclose(results["boxes"][place], rules.scaled_box(tuple(row[:4])), atol=2e-3)
        for told, (x, y, score) in zip(results["keypoints"][place], row[6:].reshape(5, 3), strict=True):
            np.testing.assert_allclose(told, (*rules.scaled(x, y), score), atol=2e-3)


def test_masks_of_chosen_objects() -> None:
    """SegmentationPredictor: coefficients behind the class."""
    found = rows(np.random.default_rng(1).normal(size=(24, 8)))
    op = InstanceMasks(size=rules.INPUT, iou_threshold=1, detections=300)
    results = postprocess([found, PROTOTYPES[np.newaxis]], GEOMETRY, (*UPRIGHT, op))
    expected = over(found)
    assert 8 < len(expected) == int(results["num_detections"][0])
    for place, row in enumerate(expected):
        wanted = rules.process_mask_native(PROTOTYPES, row[6:], rules.scaled_box(tuple(row[:4])))
        mask = paste(results["masks"][place], results["boxes"][place], *rules.ORIGINAL)
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.98


def test_rotated_boxes_that_are_chosen() -> None:
    """OBBPredictor: x, y, w, h in front and the angle last."""
    found = rows(np.random.default_rng(2).uniform(-0.7, 2.3, (60, 1)), rotated=True)
    results = postprocess([found], GEOMETRY, (*ROTATED, RotatedNms(iou_threshold=1, detections=300)))
    expected = over(found)
    assert 20 < len(expected) == int(results["num_detections"][0]), "what overlaps is kept"
    for place, row in enumerate(expected):
        x, y, w, h = row[:4]
        corners = [rules.scaled(*each, clip=False) for each in rules.xywhr2xyxyxyxy(x, y, w, h, row[6])]
        np.testing.assert_allclose(results["corners"][place], corners, atol=5e-3)
        assert (results["scores"][place], results["classes"][place]) == (pytest.approx(row[4]), row[5])


def test_an_object_has_one_class_also_when_accuracy_is_measured() -> None:
    found = rows(np.random.default_rng(0).uniform(3, 300, (60, 15)))
    one, several = (
        postprocess([found], GEOMETRY, (*UPRIGHT, Pose(keypoints=5, iou_threshold=1, multi_label=many)))
        for many in (False, True)
    )
    assert all((one[name] == several[name]).all() for name in one)


def test_the_divergence_is_that_of_the_objects_not_of_their_order() -> None:
    found = rows(np.random.default_rng(0).uniform(3, 300, (60, 15)))
    ops = (*UPRIGHT, Pose(keypoints=5, iou_threshold=1))
    turned = found[:, ::-1]
    assert divergence(ops, GEOMETRY, [found], [turned]) < 0.005, "but for two of a class in one box"
    assert divergence(ops, GEOMETRY, [found], [turned * np.array([1.1, 1, 1, 1, 0.8, *[1] * 16], np.float32)]) > 0.1


def test_rows_that_are_not_finite_or_have_no_class_are_no_objects() -> None:
    found = rows(np.ones((6, 1)))
    found[0, 0, 6], found[0, 1, 5], found[0, 2, 0] = np.nan, -1, np.inf
    results = postprocess([found], GEOMETRY, (*ROTATED, RotatedNms(score_threshold=0.0)))
    assert int(results["num_detections"][0]) == 3


SPEC = """
name: mine
task: keypoints
input: {{name: image, dims: [3, 384, 640]}}
preprocess: [{{op: letterbox}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: {head}}}, {{op: pose, iou_threshold: 1, keypoints: 5}}]
classes: [a, b, c, d, e]
"""


def check(*outputs: Array, head: str = "end2end_head") -> tuple[str, ...]:
    spec = parse_spec(SPEC.format(head=head), "mine.yaml")
    return check_postprocess(spec, ["out", "prototypes"][: len(outputs)], outputs, Geometry(384, 640))


def test_what_are_no_such_rows_is_refused() -> None:
    points = np.random.default_rng(0).uniform((3, 3, 0), (600, 300, 1), (60, 5, 3)).reshape(60, -1)
    found = rows(points)
    assert check(found) == () and check(np.zeros_like(found)) == (), "nothing found is no contradiction"
    with pytest.raises(ModelError, match="11 features a box, not two or three for each of 5"):
        check(found[..., :17])
    with pytest.raises(ModelError, match=r"use \{op: detections, pixels: input, columns: box_score_class\}"):
        check(found[..., :6])
    with pytest.raises(ModelError, match="what should be classes are no whole numbers"):
        check(np.roll(found, 1, axis=2))
    for column, value, reason in ((5, -2, "is below 0"), (5, 9, "a class 9, and the spec names 5"), (4, 1.5, "0 to 1")):
        wrong = found.copy()
        wrong[0, 3, column] = value
        with pytest.raises(ModelError, match=reason):
            check(wrong)
    with pytest.raises(ModelError, match="boxes in parts of the image"):
        check(found / np.array([640, 384, 640, 384, *[1] * 17], np.float32))
    with pytest.raises(ModelError, match=r"use \{op: end2end_head\}"):
        check(found, head="yolo_head")


def test_a_turned_box_has_as_many_columns_as_yolov7_and_is_not_taken_for_it() -> None:
    found = rows(np.full((30, 1), math.pi / 3), rotated=True)
    with pytest.raises(ModelError, match=r"use \{op: end2end_head, box: cxcywh\}"):
        check(found, head="yolo_head")
