"""The operations between a model's raw outputs and the results that a client reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .pre import Geometry

Array: TypeAlias = npt.NDArray[Any]
Results: TypeAlias = dict[str, Array]


class Candidates(NamedTuple):
    """Boxes float32 [A, 4] (x1, y1, x2, y2 in pixels of the model's input) and scores float32 [A, C]."""

    boxes: Array
    scores: Array


class Output(NamedTuple):
    """One result tensor of one image: its name, Triton's data type and its shape without the batch."""

    name: str
    dtype: Literal["FP32", "INT32"]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class YoloHead:
    """Read a decoded YOLO head [A, 5 + C]: centre x, centre y, width, height in pixels, objectness, scores.

    The score of a class is objectness times class score, as in non_max_suppression() of
    ultralytics/yolov5, utils/general.py.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["yolo_head"] = "yolo_head"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        rows = outputs[0]
        half = rows[:, 2:4] / 2
        boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
        return Candidates(boxes, rows[:, 5:] * rows[:, 4:5])


@dataclass(frozen=True)
class Nms:
    """Keep the best boxes of each class, suppress their overlaps, and map them to the original image.

    Results, padded with zeros to `detections`: num_detections int32 [1]; boxes float32 [detections, 4],
    x1, y1, x2, y2 in pixels of the original image, clipped to it; scores float32; classes int32; best first.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
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
        boxes = to_original(boxes[keep], geometry)
        results: Results = {output.name: np.zeros(output.dims, _NUMPY[output.dtype]) for output in self.outputs()}
        results["num_detections"][0] = len(keep)
        results["boxes"][: len(keep)] = boxes
        results["scores"][: len(keep)] = scores[keep]
        results["classes"][: len(keep)] = classes[keep]
        return results

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        n = self.detections
        return (
            Output("num_detections", "INT32", (1,)),
            Output("boxes", "FP32", (n, 4)),
            Output("scores", "FP32", (n,)),
            Output("classes", "INT32", (n,)),
        )

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
    left = np.nonzero(np.isfinite(scores) & np.isfinite(boxes).all(axis=1))[0]
    keep: list[int] = []
    while len(left) and len(keep) < most:
        best, rest = left[0], left[1:]
        keep.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = (np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner).clip(0)
        overlap = sides[:, 0] * sides[:, 1]
        union = areas[best] + areas[rest] - overlap
        left = rest[(overlap <= iou_threshold * union) | (classes[rest] != classes[best])]
    return np.asarray(keep, np.int64)


def to_original(boxes: Array, geometry: Geometry) -> Array:
    """Map boxes [n, 4] from pixels of the model's input to the original image and clip them to it."""
    pad = np.array([geometry.pad_x, geometry.pad_y] * 2, np.float32)
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2, np.float32)
    limit = np.array([geometry.width, geometry.height] * 2, np.float32)
    clipped: Array = ((boxes - pad) / scale).clip(0, limit)
    return clipped


@dataclass(frozen=True)
class Softmax:
    """Turn logits into probabilities over the last axis."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["softmax"] = "softmax"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        shifted = outputs[0] - outputs[0].max(axis=-1, keepdims=True)
        powers = np.exp(shifted)
        return (powers / powers.sum(axis=-1, keepdims=True), *outputs[1:])


@dataclass(frozen=True)
class TopK:
    """The k classes of the highest score, best first: classes int32 [k], scores float32 [k]."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["top_k"] = "top_k"
    k: int = 5

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        scores = outputs[0].reshape(-1)
        best = np.argsort(-scores, kind="stable")[: self.k]
        return {"classes": best.astype(np.int32), "scores": scores[best].astype(np.float32)}

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return (Output("classes", "INT32", (self.k,)), Output("scores", "FP32", (self.k,)))


_NUMPY: Final[dict[str, type[np.generic]]] = {"FP32": np.float32, "INT32": np.int32}

PostOp: TypeAlias = YoloHead | Nms | Softmax | TopK

POST_OPS: Final[dict[str, type[PostOp]]] = {
    "yolo_head": YoloHead,
    "nms": Nms,
    "softmax": Softmax,
    "top_k": TopK,
}


def postprocess(outputs: Sequence[Array], geometry: Geometry, ops: Sequence[PostOp]) -> Results:
    """Apply the operations in order to the raw outputs of one image (each without the batch)."""
    value: Any = outputs
    for op in ops:
        value = op(value, geometry)
    results: Results = value
    return results
