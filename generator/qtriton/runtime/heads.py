"""The operations that read a detector's raw head: boxes and scores of every place where an object may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .pre import Geometry
from .values import Array, Candidates, corners, rows_of


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
        return Candidates(corners(rows[:, :4]), rows[:, 5:] * rows[:, 4:5])


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

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        rows = rows_of(outputs[0])
        rows = np.ascontiguousarray(rows if self.turned else rows.T)
        behind = rows.shape[1] - self.features
        prototypes = outputs[1].reshape(outputs[1].shape[-3:]) if len(outputs) > 1 and outputs[1].ndim > 2 else None
        return Candidates(corners(rows[:, :4]), rows[:, 4:behind], rows[:, behind:], prototypes)


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
        return Candidates(np.concatenate(boxes), np.concatenate([rows_of(scores) for scores in outputs[:levels]]))

    def _boxes(self, stride: int, distributions: Array) -> Array:
        rows, columns = (-(-length // stride) for length in self.size)
        y, x = np.divmod(np.arange(rows * columns), columns)
        centres = (np.stack([x, y], axis=1) + 0.5) * stride
        bins = distributions.reshape(rows * columns, 4, -1)
        powers = np.exp(bins - bins.max(axis=2, keepdims=True))
        sides = (powers * np.arange(bins.shape[2])).sum(axis=2) / powers.sum(axis=2) * stride
        boxes: Array = np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1).astype(np.float32)
        return boxes
