"""What reads raw heads, against the rules of the projects that export them, written anew as loops."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from qtriton.runtime.detections import Nms, suppress
from qtriton.runtime.heads import Yolo8Head
from qtriton.runtime.post import PostOp, postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.values import Results

Array: TypeAlias = npt.NDArray[Any]
Row: TypeAlias = tuple[float, float, float, float, float, int]

UNMOVED = Geometry(10_000, 10_000)


def found(results: Results) -> list[Row]:
    count = int(results["num_detections"][0])
    columns = (results["boxes"], results["scores"][:, None], results["classes"][:, None])
    return [tuple(row) for row in np.concatenate(columns, axis=1)[:count].tolist()]


def agree(results: Results, expected: list[Row]) -> None:
    assert len(expected) > 3
    np.testing.assert_allclose(found(results), np.array(expected), atol=2e-3, rtol=1e-5)


def greedy(rows: list[Row], iou: float, most: int) -> list[Row]:
    """torchvision.ops.batched_nms(): only boxes of one class suppress each other."""
    kept: list[Row] = []
    for row in sorted(rows, key=lambda each: -each[4]):
        if len(kept) < most and all(row[5] != other[5] or overlap(row, other) <= iou for other in kept):
            kept.append(row)
    return kept


def overlap(a: Row, b: Row) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def invented(anchors: int, classes: int, seed: int) -> tuple[Array, Array]:
    """Boxes cx, cy, w, h in pixels around a dozen things, found by many anchors, and scores."""
    random = np.random.default_rng(seed)
    things = np.concatenate([random.uniform(150, 490, (12, 2)), random.uniform(20, 200, (12, 2))], axis=1)
    boxes = things[random.integers(0, 12, anchors)] * random.normal(1, 0.05, (anchors, 4))
    return boxes.astype(np.float32), (random.uniform(0, 1, (anchors, classes)) ** 8).astype(np.float32)


def non_max_suppression(prediction: Array, conf: float, iou: float, multi_label: bool = False) -> list[Row]:
    """ultralytics utils/nms.py on [1, 4 + C, A]; max_wh keeps the classes apart."""
    rows: list[Row] = []
    for cx, cy, w, h, *scores in prediction[0].T.astype(np.float64):
        box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        best = [int(np.argmax(scores))]
        labels = range(len(scores)) if multi_label else best
        rows += [(*box, scores[kind], kind) for kind in labels if scores[kind] > conf]
    return greedy(rows, iou, 300)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_yolo8_head_is_ultralytics(seed: int, multi_label: bool) -> None:
    boxes, scores = invented(600, 5, seed)
    head = np.concatenate([boxes, scores], axis=1).T[None]
    nms = Nms(iou_threshold=0.7, detections=300, candidates=30000, multi_label=multi_label)
    expected = non_max_suppression(head, 0.25, 0.7, multi_label)
    agree(postprocess([head], UNMOVED, (Yolo8Head(), nms)), expected)
    turned: tuple[PostOp, ...] = (Yolo8Head(turned=True), nms)
    agree(postprocess([head[0].T], UNMOVED, turned), expected)


def test_yolo8_head_hands_features_on() -> None:
    boxes, scores = invented(50, 3, 0)
    features = np.arange(50 * 7, dtype=np.float32).reshape(50, 7)
    head = np.concatenate([boxes, scores, features], axis=1).T
    read = Yolo8Head(features=7)([head], UNMOVED)
    assert read.features is not None
    np.testing.assert_array_equal(read.features, features)
    np.testing.assert_array_equal(read.scores, scores)
    assert postprocess([head], UNMOVED, (Yolo8Head(features=7), Nms()))["num_detections"][0] > 0


def test_an_iou_threshold_of_1_drops_nothing() -> None:
    boxes = np.tile(np.array([[0.1, 0.2, 0.7, 0.9]], np.float32), (400, 1))
    boxes[::2] += np.float32(1e-8)
    scores, classes = np.linspace(1, 0.5, 400, dtype=np.float32), np.zeros(400, np.int64)
    assert suppress(boxes, scores, classes, 1, 300).tolist() == list(range(300))
    scores[3], boxes[5, 2] = np.nan, np.inf
    assert suppress(boxes, scores, classes, 1, 5).tolist() == [0, 1, 2, 4, 6]
