"""The operation that outlines text in the probability map of a detector of text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np

from .detections import filled, points_to_original
from .pre import Geometry
from .rotated import rotated_outputs
from .values import Array, Output, Results


@dataclass(frozen=True)
class TextBoxes:
    """Outline the text in a map of probabilities [1, height, width] of DBNet: one rotated box a piece of text.

    Each region over `map_threshold` gets the smallest rotated box around it, and its mean probability as score; the
    network is trained on shrunk text, so a box grows by area * `unclip_ratio` / perimeter on each side (Real-time
    Scene Text Detection with Differentiable Binarization, arXiv 1911.08947, 3.5). The rules are those of
    DBPostProcess in PaddlePaddle/PaddleOCR, ppocr/postprocess/db_postprocess.py, with its fast scores.

    Results, padded with zeros to `detections`: num_detections int32 [1]; corners float32 [detections, 4, 2], x and y
    in pixels of the original image, clockwise from the top left; scores float32; classes int32, all 0; best first.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    #: The model's input (height, width), which the map may be a fraction of.
    size: tuple[int, int]
    task: ClassVar[str] = "rotated_detection"
    op: Literal["text_boxes"] = "text_boxes"
    score_threshold: float = 0.6
    detections: int = 300
    #: A pixel of the map with a higher probability is text.
    map_threshold: float = 0.3
    #: How much a box grows.
    unclip_ratio: float = 1.5
    #: Whether regions grow by a pixel to the right and below first, which joins what is broken.
    dilation: bool = False
    #: A region with a shorter side, in pixels of the map, is none.
    smallest: int = 3

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        chances = np.ascontiguousarray(outputs[0].reshape(outputs[0].shape[-2:]), np.float32)
        text = (chances > self.map_threshold).astype(np.uint8)
        if self.dilation:
            text = np.asarray(cv2.dilate(text, np.ones((2, 2), np.uint8)), np.uint8)
        regions, _ = cv2.findContours(text, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        boxes = [box for region in regions if (box := self._outline(chances, region)) is not None]
        boxes.sort(key=lambda box: -box[0])
        scores = np.array([score for score, _ in boxes[: self.detections]], np.float32)
        corners = np.array([each for _, each in boxes[: self.detections]], np.float32).reshape(-1, 4, 2)
        corners *= [self.size[1] / chances.shape[1], self.size[0] / chances.shape[0]]
        found = {"corners": points_to_original(corners, geometry), "scores": scores}
        return filled(self.outputs(), {**found, "classes": np.zeros(len(scores), np.int32)})

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return rotated_outputs(self.detections)

    def _outline(self, chances: Array, region: Array) -> tuple[float, Array] | None:
        """The score and the corners [4, 2] of a region, in pixels of the map; none where it is no text."""
        box = cv2.minAreaRect(region)
        width, height = box[1]
        if min(width, height) < self.smallest:
            return None
        corners = cv2.boxPoints(box)
        score = _mean_within(chances, corners)
        if score < self.score_threshold:
            return None
        grown = cv2.minAreaRect(_grown(corners, width * height * self.unclip_ratio / (2 * (width + height))))
        if min(grown[1]) < self.smallest + 2:
            return None
        return score, _from_top_left(cv2.boxPoints(grown))


def _grown(corners: Array, distance: float) -> Array:
    """Points float32 [N, 2] around a box at so many pixels from it, as pyclipper 1.4 has them: in whole pixels.

    It cuts the corners to whole pixels and rounds them with arcs of chords that are off by a quarter of a pixel
    (ClipperOffset::DoRound in clipper.cpp 6.4.2).
    """
    corners = np.trunc(corners)
    if cv2.contourArea(corners, oriented=True) < 0:
        corners = corners[::-1]
    edges = np.roll(corners, -1, axis=0) - corners
    ends = np.arctan2(-edges[:, 0], edges[:, 1])
    step = max(2 * np.arccos(1 - min(distance, 1) / 4 / distance), 2 / distance)
    turns = (ends - np.roll(ends, 1)) % (2 * np.pi)
    points = []
    for corner, end, turn in zip(corners, ends, turns, strict=True):
        angles = np.append(end - turn + step * np.arange(max(round(turn / step), 1)), end)
        points.append(corner + distance * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    outline: Array = np.rint(np.concatenate(points)).astype(np.float32)
    return outline


def _mean_within(chances: Array, corners: Array) -> float:
    """The mean of a map within a box, its edge included."""
    height, width = chances.shape
    limit = [width - 1, height - 1]
    low = np.floor(corners.min(axis=0)).astype(int).clip(0, limit)
    high = np.ceil(corners.max(axis=0)).astype(int).clip(0, limit)
    inside = np.zeros((high - low + 1)[::-1].tolist(), np.uint8)
    cv2.fillPoly(inside, [(corners - low).astype(np.int32)], 1)
    return float(cv2.mean(chances[low[1] : high[1] + 1, low[0] : high[0] + 1], inside)[0])


def _from_top_left(corners: Array) -> Array:
    """Corners [4, 2] of a box clockwise, as the text is read: beginning with the upper one of the two on the left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = (pair[np.argsort(pair[:, 1], kind="stable")] for pair in (by_x[:2], by_x[2:]))
    return np.stack([left[0], right[0], right[1], left[1]])
