"""Each postprocessing operation, against its definition or a slow reference."""

import numpy as np
import numpy.typing as npt
import pytest

from qtriton.runtime.detections import Nms, suppress, to_original
from qtriton.runtime.heads import YoloHead
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.scores import Softmax, TopK
from qtriton.runtime.values import Candidates

Floats = npt.NDArray[np.float32]
UNMOVED = Geometry(1000, 1000)


def random_boxes(count: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (count, 2))
    boxes: Floats = np.concatenate([corner, corner + rng.uniform(5, 60, (count, 2))], axis=1).astype(np.float32)
    return boxes


def iou(a: Floats, b: Floats) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(overlap / (areas - overlap))


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_the_greedy_definition(seed: int) -> None:
    boxes, rng = random_boxes(80, seed), np.random.default_rng(seed)
    scores = np.sort(rng.uniform(size=80))[::-1].astype(np.float32)
    classes = rng.integers(0, 3, 80)
    expected: list[int] = []
    for i in range(80):
        if all(classes[i] != classes[j] or iou(boxes[i], boxes[j]) <= 0.4 for j in expected):
            expected.append(i)
    assert suppress(boxes, scores, classes, 0.4, 300).tolist() == expected
    assert suppress(boxes, scores, classes, 0.4, 7).tolist() == expected[:7]


def test_what_is_not_finite_is_dropped() -> None:
    boxes = np.array([[0, 0, 1, 1], [np.nan, 0, 1, 1], [5, 5, 9, 9]], np.float32)
    scores = np.array([0.9, 0.8, np.inf], np.float32)
    assert suppress(boxes, scores, np.zeros(3, int), 0.5, 10).tolist() == [0]


def test_yolo_head_is_yolov5s() -> None:
    row = np.array([[50, 40, 20, 10, 0.5, 0.2, 0.8]], np.float32)
    read = YoloHead()([row], UNMOVED)
    np.testing.assert_allclose(read.boxes(), [[40, 35, 60, 45]])
    np.testing.assert_allclose(read.scores(), [[0.1, 0.4]])


@pytest.mark.parametrize(("sure", "count"), [(0.24, 1), (0.26, 1), (0.2, 0)])
def test_a_class_score_of_int8_may_be_over_one(sure: float, count: int) -> None:
    row = np.array([[50, 40, 20, 10, sure, 0.2, 1.06]], np.float32)
    assert Nms(score_threshold=0.25)(YoloHead()([row], UNMOVED), UNMOVED)["num_detections"].tolist() == [count]


def test_nms_pads_sorts_and_maps_back() -> None:
    boxes = np.array([[110, 60, 210, 160], [10, 10, 30, 30], [111, 61, 211, 161]], np.float32)
    scores = np.array([[0.9, 0.0], [0.1, 0.95], [0.8, 0.0]], np.float32)
    geometry = Geometry(height=100, width=90, scale_x=2, scale_y=2, pad_x=10, pad_y=10)
    result = Nms(detections=4)(Candidates(boxes, scores), geometry)
    assert {name: (str(array.dtype), array.shape) for name, array in result.items()} == {
        "num_detections": ("int32", (1,)),
        "boxes": ("float32", (4, 4)),
        "scores": ("float32", (4,)),
        "classes": ("int32", (4,)),
    }
    assert result["num_detections"].tolist() == [2]
    assert result["classes"].tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(result["scores"], [0.95, 0.9, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(result["boxes"], [[0, 0, 10, 10], [50, 25, 90, 75], [0] * 4, [0] * 4])


def test_multi_label_reports_a_box_under_each_class() -> None:
    candidates = Candidates(np.array([[0, 0, 10, 10]], np.float32), np.array([[0.6, 0.7]], np.float32))
    assert Nms(multi_label=True, detections=5)(candidates, UNMOVED)["classes"][:2].tolist() == [1, 0]
    assert Nms(detections=5)(candidates, UNMOVED)["num_detections"].tolist() == [1]


def test_nothing_found_is_an_empty_result() -> None:
    result = postprocess([np.zeros((10, 7), np.float32)], UNMOVED, (YoloHead(), Nms(detections=3)))
    assert result["num_detections"].tolist() == [0]
    assert not any(array.any() for array in result.values())


def test_boxes_are_clipped_to_the_image() -> None:
    boxes = to_original(np.array([[-5, -5, 2000, 2000]], np.float32), Geometry(50, 60))
    assert boxes.tolist() == [[0, 0, 60, 50]]


def test_softmax_of_large_logits() -> None:
    (powers,) = Softmax()([np.array([1000.0, 1001.0], np.float32)], UNMOVED)
    np.testing.assert_allclose(powers, [1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-6)


def test_top_k() -> None:
    result = TopK(k=2)([np.array([0.1, 0.7, 0.2], np.float32)], UNMOVED)
    assert result["classes"].tolist() == [1, 2]
    np.testing.assert_allclose(result["scores"], [0.7, 0.2])
