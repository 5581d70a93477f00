"""What reads finished detections, against the rules of the projects that export them, written anew as loops."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from qtriton.metrics.divergence import divergence
from qtriton.runtime.end2end import Detections, DetectionTensors, EndToEnd, OnnxNms
from qtriton.runtime.post import POST_OPS
from qtriton.runtime.pre import Geometry
from qtriton.runtime.values import Results

Array: TypeAlias = npt.NDArray[Any]
Found: TypeAlias = list[tuple[int, float, tuple[float, ...]]]

SIZE = (384, 640)
#: A picture of 720 x 1000 in a letterbox of 384 x 640: 53 / 54 columns beside it.
LETTERBOX = Geometry(720, 1000, scale_x=533 / 1000, scale_y=384 / 720, pad_x=53, pad_y=0)
STRETCHED = Geometry(720, 1000, scale_x=640 / 1000, scale_y=384 / 720)


def invented(count: int, seed: int, classes: int = 80) -> tuple[Array, Array, Array]:
    """Boxes x1, y1, x2, y2 in pixels of the input, some beyond it, falling scores, and classes."""
    random = np.random.default_rng(seed)
    corner = random.uniform(-20, 300, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(3, 330, (count, 2))], axis=1).astype(np.float32)
    scores = np.sort(random.uniform(0, 1, count).astype(np.float32))[::-1]
    return boxes, scores, random.integers(0, classes, count)


def found(results: Results) -> Found:
    count = int(results["num_detections"][0])
    rows = zip(results["classes"][:count], results["scores"][:count], results["boxes"][:count], strict=True)
    return [(int(kind), float(score), tuple(map(float, box))) for kind, score, box in rows]


def agree(results: Results, expected: Found) -> None:
    assert len(expected) > 5
    assert [each[:2] for each in found(results)] == [each[:2] for each in expected]
    np.testing.assert_allclose([each[2] for each in found(results)], [each[2] for each in expected], atol=2e-3)


def scale_boxes(box: Array, padding: bool = True) -> tuple[float, ...]:
    """scale_boxes() and clip_boxes() of ultralytics, utils/ops.py, with the gains of each side as in 8.4."""
    gain_x, gain_y, pad_x = (533 / 1000, 384 / 720, 53) if padding else (640 / 1000, 384 / 720, 0)
    x1, y1, x2, y2 = map(float, box)
    xs = [min(max((x - pad_x) / gain_x, 0), 1000) for x in (x1, x2)]
    ys = [min(max(y / gain_y, 0), 720) for y in (y1, y2)]
    return xs[0], ys[0], xs[1], ys[1]


def test_rows_of_yolov10_and_of_ultralytics_with_nms_inside() -> None:
    """The end2end branch of non_max_suppression(): over conf, in the order of the model, at most max_det."""
    boxes, scores, classes = invented(300, 1)
    rows = np.concatenate([boxes, scores[:, None], classes[:, None]], axis=1).astype(np.float32)
    rows[280:] = 0
    expected: Found = []
    for row in rows:
        if row[4] > 0.25 and len(expected) < 100:
            expected.append((int(row[5]), float(row[4]), scale_boxes(row[:4])))
    op = Detections(SIZE, 0.25, pixels="input", columns="box_score_class")
    agree(op([rows[None]], LETTERBOX), expected)


def test_rows_of_ultralytics_rtdetr() -> None:
    """RTDETRPredictor.postprocess(): cx, cy, w, h of a stretched picture, times the original's width and height."""
    boxes, scores, classes = invented(300, 2)
    x1, y1, x2, y2 = boxes.T
    unit = np.stack([(x1 + x2) / 2 / 640, (y1 + y2) / 2 / 384, (x2 - x1) / 640, (y2 - y1) / 384], axis=1)
    rows = np.concatenate([unit, scores[:, None], classes[:, None]], axis=1).astype(np.float32)
    expected: Found = []
    for cx, cy, w, h, score, kind in rows.astype(np.float64):
        if score > 0.25 and len(expected) < 300:
            corners = ((cx - w / 2) * 1000, (cy - h / 2) * 720, (cx + w / 2) * 1000, (cy + h / 2) * 720)
            clipped = tuple(min(max(x, 0), (1000, 720)[place % 2]) for place, x in enumerate(corners))
            expected.append((int(kind), score, clipped))
    op = Detections(SIZE, 0.25, 300, pixels="unit", box="cxcywh", columns="box_score_class")
    agree(op([rows], STRETCHED), expected)


def test_rows_of_yolov7_with_nms_inside() -> None:
    """ONNX_ORT in yolov7 models/experimental.py: image of the batch, box, class, score; n is free."""
    boxes, scores, classes = invented(40, 3)
    rows = np.concatenate([np.zeros((40, 1)), boxes, classes[:, None], scores[:, None]], axis=1).astype(np.float32)
    shuffled = rows[np.random.default_rng(0).permutation(40)]  # the operator goes class by class
    expected = [(int(row[5]), float(row[6]), scale_boxes(row[1:5])) for row in rows if row[6] > 0.5]
    op = Detections(SIZE, pixels="input", columns="batch_box_class_score")
    agree(op([shuffled], LETTERBOX), expected)
    assert found(op([rows[:0]], LETTERBOX)) == []


@pytest.mark.parametrize("first", [0, 1])
def test_tensors_of_torchvision(first: int) -> None:
    """SSD and Faster R-CNN count labels from 1, RetinaNet and FCOS from 0; boxes are in pixels of what they are given.

    torchvision models/detection: SSD.postprocess_detections() runs range(1, num_classes), RoIHeads removes column 0,
    RetinaNet and FCOS take topk_idxs % num_classes; GeneralizedRCNNTransform.postprocess() scales back to the input.
    """
    boxes, scores, labels = invented(57, 4, classes=90)
    op = DetectionTensors(SIZE, 0.5, pixels="input", first_class=first)
    expected = [
        (int(label), float(score), scale_boxes(box, padding=False))
        for box, score, label in zip(boxes, scores, labels, strict=True)
        if score > 0.5
    ]
    agree(op([boxes, scores, (labels + first).astype(np.int64)], STRETCHED), expected)
    background = np.zeros_like(labels)
    assert len(found(op([boxes, scores, background], STRETCHED))) == (0 if first else len(expected))
    assert found(op([boxes[:0], scores[:0], labels[:0]], STRETCHED)) == []


def test_tensors_of_efficientnms() -> None:
    """TensorRT plugin/efficientNMSPlugin: what is behind num_dets is not to be read."""
    boxes, scores, classes = invented(100, 5)
    scores[20:] = 0.99
    outputs = [np.array([20], np.int32), boxes, scores, classes.astype(np.int32)]
    best = [(int(classes[place]), float(scores[place]), scale_boxes(boxes[place])) for place in range(20)]
    op = DetectionTensors(SIZE, 0.25, pixels="input")
    agree(op(outputs, LETTERBOX), [each for each in best if each[1] > 0.25])


@pytest.mark.parametrize("form", ["xyxy", "yxyx", "cxcywh"])
def test_indices_of_onnx_nms(form: str) -> None:
    """onnx docs/Operators.md, NonMaxSuppression: selected_indices are batch_index, class_index, box_index."""
    random = np.random.default_rng(6)
    boxes, _, _ = invented(50, 6)
    scores = random.uniform(0, 1, (3, 50)).astype(np.float32)
    indices = np.stack([np.zeros(30), random.integers(0, 3, 30), random.permutation(50)[:30]], axis=1).astype(np.int64)
    expected: Found = []
    for _, kind, place in indices:
        if scores[kind, place] > 0.25:
            expected.append((int(kind), float(scores[kind, place]), scale_boxes(boxes[place])))
    expected.sort(key=lambda each: -each[1])
    x1, y1, x2, y2 = boxes.T
    given = {
        "xyxy": boxes,
        "yxyx": np.stack([y1, x1, y2, x2], axis=1),
        "cxcywh": np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1),
    }[form]
    op = OnnxNms(SIZE, 0.25, pixels="input", box=form)  # type: ignore[arg-type]
    agree(op([indices, given[None], scores[None]], LETTERBOX), expected)
    assert found(op([indices[:0], given, scores], LETTERBOX)) == []


def test_what_is_not_finite_is_no_detection() -> None:
    rows = np.array([[1, 2, 30, 40, 0.9, np.inf], [np.nan, 2, 30, 40, 0.8, 1], [1, 2, 30, 40, 0.7, 1]], np.float32)
    op = Detections(SIZE, pixels="input", columns="box_score_class")
    assert [each[:2] for each in found(op([rows], STRETCHED))] == [(1, float(np.float32(0.7)))]


@pytest.mark.parametrize("name", [name for name, kind in POST_OPS.items() if issubclass(kind, EndToEnd)])
def test_divergence_knows_the_columns_of_each(name: str) -> None:
    """A box that moves by half its width, and a score that falls, whatever the columns are."""

    def outputs(x: float, score: float) -> tuple[EndToEnd, list[Array]]:
        box, kind = [x, 50.0, x + 20, 70.0], 2
        rows = np.array([[*box, score, kind]], np.float32)
        tensors = [rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)]
        selected = [np.array([[0, 0, 0]]), rows[:, :4], rows[:, 4:5]]
        return {
            "detections": (Detections(SIZE, pixels="input", columns="box_score_class"), [rows]),
            "detection_tensors": (DetectionTensors(SIZE, pixels="input"), tensors),
            "onnx_nms": (OnnxNms(SIZE, pixels="input"), selected),
        }[name]  # type: ignore[return-value]

    op, before = outputs(100, 0.8)
    after = outputs(110, 0.6)[1]
    ops: Any = (op,)
    assert divergence(ops, STRETCHED, before, before) == pytest.approx(0, abs=1e-6)
    assert divergence(ops, STRETCHED, before, after) == pytest.approx(2 / 3 + 0.2 / 0.8, abs=1e-5)
