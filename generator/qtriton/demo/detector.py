"""The demo detector's network, targets and loss, in PaddlePaddle; importing this imports paddle."""

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

# paddle 2.6.2 crashes the process where it is imported before these two.
import scipy  # noqa: F401  # isort: skip
import sklearn  # noqa: F401  # isort: skip
import paddle  # isort: skip
from paddle import nn  # isort: skip
from paddle.nn import functional as F  # isort: skip

Array: TypeAlias = npt.NDArray[Any]
#: Paddle carries no types.
Tensor: TypeAlias = Any
Module: TypeAlias = Any

__all__ = ["SIZE", "Detector", "Module", "Targets", "assign", "grid", "loss", "paddle"]

SIZE: Final = 224
CLASSES: Final = 10
STRIDES: Final = (8, 16)
#: Sides of the reference boxes in pixels; a prediction can be up to four times as wide or high.
ANCHORS: Final = (18.0, 36.0)
#: A box is taught to the level when its longer side in pixels lies in this range; the ranges overlap.
SIDES: Final = ((0.0, 30.0), (22.0, 1e9))


class Grid(NamedTuple):
    """Every cell of both levels, float32 [A, 2] its centre in pixels, [A, 1] its stride and its anchor."""

    centres: Array
    strides: Array
    anchors: Array


def grid() -> Grid:
    """The cells in the order of the network's rows: stride 8 first, row by row."""
    centres, strides, anchors = [], [], []
    for stride, anchor in zip(STRIDES, ANCHORS, strict=True):
        y, x = np.mgrid[0 : SIZE // stride, 0 : SIZE // stride]
        cells = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride
        centres.append(cells)
        strides.append(np.full((len(cells), 1), stride))
        anchors.append(np.full((len(cells), 1), anchor))
    return Grid(*(np.concatenate(part).astype(np.float32) for part in (centres, strides, anchors)))


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int | None = None) -> Module:
    """Convolution, batch normalisation, ReLU."""
    around = kernel // 2 if padding is None else padding
    return nn.Sequential(
        nn.Conv2D(inputs, outputs, kernel, stride, padding=around, bias_attr=False),
        nn.BatchNorm2D(outputs),
        nn.ReLU(),
    )


class Residual(nn.Layer):  # type: ignore[misc]
    """Two 3x3 convolutions around which the input is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Detector(nn.Layer):  # type: ignore[misc]
    """Image float32 [N, 3, 224, 224], RGB from 0 to 1, to rows [N, A, 15] as of a decoded YOLOv5 head."""

    def __init__(self) -> None:
        super().__init__()
        # One step to stride 4: layers at 112x112 would take half of the time and add little here.
        self.stem = conv(3, 32, 6, stride=4, padding=1)
        self.fine = nn.Sequential(conv(32, 56, stride=2), Residual(56))
        self.coarse = nn.Sequential(conv(56, 96, stride=2), Residual(96))
        self.lateral = conv(96, 56, 1)
        self.heads = nn.LayerList([self._head(56), self._head(96, 56)])
        cells = grid()
        for name, value in zip(("centres", "strides", "anchors"), cells, strict=True):
            self.register_buffer(name, paddle.to_tensor(value[None]), persistable=True)

    @staticmethod
    def _head(inputs: int, inner: int = 56) -> Module:
        bias = np.zeros(5 + CLASSES, np.float32)
        # Nearly all cells are empty: objectness starts at about 0.01.
        bias[4] = -4.6
        start = paddle.ParamAttr(initializer=nn.initializer.Assign(bias))
        return nn.Sequential(conv(inputs, inner), nn.Conv2D(inner, 5 + CLASSES, 1, bias_attr=start))

    def logits(self, image: Tensor) -> Tensor:
        """Rows [N, A, 15] before sigmoid and decoding."""
        fine = self.fine(self.stem(image))
        coarse = self.coarse(fine)
        up = F.interpolate(self.lateral(coarse), scale_factor=2, mode="nearest")
        levels = [self.heads[0](fine + up), self.heads[1](coarse)]
        return paddle.concat([level.flatten(2).transpose([0, 2, 1]) for level in levels], axis=1)

    def decode(self, logits: Tensor) -> Tensor:
        """Rows [N, A, 15]: centre and size in pixels of the input, objectness, class scores."""
        rows = F.sigmoid(logits)
        centre = (rows[:, :, 0:2] * 3.0 - 1.5) * self.strides + self.centres
        double = rows[:, :, 2:4] * 2.0
        return paddle.concat([centre, double * double * self.anchors, rows[:, :, 4:]], axis=-1)

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(self.logits(image))


class Targets(NamedTuple):
    """What each cell is taught: positive float32 [N, A], box [N, A, 4] cx cy w h, digit int64 [N, A]."""

    positive: Array
    boxes: Array
    digits: Array


def assign(cells: Grid, boxes: Array, digits: Array) -> Targets:
    """Teach each box [n, 4], x1 y1 x2 y2 in the input's pixels, to its level's cells around its centre."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    middles = boxes[:, :2] + sizes / 2
    longer = sizes.max(1)
    low, high = np.asarray(SIDES, np.float32).T
    level = (cells.strides[:, 0] == STRIDES[1]).astype(int)
    fits = (longer >= low[level][:, None]) & (longer < high[level][:, None])
    away = np.abs(cells.centres[:, None] - middles[None]).max(-1) / cells.strides
    # A box between two levels, or a cell between two boxes: the nearest centre wins.
    away = np.where(fits & (away < 1.0), away, np.inf)
    nearest = away.argmin(1)
    positive = np.isfinite(away.min(1))
    rows = np.concatenate([middles, sizes], 1)[nearest]
    return Targets(positive.astype(np.float32), rows.astype(np.float32), digits[nearest].astype(np.int64))


def loss(
    model: Module, logits: Tensor, positive: Tensor, boxes: Tensor, digits: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The box, objectness and class losses, each a scalar per positive cell."""
    count = paddle.clip(positive.sum(), min=1.0)
    rows = model.decode(logits)
    iou, giou = overlaps(rows[:, :, :4], boxes)
    box = ((1.0 - giou) * positive).sum() / count
    target = positive * paddle.clip(iou.detach(), 0.0, 1.0)
    objectness = F.binary_cross_entropy_with_logits(logits[:, :, 4], target, reduction="sum") / count
    one_hot = F.one_hot(digits, CLASSES) * 0.98 + 0.002
    scores = F.binary_cross_entropy_with_logits(logits[:, :, 5:], one_hot, reduction="none").sum(-1)
    return box, objectness, (scores * positive).sum() / count


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of boxes [..., 4] cx cy w h, element by element."""
    a1, a2 = a[:, :, :2] - a[:, :, 2:] / 2, a[:, :, :2] + a[:, :, 2:] / 2
    b1, b2 = b[:, :, :2] - b[:, :, 2:] / 2, b[:, :, :2] + b[:, :, 2:] / 2
    shared = paddle.clip(paddle.minimum(a2, b2) - paddle.maximum(a1, b1), min=0.0).prod(-1)
    hull = (paddle.maximum(a2, b2) - paddle.minimum(a1, b1)).prod(-1)
    union = a[:, :, 2] * a[:, :, 3] + b[:, :, 2] * b[:, :, 3] - shared + 1e-6
    iou = shared / union
    return iou, iou - (hull - union) / (hull + 1e-6)
