"""The operations that read a detector's raw head: boxes and scores of every place where an object may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .pre import Geometry
from .values import Array, BoxForm, Candidates, corners, rows_of


@dataclass(frozen=True)
class YoloHead:
    """Read a decoded YOLO head [A, 5 + C]: centre x, centre y, width, height in pixels, objectness, scores.

    The score of a class is objectness times class score, as in non_max_suppression() of
    ultralytics/yolov5, utils/general.py.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["yolo_head"] = "yolo_head"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        rows = rows_of(outputs[0])
        return Candidates(rows[:, :4], rows[:, 5:], objectness=rows[:, 4], form="cxcywh")


@dataclass(frozen=True)
class Yolo8Head:
    """Read a head without objectness [4 + C, A]: centre x, centre y, width, height in pixels, and scores.

    That is what YOLOv8 to YOLO12, YOLOv5u, and YOLO26 before its own choice export: Detect in ultralytics/ultralytics,
    ultralytics/nn/modules/head.py; non_max_suppression() of its ultralytics/utils/nms.py reads it so.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["yolo8_head"] = "yolo8_head"
    #: Whether the head is turned: [A, 4 + C].
    turned: bool = False
    #: How many numbers follow the scores: mask coefficients, keypoints or an angle.
    features: int = 0
    #: What the four numbers of a box are; LibreYOLO's YOLOv9 and RTMDet give corners.
    box: BoxForm = "cxcywh"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        rows = rows_of(outputs[0])
        rows = rows if self.turned else rows.T
        behind = rows.shape[1] - self.features
        features = rows[:, behind:]
        return Candidates(rows[:, :4], rows[:, 4:behind], features, _prototypes(outputs), form=self.box)


@dataclass(frozen=True)
class End2EndHead:
    """Read rows [n, 6 + K] of objects that the model has chosen itself: box, score, class, and K features.

    Features are mask coefficients, keypoints or an angle. So Ultralytics exports YOLO26-seg, -pose and -obb with
    nms=False, and all such models with nms=True: Detect.postprocess() in ultralytics/ultralytics,
    ultralytics/nn/modules/head.py, and NMSModel of its ultralytics/engine/exporter.py. Each object is found once: end
    with an operation of iou_threshold 1. Rows [n, 6] are what `detections` reads.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["end2end_head"] = "end2end_head"
    #: What the four numbers of a box are, in pixels of the input; those of a rotated box are cxcywh.
    box: BoxForm = "xyxy"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        rows = rows_of(outputs[0])
        rows = rows[np.isfinite(rows).all(axis=1) & (rows[:, 5] >= 0)]
        kinds = rows[:, 5].astype(np.int32)
        return Candidates(rows[:, :4], rows[:, 4:5], rows[:, 6:], _prototypes(outputs), form=self.box, classes=kinds)


@dataclass(frozen=True)
class DetrHead:
    """Read the logits [Q, C] and boxes [Q, 4] of a DETR: centre x, centre y, width, height in parts of the input.

    One output [Q, 4 + C] is boxes and scores joined, as Ultralytics 8.3 exports RT-DETR (activation: none). A third
    output [Q, height, width] is the logits of each box's mask, as RF-DETR-seg has it, for `instance_masks`. Scores are
    those of RTDETRPostProcessor in lyuwenyu/RT-DETR, rtdetrv2_pytorch/src/zoo/rtdetr/rtdetr_postprocessor.py, which
    D-FINE and RF-DETR share, and with softmax those of PostProcess in facebookresearch/detr, models/detr.py. Each
    object is found once: end with `nms` of iou_threshold 1, and with multi_label where the activation is a sigmoid.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    #: The model's input (height, width), which the boxes are parts of.
    size: tuple[int, int]
    op: Literal["detr_head"] = "detr_head"
    #: What makes scores of the logits; with softmax, the last class is that of no object, and left out.
    activation: Literal["sigmoid", "softmax", "none"] = "sigmoid"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        scores, boxes = map(rows_of, (outputs[0][..., 4:], outputs[0][..., :4]) if len(outputs) == 1 else outputs[:2])
        scale = np.array([*self.size[::-1]] * 2, np.float32)
        masks = outputs[2].reshape(outputs[2].shape[-3:]) if len(outputs) > 2 else None
        return Candidates(corners(boxes) * scale, self._scores(scores), prototypes=masks)

    def _scores(self, logits: Array) -> Array:
        scores: Array
        if self.activation == "none":
            return logits
        if self.activation == "sigmoid":
            with np.errstate(over="ignore"):
                scores = 1 / (1 + np.exp(-logits))
            return scores
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
        return scores[:, :-1]


def _prototypes(outputs: Sequence[Array]) -> Array | None:
    """The second output as the masks that coefficients mix, [K, height, width]; none where there is none."""
    return outputs[1].reshape(outputs[1].shape[-3:]) if len(outputs) > 1 and outputs[1].ndim > 2 else None
