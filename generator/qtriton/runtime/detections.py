"""The choice among a detector's candidates, and its results in the original image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from .pre import Geometry
from .values import Array, Candidates, Output, Results

_NUMPY: dict[str, type[np.generic]] = {"FP32": np.float32, "INT32": np.int32, "UINT8": np.uint8}


class Chosen(NamedTuple):
    """Candidates by their rows, with one score and class each, best first."""

    rows: Array
    scores: Array
    classes: Array

    def at(self, places: Array) -> "Chosen":
        """Some of them."""
        return Chosen(self.rows[places], self.scores[places], self.classes[places])


@dataclass(frozen=True)
class Choice:
    """What every operation does that reports the best candidates of a head."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: str = ""
    score_threshold: float = 0.25
    iou_threshold: float = 0.45
    detections: int = 100
    #: Only the best so many (box, class) pairs are looked at.
    candidates: int = 3000
    #: Whether one box may be reported under several classes.
    multi_label: bool = False

    def choose(self, value: Candidates) -> Chosen:
        """Those that no better one of their class overlaps too much, at most `detections`."""
        chosen = self.over_threshold(value)
        boxes = value.boxes(chosen.rows)
        return chosen.at(suppress(boxes, chosen.scores, chosen.classes, self.iou_threshold, self.detections))

    def over_threshold(self, value: Candidates) -> Chosen:
        """The best so many candidates over the score threshold; equal ones in the order of the model."""
        likely = value.likely(self.score_threshold)
        scores = value.scores(likely)
        if self.multi_label:
            rows, classes = np.nonzero(scores > self.score_threshold)
        else:
            classes = scores.argmax(axis=1)
            rows = np.nonzero(scores[np.arange(len(classes)), classes] > self.score_threshold)[0]
            classes = classes[rows]
        found = Chosen(likely[rows], scores[rows, classes], classes)
        if value.classes is not None:
            found = found._replace(classes=value.classes[found.rows])
        return found.at(np.argsort(-found.scores, kind="stable")[: self.candidates])

    def report(self, value: Candidates, chosen: Chosen, geometry: Geometry, **extra: Array) -> Results:
        """The result tensors of a detector, and what a task has besides them, a row a detection."""
        boxes = to_original(value.boxes(chosen.rows), geometry)
        return filled(self.outputs(), {"boxes": boxes, "scores": chosen.scores, "classes": chosen.classes, **extra})

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return detection_outputs(self.detections)


@dataclass(frozen=True)
class Nms(Choice):
    """Keep the best boxes of each class, suppress their overlaps, and map them to the original image.

    Results, padded with zeros to `detections`: num_detections int32 [1]; boxes float32 [detections, 4],
    x1, y1, x2, y2 in pixels of the original image, clipped to it; scores float32; classes int32; best first.
    An iou_threshold of 1 suppresses nothing, for models that are trained to find every object once: so DETR chooses,
    and with multi_label RT-DETR, whose `detections` best pairs of query and class are reported.
    """

    task: ClassVar[str] = "detection"
    op: Literal["nms"] = "nms"
    #: Whether boxes are clipped to the image before overlaps are measured, and those outside of it left out: so do
    #: LibreYOLO (postprocess_detections() of libreyolo/postprocess/common.py) and mmdetection (distance2bbox()).
    clip_first: bool = False

    def __call__(self, value: Candidates, geometry: Geometry) -> Results:
        value = _within(value, geometry) if self.clip_first else value
        return self.report(value, self.choose(value), geometry)


def _within(value: Candidates, geometry: Geometry) -> Candidates:
    """Candidates with their boxes clipped to the part of the model's input that shows the image; without empty ones."""
    scale, pad = np.array(geometry[2:4], np.float32), np.array(geometry[4:], np.float32)
    edge = np.array([geometry.width, geometry.height], np.float32) * scale + pad
    boxes = value.boxes().reshape(-1, 2, 2).clip(pad, edge).reshape(-1, 4)
    there = np.nonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))[0]
    return Candidates(boxes[there], value.scores(there))


def detection_outputs(most: int) -> tuple[Output, ...]:
    """The result tensors of a detector."""
    return (
        Output("num_detections", "INT32", (1,)),
        Output("boxes", "FP32", (most, 4)),
        Output("scores", "FP32", (most,)),
        Output("classes", "INT32", (most,)),
    )


def padded(boxes: Array, scores: Array, classes: Array, most: int) -> Results:
    """The result tensors of a detector, with zeros behind the last detection."""
    return filled(detection_outputs(most), {"boxes": boxes, "scores": scores, "classes": classes})


def filled(outputs: Sequence[Output], found: Results) -> Results:
    """Result tensors that hold what was found, a row a detection, with zeros behind the last one."""
    results: Results = {output.name: np.zeros(output.dims, _NUMPY[output.dtype]) for output in outputs}
    results["num_detections"][0] = len(found["scores"])
    for name, rows in found.items():
        results[name][: len(rows)] = rows
    return results


def suppress(boxes: Array, scores: Array, classes: Array, iou_threshold: float, most: int) -> Array:
    """Greedy non-maximum suppression within each class.

    Args:
        boxes: [n, 4] x1, y1, x2, y2, sorted by score, best first.
        scores: [n]; only finite ones are kept.
        classes: [n].
        iou_threshold: a box is dropped when its IoU with a kept one of its class is above this.
        most: stop after this many.

    Returns:
        int64 indices of the kept boxes, best first.
    """
    areas = (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
    left = np.isfinite(scores) & np.isfinite(boxes).all(axis=1)
    if iou_threshold >= 1:  # no IoU is above it
        return np.nonzero(left)[0][:most]
    # A box is compared with its own class only: measuring has 30 000 candidates of 80 classes.
    peers = {number: np.nonzero(left & (classes == number))[0] for number in np.unique(classes[left]).tolist()}
    keep: list[int] = []
    for best in np.nonzero(left)[0].tolist():
        if len(keep) == most:
            break
        if not left[best]:
            continue
        keep.append(best)
        same = peers[classes[best].item()]
        rest = same[np.searchsorted(same, best) + 1 :]
        rest = rest[left[rest]]
        if not len(rest):
            continue
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = (np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner).clip(0)
        overlap = sides[:, 0] * sides[:, 1]
        union = areas[best] + areas[rest] - overlap
        left[rest[overlap > iou_threshold * union]] = False
    return np.asarray(keep, np.int64)


def to_original(boxes: Array, geometry: Geometry) -> Array:
    """Map boxes [n, 4] from pixels of the model's input to the original image and clip them to it."""
    clipped: Array = clip(points_to_original(boxes.reshape(-1, 2, 2), geometry), geometry).reshape(-1, 4)
    return clipped


def points_to_original(points: Array, geometry: Geometry) -> Array:
    """Map points [..., 2], x and y, from pixels of the model's input to the original image."""
    pad = np.array([geometry.pad_x, geometry.pad_y], np.float32)
    scale = np.array([geometry.scale_x, geometry.scale_y], np.float32)
    mapped: Array = (points - pad) / scale
    return mapped


def clip(points: Array, geometry: Geometry) -> Array:
    """Move points [..., 2] that are outside of the original image to its edge."""
    return points.clip(0, np.array([geometry.width, geometry.height], np.float32))
