"""What reads raw heads, against the rules of the projects that export them, written anew as loops."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from qtriton.runtime.detections import Nms, suppress
from qtriton.runtime.grids import NanodetHead, YoloxHead
from qtriton.runtime.heads import DetrHead, Yolo8Head
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
    np.testing.assert_array_equal(read.scores(), scores)
    assert postprocess([head], UNMOVED, (Yolo8Head(features=7), Nms()))["num_detections"][0] > 0


def test_an_iou_threshold_of_1_drops_nothing() -> None:
    boxes = np.tile(np.array([[0.1, 0.2, 0.7, 0.9]], np.float32), (400, 1))
    boxes[::2] += np.float32(1e-8)
    scores, classes = np.linspace(1, 0.5, 400, dtype=np.float32), np.zeros(400, np.int64)
    assert suppress(boxes, scores, classes, 1, 300).tolist() == list(range(300))
    scores[3], boxes[5, 2] = np.nan, np.inf
    assert suppress(boxes, scores, classes, 1, 5).tolist() == [0, 1, 2, 4, 6]


def demo_postprocess(outputs: Array, size: tuple[int, int]) -> list[tuple[Array, float, int]]:
    """demo_postprocess() of YOLOX yolox/utils/demo_utils.py, then box and score as its callers, anchor by anchor."""
    rows, place = [], 0
    for stride in (8, 16, 32):
        for y in range(size[0] // stride):
            for x in range(size[1] // stride):
                dx, dy, w, h, objectness, *scores = outputs[0, place].astype(np.float64)
                cx, cy, w, h = (dx + x) * stride, (dy + y) * stride, np.exp(w) * stride, np.exp(h) * stride
                best = int(np.argmax(scores))
                box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                rows.append((box, objectness * scores[best], best))
                place += 1
    assert place == outputs.shape[1]
    return rows


def test_yolox_head_is_yolox() -> None:
    """postprocess() of yolox/utils/boxes.py: at or above conf, and batched_nms."""
    random, size = np.random.default_rng(0), (96, 160)
    anchors = 12 * 20 + 6 * 10 + 3 * 5
    outputs = random.normal(0, 1, (1, anchors, 9)).astype(np.float32)
    outputs[..., 4:] = random.uniform(0, 1, (1, anchors, 5))
    decoded = demo_postprocess(outputs, size)
    rows = [(*map(float, box.clip(0)), score, kind) for box, score, kind in decoded if score >= 0.3]
    read = YoloxHead(size)([outputs[0]], UNMOVED)
    np.testing.assert_allclose(read.boxes(), [each[0] for each in decoded], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(read.scores().max(axis=1), [each[1] for each in decoded], rtol=1e-5)
    found_rows = found(postprocess([outputs], UNMOVED, (YoloxHead(size), Nms(score_threshold=0.3, iou_threshold=1))))
    np.testing.assert_allclose(found_rows, sorted(rows, key=lambda row: -row[4])[:100], rtol=1e-4, atol=1e-3)


def test_nanodet_head_is_nanodet_plus() -> None:
    """NanoDetPlusHead.get_bboxes(): integral of the softmax, centres without half a cell, boxes clipped."""
    random, size, classes = np.random.default_rng(1), (100, 160), 3
    boxes, place = [], 0
    shapes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in (8, 16, 32, 64)]
    preds = random.normal(0, 2, (1, sum(high * wide for high, wide in shapes), classes + 32)).astype(np.float32)
    preds[..., :classes] = 1 / (1 + np.exp(-preds[..., :classes]))
    for stride, (high, wide) in zip((8, 16, 32, 64), shapes, strict=True):
        for y in range(high):
            for x in range(wide):
                sides = []
                for side in range(4):
                    bins = np.exp(preds[0, place, classes + 8 * side : classes + 8 * side + 8].astype(np.float64))
                    sides.append(sum(number * power for number, power in enumerate(bins)) / bins.sum() * stride)
                left, top, right, bottom = sides
                box = (x * stride - left, y * stride - top, x * stride + right, y * stride + bottom)
                boxes.append([min(max(each, 0), size[1 - at % 2]) for at, each in enumerate(box)])
                place += 1
    read = NanodetHead(size)([preds], UNMOVED)
    np.testing.assert_allclose(read.boxes(), boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(read.scores(), preds[0, :, :classes])


def invented_queries(count: int, classes: int, seed: int) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    return (
        random.normal(-2, 2, (1, count, classes)).astype(np.float32),
        random.uniform(0.05, 0.95, (1, count, 4)).astype(np.float32),
    )


def original(box: Array, width: float, height: float) -> tuple[float, float, float, float]:
    cx, cy, w, h = box.astype(np.float64)
    x1, y1, x2, y2 = (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)


#: A picture of 300 x 500, stretched to 640 x 640.
STRETCHED = Geometry(300, 500, scale_x=640 / 500, scale_y=640 / 300)


def test_detr_head_is_rtdetr() -> None:
    """RTDETRPostProcessor: sigmoid, the best 300 of queries x classes, boxes times the original's size."""
    logits, boxes = invented_queries(200, 7, 0)
    scores = (1 / (1 + np.exp(-logits[0].astype(np.float64)))).reshape(-1)
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[:300]
    expected = [(*original(boxes[0, index // 7], 500, 300), scores[index], index % 7) for index in best]
    chosen = Nms(score_threshold=0, iou_threshold=1, detections=300, multi_label=True)
    agree(postprocess([logits, boxes], STRETCHED, (DetrHead((640, 640)), chosen)), expected)
    # Ultralytics 8.3 joins boxes and scores.
    joined = np.concatenate([boxes, 1 / (1 + np.exp(-logits))], axis=2)
    agree(postprocess([joined], STRETCHED, (DetrHead((640, 640), activation="none"), chosen)), expected)


def test_detr_head_with_softmax_is_detr() -> None:
    """PostProcess of detr.py: the best class of each query but the last, which is no object."""
    logits, boxes = invented_queries(100, 8, 1)
    expected: list[Row] = []
    for query, box in zip(logits[0].astype(np.float64), boxes[0], strict=True):
        powers = np.exp(query) / np.exp(query).sum()
        best = int(np.argmax(powers[:-1]))
        if powers[best] > 0.4:
            expected.append((*original(box, 500, 300), powers[best], best))
    chosen = Nms(score_threshold=0.4, iou_threshold=1)
    ops: tuple[PostOp, ...] = (DetrHead((640, 640), activation="softmax"), chosen)
    agree(postprocess([logits, boxes], STRETCHED, ops), sorted(expected, key=lambda row: -row[4]))
