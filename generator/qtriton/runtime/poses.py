"""The operation that reports keypoints."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .detections import Choice, clip, points_to_original
from .pre import Geometry
from .values import Array, Candidates, Output, Results


@dataclass(frozen=True)
class Pose(Choice):
    """Do what `nms` does, and report the keypoints of each object: the head's features, x, y and score of each.

    Results are those of `nms`, and keypoints float32 [detections, keypoints, 3]: x and y in pixels of the original
    image, clipped to it, and a score in 0 to 1, which is 1 where the model gives none. So PosePredictor does of
    ultralytics/ultralytics, ultralytics/models/yolo/pose/predict.py.
    """

    task: ClassVar[str] = "keypoints"
    op: Literal["pose"] = "pose"
    #: How many keypoints an object has; the head's `features` are two or three times that.
    keypoints: int = 17

    def __call__(self, value: Candidates, geometry: Geometry) -> Results:
        chosen = self.choose(value)
        assert value.features is not None  # the contract of this operation
        # Not -1 for the numbers of a keypoint: where nothing is found, NumPy cannot tell.
        each = value.features.shape[1] // self.keypoints
        points = value.features[chosen.rows].reshape(len(chosen.rows), self.keypoints, each)
        return self.report(value, chosen, geometry, keypoints=_with_scores(points, geometry))

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return (*super().outputs(), Output("keypoints", "FP32", (self.detections, self.keypoints, 3)))


def _with_scores(points: Array, geometry: Geometry) -> Array:
    """Keypoints [n, K, 2 or 3] of the model's input as [n, K, 3] of the original image."""
    places = clip(points_to_original(points[..., :2], geometry), geometry)
    scores = points[..., 2:] if points.shape[-1] > 2 else np.ones_like(places[..., :1])
    return np.concatenate([places, scores], axis=-1)
