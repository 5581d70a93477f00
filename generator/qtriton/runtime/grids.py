"""The operations that read a detector's head over grids of cells, one grid a stride, and decode its boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .pre import Geometry
from .values import Array, Candidates, rows_of


@dataclass(frozen=True)
class YoloxHead:
    """Read a YOLOX head that is not decoded [A, 5 + C]: offset from the cell, log of the size, objectness, scores.

    Boxes are (offset + cell) * stride and exp(size) * stride, as in demo_postprocess() of Megvii-BaseDetection/YOLOX,
    yolox/utils/demo_utils.py; its tools/export_onnx.py leaves that to whoever reads it, unless --decode_in_inference is
    given: then it is a `yolo_head`. Objectness and scores are probabilities, their product is the score.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    #: The model's input (height, width), which the cells follow from.
    size: tuple[int, int]
    op: Literal["yolox_head"] = "yolox_head"
    strides: tuple[int, ...] = (8, 16, 32)

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        rows = rows_of(outputs[0])
        cells, stride = grid(self.size, self.strides)
        with np.errstate(over="ignore"):
            boxes = np.concatenate([rows[:, :2] + cells, np.exp(rows[:, 2:4])], axis=1) * stride
        return Candidates(boxes, rows[:, 5:], objectness=rows[:, 4], form="cxcywh")


@dataclass(frozen=True)
class NanodetHead:
    """Read a NanoDet-Plus head [A, C + 4 * (reg_max + 1)]: scores in 0 to 1, then a distribution for each side.

    A side's distance is the mean of its distribution (softmax over the bins) times the stride, counted from the upper
    left corner of the cell, and boxes are cut off at the input: get_bboxes() of RangiLyu/nanodet,
    nanodet/model/head/nanodet_plus_head.py.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    #: The model's input (height, width), which the cells follow from.
    size: tuple[int, int]
    op: Literal["nanodet_head"] = "nanodet_head"
    strides: tuple[int, ...] = (8, 16, 32, 64)
    #: The largest distance in strides; a distribution has one bin more.
    reg_max: int = 7

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Candidates:
        rows = rows_of(outputs[0])
        behind = rows.shape[1] - 4 * (self.reg_max + 1)
        cells, stride = grid(self.size, self.strides)
        boxes = _around(cells * stride, rows[:, behind:], stride)
        return Candidates(boxes.clip(0, np.array([*self.size[::-1]] * 2, np.float32)), rows[:, :behind])


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
        distributions = np.concatenate([rows_of(each) for each in outputs[levels : 2 * levels]])
        cells, stride = grid(self.size, self.strides)
        boxes = _around((cells + np.float32(0.5)) * stride, distributions, stride)
        return Candidates(boxes, np.concatenate([rows_of(scores) for scores in outputs[:levels]]))


def grid(size: tuple[int, int], strides: Sequence[int]) -> tuple[Array, Array]:
    """The cells float32 [A, 2] (x, y) of every stride, row by row, and the stride float32 [A, 1] of each."""
    shapes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in strides]
    cells = [np.stack(np.divmod(np.arange(high * wide), wide)[::-1], axis=1) for high, wide in shapes]
    steps = np.repeat(strides, [len(each) for each in cells])
    return np.concatenate(cells).astype(np.float32), steps[:, np.newaxis].astype(np.float32)


def _around(points: Array, distributions: Array, stride: Array) -> Array:
    """Boxes [A, 4] whose sides are as far from points [A, 2] as their distributions [A, 4 * bins] say, in strides."""
    bins = distributions.reshape(len(points), 4, -1)
    powers = np.exp(bins - bins.max(axis=2, keepdims=True))
    sides = (powers * np.arange(bins.shape[2])).sum(axis=2) / powers.sum(axis=2) * stride
    boxes: Array = np.concatenate([points - sides[:, :2], points + sides[:, 2:]], axis=1).astype(np.float32)
    return boxes
