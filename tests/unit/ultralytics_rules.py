"""What Ultralytics makes of a raw head, by its own rules, written anew as loops; its layout is [4 + C + extra, A]."""

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

#: Height and width: what the model sees, and an image that fits into it at half its size with 12 rows above and below.
INPUT, ORIGINAL = (384, 640), (720, 1280)


class Row(NamedTuple):
    """A detection in pixels of the model's input: four numbers of a box, score, class and the columns behind."""

    box: tuple[float, ...]
    score: float
    kind: int
    extra: Array


def invented(anchors: int, classes: int, extra: Array, seed: int) -> Array:
    """A head [4 + C + extra, A]: boxes around a dozen things, found by many anchors, and sparse scores."""
    random = np.random.default_rng(seed)
    things = np.concatenate([random.uniform(80, 300, (12, 2)), random.uniform(40, 160, (12, 2))], axis=1)
    things[:, 0] *= 1.9
    boxes = things[random.integers(0, 12, anchors)] * random.normal(1, 0.05, (anchors, 4))
    scores = random.uniform(0, 1, (anchors, classes)) ** 8
    head: Array = np.concatenate([boxes, scores, extra], axis=1).T.astype(np.float32)
    return head


def over(head: Array, classes: int, conf: float) -> list[Row]:
    """The rows of non_max_suppression(), utils/nms.py, before anything is suppressed, best first."""
    rows = []
    for column in head.T.astype(np.float64):
        kind = int(column[4 : 4 + classes].argmax())
        rows.append(Row(tuple(column[:4]), float(column[4 + kind]), kind, column[4 + classes :]))
    return sorted((row for row in rows if row.score > conf), key=lambda row: -row.score)


def non_max_suppression(head: Array, classes: int, conf: float, iou: float, most: int) -> list[Row]:
    """The same with greedy suppression within a class; boxes become x1, y1, x2, y2."""
    kept: list[Row] = []
    for row in over(head, classes, conf):
        cx, cy, w, h = row.box
        upright = row._replace(box=(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
        if all(upright.kind != other.kind or box_iou(upright.box, other.box) <= iou for other in kept):
            kept.append(upright)
    return kept[:most]


def box_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The IoU of two upright boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def scaled(x: float, y: float, clip: bool = True) -> tuple[float, float]:
    """scale_boxes() and scale_coords(), utils/ops.py, for a point of the model's input."""
    gain = min(INPUT[0] / ORIGINAL[0], INPUT[1] / ORIGINAL[1])
    x = (x - (INPUT[1] - ORIGINAL[1] * gain) / 2) / gain
    y = (y - (INPUT[0] - ORIGINAL[0] * gain) / 2) / gain
    return (min(max(x, 0), ORIGINAL[1]), min(max(y, 0), ORIGINAL[0])) if clip else (x, y)


def scaled_box(box: tuple[float, ...]) -> list[float]:
    """scale_boxes() of x1, y1, x2, y2."""
    return [*scaled(box[0], box[1]), *scaled(box[2], box[3])]


def probiou(one: tuple[float, ...], two: tuple[float, ...], eps: float = 1e-7) -> float:
    """batch_probiou(), utils/metrics.py, of two boxes x, y, w, h, angle."""

    def covariance(w: float, h: float, r: float) -> tuple[float, float, float]:
        a, b = w * w / 12, h * h / 12
        cos, sin = math.cos(r), math.sin(r)
        return a * cos**2 + b * sin**2, a * sin**2 + b * cos**2, (a - b) * cos * sin

    (x1, y1), (x2, y2) = one[:2], two[:2]
    (a1, b1, c1), (a2, b2, c2) = covariance(*one[2:]), covariance(*two[2:])
    denominator = (a1 + a2) * (b1 + b2) - (c1 + c2) ** 2
    t1 = ((a1 + a2) * (y1 - y2) ** 2 + (b1 + b2) * (x1 - x2) ** 2) / (denominator + eps) * 0.25
    t2 = (c1 + c2) * (x2 - x1) * (y1 - y2) / (denominator + eps) * 0.5
    alone = math.sqrt(max(a1 * b1 - c1**2, 0) * max(a2 * b2 - c2**2, 0))
    t3 = math.log(denominator / (4 * alone + eps) + eps) * 0.5
    distance = min(max(t1 + t2 + t3, eps), 100.0)
    return 1 - math.sqrt(1 - math.exp(-distance) + eps)


def fast_nms_rotated(head: Array, classes: int, conf: float, iou: float, most: int) -> list[Row]:
    """non_max_suppression(rotated=True): any better box of the class suppresses, also one that is suppressed itself."""
    rows = over(head, classes, conf)
    turned = [(*row.box, float(row.extra[-1])) for row in rows]
    kept = [
        row
        for place, row in enumerate(rows)
        if all(rows[other].kind != row.kind or probiou(turned[other], turned[place]) < iou for other in range(place))
    ]
    return kept[:most]


def xywhr2xyxyxyxy(x: float, y: float, w: float, h: float, r: float) -> list[tuple[float, float]]:
    """Corners of a rotated box, utils/ops.py."""
    one = (w / 2 * math.cos(r), w / 2 * math.sin(r))
    two = (-h / 2 * math.sin(r), h / 2 * math.cos(r))
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    return [(x + s * one[0] + t * two[0], y + s * one[1] + t * two[1]) for s, t in signs]


def process_mask_native(prototypes: Array, coefficients: Array, box: list[float]) -> npt.NDArray[np.bool_]:
    """utils/ops.py for one object: logits, bilinear over the whole picture, cropped to x1, y1, x2, y2, above 0."""
    logits = np.tensordot(coefficients, prototypes, 1)
    (rows, columns), (height, width) = logits.shape, ORIGINAL
    # Prototypes are a map of the whole input; scale_masks() cuts its borders off.
    ys = (((np.arange(height) + 0.5) / 2 + 12) / INPUT[0] * rows - 0.5).clip(0, rows - 1)
    xs = ((np.arange(width) + 0.5) / 2 / INPUT[1] * columns - 0.5).clip(0, columns - 1)
    top, left = np.floor(ys).astype(int), np.floor(xs).astype(int)
    down, across = (ys - top)[:, np.newaxis], xs - left
    bottom, right = np.minimum(top + 1, rows - 1)[:, np.newaxis], np.minimum(left + 1, columns - 1)
    top = top[:, np.newaxis]
    above = logits[top, left] * (1 - across) + logits[top, right] * across
    below = logits[bottom, left] * (1 - across) + logits[bottom, right] * across
    picture = above * (1 - down) + below * down > 0
    y, x = np.arange(height)[:, np.newaxis], np.arange(width)
    cropped: npt.NDArray[np.bool_] = picture & (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    return cropped
