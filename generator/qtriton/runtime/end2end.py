"""The operations that read the results of a model with NMS, or what stands in for it, inside."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from .detections import detection_outputs, padded, to_original
from .pre import Geometry
from .values import Array, BoxForm, Detected, Output, Results, corners, rows_of

#: What boxes count in: pixels of the original image, pixels of the model's input, or parts of that input, 0 to 1.
Pixels: TypeAlias = Literal["image", "input", "unit"]
Columns: TypeAlias = Literal["class_score_box", "box_score_class", "batch_box_class_score"]


class Layout(NamedTuple):
    """Where things are in a row: how many columns, and the first of the box, the score and the class."""

    width: int
    box: int
    score: int
    kind: int


LAYOUTS: Final[dict[Columns, Layout]] = {
    "class_score_box": Layout(6, box=2, score=1, kind=0),
    "box_score_class": Layout(6, box=0, score=4, kind=5),
    "batch_box_class_score": Layout(7, box=1, score=6, kind=5),
}


@dataclass(frozen=True)
class EndToEnd(ABC):
    """What every operation does that reads finished detections: results are those of `nms`, best first."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    task: ClassVar[str] = "detection"
    #: The model's input (height, width), which `pixels: unit` counts in.
    size: tuple[int, int]
    score_threshold: float = 0.5
    detections: int = 100
    #: What boxes count in: pixels of the original image, pixels of the model's input, or parts of that input, 0 to 1.
    pixels: Pixels = "image"
    #: What the four numbers of a box are.
    box: BoxForm = "xyxy"
    #: The number that the model gives to the first class of the spec; what has a lower one is left out.
    first_class: int = 0

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        found = self.detected(outputs, geometry)
        over = np.nonzero(found.scores > self.score_threshold)[0]
        best = over[np.argsort(-found.scores[over], kind="stable")[: self.detections]]
        return padded(found.boxes[best], found.scores[best], found.classes[best], self.detections)

    def detected(self, outputs: Sequence[Array], geometry: Geometry) -> Detected:
        """All that is there, whatever its score, in pixels of the original image."""
        boxes, scores, classes = (part.astype(np.float32) for part in self.read(outputs))
        finite = np.isfinite(scores) & np.isfinite(classes) & np.isfinite(boxes).all(axis=1)
        there = finite & (classes >= self.first_class)
        boxes = corners(boxes[there], self.box)
        if self.pixels == "unit":
            boxes = boxes * np.array([*self.size[::-1]] * 2, np.float32)
        where = Geometry(geometry.height, geometry.width) if self.pixels == "image" else geometry
        return Detected(to_original(boxes, where), scores[there], classes[there].astype(np.int32) - self.first_class)

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return detection_outputs(self.detections)

    @abstractmethod
    def read(self, outputs: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Boxes [n, 4], scores [n] and classes [n] as the model gives them; a class below 0 is none."""


@dataclass(frozen=True)
class Detections(EndToEnd):
    """Read rows of finished detections [n, 6]: class, score, x1, y1, x2, y2 in the original image.

    That is what Paddle's multiclass_nms3 gives, and a class of -1 where there is nothing. Others have other columns:
    box_score_class is that of YOLOv10, YOLO26 and Ultralytics' nms=True ([300, 6], in pixels of the input; NMSModel in
    ultralytics/engine/exporter.py); with box: cxcywh and pixels: unit, that of its RT-DETR. batch_box_class_score is
    that of YOLOv7's end2end export ([n, 7], in pixels of the input; ONNX_ORT in WongKinYiu/yolov7,
    models/experimental.py). Results are those of `nms`.
    """

    op: Literal["detections"] = "detections"
    #: What the columns hold, in their order; box is four of them.
    columns: Columns = "class_score_box"

    def read(self, outputs: Sequence[Array]) -> tuple[Array, Array, Array]:
        """See EndToEnd."""
        rows, at = rows_of(outputs[0]), LAYOUTS[self.columns]
        return rows[:, at.box : at.box + 4], rows[:, at.score], rows[:, at.kind]


@dataclass(frozen=True)
class DetectionTensors(EndToEnd):
    """Read finished detections from three outputs: boxes [n, 4], scores [n], classes [n]; or from four, a count first.

    Three are what torchvision exports (models/detection, its SSD, RetinaNet, FCOS and Faster R-CNN, in pixels of the
    input; `first_class: 1` where its class 0 is the background), four those of TensorRT's EfficientNMS: num_dets [1],
    det_boxes, det_scores, det_classes (plugin/efficientNMSPlugin). Results are those of `nms`.
    """

    op: Literal["detection_tensors"] = "detection_tensors"

    def read(self, outputs: Sequence[Array]) -> tuple[Array, Array, Array]:
        """See EndToEnd."""
        *count, boxes, scores, classes = outputs
        most = int(count[0].reshape(-1)[0]) if count else None
        return rows_of(boxes)[:most], scores.reshape(-1)[:most], classes.reshape(-1)[:most]


@dataclass(frozen=True)
class OnnxNms(EndToEnd):
    """Read what ONNX's NonMaxSuppression selects: indices [n, 3] of batch, class and box, boxes [A, 4], scores [C, A].

    The order is that of the operator's output and inputs (onnx/onnx, docs/Operators.md), which says y1, x1, y2, x2 but
    works on x1, y1, x2, y2 as well. Results are those of `nms`.
    """

    op: Literal["onnx_nms"] = "onnx_nms"

    def read(self, outputs: Sequence[Array]) -> tuple[Array, Array, Array]:
        """See EndToEnd."""
        indices, boxes, scores = (rows_of(each) for each in outputs)
        _, kinds, places = indices[(indices[:, 0] == 0) & (indices[:, 2] >= 0)].astype(np.int64).T
        return boxes[places], scores[kinds, places], kinds
