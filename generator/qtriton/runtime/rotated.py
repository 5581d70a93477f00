"""The operation that reports rotated boxes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .detections import Choice, Chosen, filled, points_to_original
from .pre import Geometry
from .values import Array, Candidates, Output, Results

#: What keeps the distance of two equal boxes finite, as in batch_probiou().
_TINY = 1e-7


@dataclass(frozen=True)
class RotatedNms(Choice):
    """Turn each box by the head's one feature, an angle in radians, and drop what a better one of its class overlaps.

    The overlap is the probabilistic IoU of batch_probiou() in ultralytics/ultralytics, ultralytics/utils/metrics.py
    (arXiv 2106.06072); a box is dropped where that with any better one is iou_threshold or more, as in fast_nms() of
    its ultralytics/utils/nms.py. Results, padded with zeros to `detections`: num_detections int32 [1]; corners float32
    [detections, 4, 2], x and y in pixels of the original image, around the box in turn, in or out of the image; scores
    float32; classes int32; best first.
    """

    task: ClassVar[str] = "rotated_detection"
    op: Literal["rotated_nms"] = "rotated_nms"

    def __call__(self, value: Candidates, geometry: Geometry) -> Results:
        chosen = self.over_threshold(value)
        assert value.features is not None  # the contract of this operation
        boxes = value.boxes(chosen.rows).astype(np.float64)
        turned = _Turned.of(boxes, value.features[chosen.rows, 0].astype(np.float64))
        keep = turned.suppress(chosen, self.iou_threshold, self.detections)
        corners = points_to_original(turned.corners[keep], geometry)
        kept = chosen.at(keep)
        return filled(self.outputs(), {"corners": corners, "scores": kept.scores, "classes": kept.classes})

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return rotated_outputs(self.detections)


def rotated_outputs(most: int) -> tuple[Output, ...]:
    """The result tensors of rotated boxes, with room for so many."""
    return (
        Output("num_detections", "INT32", (1,)),
        Output("corners", "FP32", (most, 4, 2)),
        Output("scores", "FP32", (most,)),
        Output("classes", "INT32", (most,)),
    )


@dataclass(frozen=True)
class _Turned:
    """Rotated boxes by their corners [n, 4, 2], and as the Gaussians (centre, covariance) that stand for them."""

    corners: Array
    centres: Array
    #: The variances along x and y, and the covariance, [n, 3].
    spreads: Array

    @classmethod
    def of(cls, boxes: Array, angles: Array) -> "_Turned":
        """Boxes [n, 4] x1, y1, x2, y2 before they are turned about their centres by angles [n] in radians."""
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        cosines, sines = np.cos(angles), np.sin(angles)
        across = np.stack([cosines, sines], axis=1) * sides[:, :1] / 2
        down = np.stack([-sines, cosines], axis=1) * sides[:, 1:] / 2
        corners = np.stack([across + down, across - down, -across - down, down - across], axis=1)
        long, wide = (sides**2 / 12).T
        spreads = [
            long * cosines**2 + wide * sines**2,
            long * sines**2 + wide * cosines**2,
            (long - wide) * cosines * sines,
        ]
        return cls(corners + centres[:, np.newaxis], centres, np.stack(spreads, axis=1))

    def suppress(self, chosen: Chosen, threshold: float, most: int) -> Array:
        """Which boxes no better one of their class overlaps, best first, at most so many."""
        finite = np.isfinite(self.spreads).all(axis=1) & np.isfinite(self.centres).all(axis=1)
        finite &= np.isfinite(chosen.scores)
        if threshold >= 1:  # no IoU is above it
            return np.nonzero(finite)[0][:most]
        keep: list[int] = []
        for place in np.nonzero(finite)[0].tolist():
            if len(keep) == most:
                break
            better = np.nonzero(finite[:place] & (chosen.classes[:place] == chosen.classes[place]))[0]
            if not (self._overlaps(place, better) >= threshold).any():
                keep.append(place)
        return np.asarray(keep, np.int64)

    def _overlaps(self, place: int, others: Array) -> Array:
        """The probabilistic IoU of one box with others: 1 - the Hellinger distance of the two Gaussians."""
        x, y = (self.centres[others] - self.centres[place]).T
        along, across, mixed = (self.spreads[others] + self.spreads[place]).T
        both = along * across - mixed**2
        alone = np.sqrt(self._determinants(others) * self._determinants(place))
        distance = (along * y**2 + across * x**2 - 2 * mixed * x * y) / (both + _TINY) / 4
        distance += np.log(both / (4 * alone + _TINY) + _TINY) / 2
        overlaps: Array = 1 - np.sqrt(1 - np.exp(-distance.clip(_TINY, 100)) + _TINY)
        return overlaps

    def _determinants(self, places: Array | int) -> Array:
        along, across, mixed = self.spreads[places].T
        found: Array = np.maximum(along * across - mixed**2, 0)
        return found
