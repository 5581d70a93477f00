"""The choice among a detector's candidates, and its results in the original image."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .pre import Geometry
from .values import Array, Candidates, Output, Results

_NUMPY: dict[str, type[np.generic]] = {"FP32": np.float32, "INT32": np.int32}


@dataclass(frozen=True)
class Nms:
    """Keep the best boxes of each class, suppress their overlaps, and map them to the original image.

    Results, padded with zeros to `detections`: num_detections int32 [1]; boxes float32 [detections, 4],
    x1, y1, x2, y2 in pixels of the original image, clipped to it; scores float32; classes int32; best first.
    An iou_threshold of 1 suppresses nothing, for models that are trained to find every object once: so DETR chooses,
    and with multi_label RT-DETR, whose `detections` best pairs of query and class are reported.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    task: ClassVar[str] = "detection"
    op: Literal["nms"] = "nms"
    score_threshold: float = 0.25
    iou_threshold: float = 0.45
    detections: int = 100
    #: Only the best so many (box, class) pairs are looked at.
    candidates: int = 3000
    #: Whether one box may be reported under several classes.
    multi_label: bool = False

    def __call__(self, value: Candidates, geometry: Geometry) -> Results:
        boxes, scores, classes = self._select(value)
        keep = suppress(boxes, scores, classes, self.iou_threshold, self.detections)
        return padded(to_original(boxes[keep], geometry), scores[keep], classes[keep], self.detections)

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return detection_outputs(self.detections)

    def _select(self, value: Candidates) -> tuple[Array, Array, Array]:
        """Boxes, scores and classes over the threshold, best first, ties in the order of the model."""
        if self.multi_label:
            rows, classes = np.nonzero(value.scores > self.score_threshold)
        else:
            classes = value.scores.argmax(axis=1)
            rows = np.nonzero(value.scores[np.arange(len(classes)), classes] > self.score_threshold)[0]
            classes = classes[rows]
        scores = value.scores[rows, classes]
        order = np.argsort(-scores, kind="stable")[: self.candidates]
        return value.boxes[rows[order]], scores[order], classes[order]


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
    results: Results = {output.name: np.zeros(output.dims, _NUMPY[output.dtype]) for output in detection_outputs(most)}
    count = len(scores)
    results["num_detections"][0] = count
    results["boxes"][:count], results["scores"][:count], results["classes"][:count] = boxes, scores, classes
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
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = (np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner).clip(0)
        overlap = sides[:, 0] * sides[:, 1]
        union = areas[best] + areas[rest] - overlap
        left[rest[overlap > iou_threshold * union]] = False
    return np.asarray(keep, np.int64)


def to_original(boxes: Array, geometry: Geometry) -> Array:
    """Map boxes [n, 4] from pixels of the model's input to the original image and clip them to it."""
    pad = np.array([geometry.pad_x, geometry.pad_y] * 2, np.float32)
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2, np.float32)
    limit = np.array([geometry.width, geometry.height] * 2, np.float32)
    clipped: Array = ((boxes - pad) / scale).clip(0, limit)
    return clipped
