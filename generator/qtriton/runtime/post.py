"""The operations between a model's raw outputs and the results that a client reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import cv2
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
    dtype: Literal["FP32", "INT32", "UINT8"]
    dims: tuple[int, ...]


@runtime_checkable
class Final(Protocol):
    """An operation that a chain can end with: it knows the result tensors."""

    @property
    def op(self) -> str: ...

    def outputs(self) -> tuple[Output, ...]: ...


@dataclass(frozen=True)
class YoloHead:
    """Read a decoded YOLO head [A, 5 + C]: centre x, centre y, width, height in pixels, objectness, scores.

    The score of a class is objectness times class score, as in non_max_suppression() of
    ultralytics/yolov5, utils/general.py.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["yolo_head"] = "yolo_head"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        rows = _rows(outputs[0])
        half = rows[:, 2:4] / 2
        boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
        return Candidates(boxes, rows[:, 5:] * rows[:, 4:5])


@dataclass(frozen=True)
class PicoHead:
    """Read a head of class maps [A_i, C] followed by box distributions [A_i, 4 * bins], one of each a stride.

    Scores are probabilities. A side's distance from the centre of its cell is the mean of its distribution (softmax
    over the bins) times the stride: Distribution Focal Loss, arXiv 2006.04388; the decoding is that of
    PaddlePaddle/PaddleDetection, deploy/python/picodet_postprocess.py.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    #: The model's input (height, width), which the sizes of the maps follow from.
    size: tuple[int, int]
    op: Literal["pico_head"] = "pico_head"
    strides: tuple[int, ...] = (8, 16, 32, 64)

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        levels = len(self.strides)
        pairs = zip(self.strides, outputs[levels : 2 * levels], strict=True)
        boxes = [self._boxes(stride, distributions) for stride, distributions in pairs]
        return Candidates(np.concatenate(boxes), np.concatenate([_rows(scores) for scores in outputs[:levels]]))

    def _boxes(self, stride: int, distributions: Array) -> Array:
        rows, columns = (-(-length // stride) for length in self.size)
        y, x = np.divmod(np.arange(rows * columns), columns)
        centres = (np.stack([x, y], axis=1) + 0.5) * stride
        bins = distributions.reshape(rows * columns, 4, -1)
        powers = np.exp(bins - bins.max(axis=2, keepdims=True))
        sides = (powers * np.arange(bins.shape[2])).sum(axis=2) / powers.sum(axis=2) * stride
        boxes: Array = np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1).astype(np.float32)
        return boxes


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
        return _padded(to_original(boxes[keep], geometry), scores[keep], classes[keep], self.detections)

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return _detections(self.detections)

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


@dataclass(frozen=True)
class Detections:
    """Read the result of a model with NMS inside: rows [n, 6] of class, score, x1, y1, x2, y2 in the original image.

    That is what Paddle's multiclass_nms3 gives, and a class of -1 where there is nothing. Results are those of `nms`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["detections"] = "detections"
    score_threshold: float = 0.5
    detections: int = 100

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        rows = _rows(outputs[0])
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 1] > self.score_threshold) & np.isfinite(rows).all(axis=1)]
        rows = rows[np.argsort(-rows[:, 1], kind="stable")[: self.detections]]
        limit = np.array([geometry.width, geometry.height] * 2, np.float32)
        return _padded(rows[:, 2:].clip(0, limit), rows[:, 1], rows[:, 0], self.detections)

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return _detections(self.detections)


def _detections(most: int) -> tuple[Output, ...]:
    return (
        Output("num_detections", "INT32", (1,)),
        Output("boxes", "FP32", (most, 4)),
        Output("scores", "FP32", (most,)),
        Output("classes", "INT32", (most,)),
    )


def _padded(boxes: Array, scores: Array, classes: Array, most: int) -> Results:
    """The result tensors of a detector, with zeros behind the last detection."""
    results: Results = {output.name: np.zeros(output.dims, _NUMPY[output.dtype]) for output in _detections(most)}
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


@dataclass(frozen=True)
class ArgMax:
    """The class of the highest score at each pixel: [C, height, width] becomes [height, width].

    Integers are class ids already and stay: PaddleSeg's export ends in an argmax of its own unless told not to.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["argmax"] = "argmax"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        if outputs[0].dtype.kind in "iu":
            return tuple(outputs)
        return (outputs[0].argmax(axis=-3).astype(np.uint8), *outputs[1:])


@dataclass(frozen=True)
class Mask:
    """Bring a map of class ids [height, width] back to the original image: mask uint8 [its height, its width].

    Borders that were added are cut off, and each pixel takes the class of the nearest one that the model saw.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["mask"] = "mask"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        ids = outputs[0].reshape(outputs[0].shape[-2:]).astype(np.uint8)
        height, width = round(geometry.height), round(geometry.width)
        top, left = round(geometry.pad_y), round(geometry.pad_x)
        bottom, right = top + round(height * geometry.scale_y), left + round(width * geometry.scale_x)
        inner = np.ascontiguousarray(ids[max(top, 0) : bottom, max(left, 0) : right])
        if inner.shape != (height, width):
            inner = np.asarray(cv2.resize(inner, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        return {"mask": inner}

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return (Output("mask", "UINT8", (-1, -1)),)


def _rows(array: Array) -> Array:
    """The rows of one image; a model without a batch in its configuration may have a leading 1 all the same."""
    return array.reshape(-1, array.shape[-1])


_NUMPY: dict[str, type[np.generic]] = {"FP32": np.float32, "INT32": np.int32}

PostOp: TypeAlias = YoloHead | PicoHead | Nms | Detections | Softmax | TopK | ArgMax | Mask

POST_OPS: dict[str, type[PostOp]] = {
    "yolo_head": YoloHead,
    "pico_head": PicoHead,
    "nms": Nms,
    "detections": Detections,
    "softmax": Softmax,
    "top_k": TopK,
    "argmax": ArgMax,
    "mask": Mask,
}


def postprocess(outputs: Sequence[Array], geometry: Geometry, ops: Sequence[PostOp]) -> Results:
    """Apply the operations in order to the raw outputs of one image (each without the batch)."""
    value: Any = outputs
    for op in ops:
        value = op(value, geometry)
    results: Results = value
    return results
