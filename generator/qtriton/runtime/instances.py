"""The operation that reports masks of objects."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import cv2
import numpy as np

from .detections import Choice, to_original
from .pre import Geometry
from .values import Array, Candidates, Output, Results

#: Beyond this a probability is 0 or 255 in any case.
_SURE = 20.0


@dataclass(frozen=True)
class InstanceMasks(Choice):
    """Do what `nms` does, and report the mask of each object, mixed of the head's second output by its features.

    Results are those of `nms`, and masks uint8 [detections, mask_size, mask_size]: 255 times the probability that a
    place belongs to the object, on a grid that is stretched over its box. A pixel belongs to it where the grid, resized
    to the box, is above 127.5; outside of the box nothing does. So process_mask_native() of ultralytics/ultralytics,
    ultralytics/utils/ops.py does for the whole image, and torchvision's paste_masks_in_image() with such grids. Objects
    without a pixel of the model's input are left out, as SegmentationPredictor does by process_mask().
    """

    task: ClassVar[str] = "instance_segmentation"
    #: The model's input (height, width), which the second output is a map of.
    size: tuple[int, int] = field(kw_only=True)
    op: Literal["instance_masks"] = "instance_masks"
    #: Rows and columns of a mask: more of them follow the outline of a large object more closely.
    mask_size: int = 80

    def __call__(self, value: Candidates, geometry: Geometry) -> Results:
        chosen = self.choose(value)
        assert value.features is not None and value.prototypes is not None  # the contract of this operation
        count, height, width = value.prototypes.shape
        maps = (value.features[chosen.rows] @ value.prototypes.reshape(count, -1)).reshape(-1, height, width)
        there = [self._is_there(*each) for each in zip(value.boxes(chosen.rows), maps, strict=True)]
        chosen, maps = chosen.at(np.nonzero(there)[0]), maps[there]
        boxes = to_original(value.boxes(chosen.rows), geometry)
        masks = np.zeros((len(boxes), self.mask_size, self.mask_size), np.uint8)
        for place, (box, logits) in enumerate(zip(boxes, maps, strict=True)):
            masks[place] = _probabilities(self._within(box, logits, geometry))
        return self.report(value, chosen, geometry, masks=masks)

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return (*super().outputs(), Output("masks", "UINT8", (self.detections, self.mask_size, self.mask_size)))

    def _is_there(self, box: Array, logits: Array) -> bool:
        """Whether a map of the model's input has a pixel of it above zero within a box of it."""
        first, end = np.ceil(box.clip(0, [*self.size[::-1]] * 2)).astype(int).reshape(2, 2)
        if (end <= first).any():
            return False
        per_pixel = np.array(logits.shape[::-1]) / self.size[::-1]
        return bool(_sampled(logits, per_pixel, (first + 0.5) * per_pixel - 0.5, end - first).max() > 0)

    def _within(self, box: Array, logits: Array, geometry: Geometry) -> Array:
        """A map of the model's input, float32 [height, width], on the grid within a box of the original image."""
        per_pixel = np.array(logits.shape[::-1]) / self.size[::-1]
        scale = np.array([geometry.scale_x, geometry.scale_y]) * per_pixel
        pad = np.array([geometry.pad_x, geometry.pad_y]) * per_pixel
        step = (box[2:] - box[:2]) / self.mask_size * scale
        first = box[:2] * scale + pad + step / 2 - 0.5
        return _sampled(logits, step, first, np.array([self.mask_size] * 2))


def _sampled(logits: Array, step: Array, first: Array, count: Array) -> Array:
    """A map at places that are `step` (x, y) apart from the first (x, y) on: float32 [count[1], count[0]], linear."""
    grid = np.array([[step[0], 0, first[0]], [0, step[1], first[1]]])
    return np.asarray(
        cv2.warpAffine(
            np.ascontiguousarray(logits, np.float32),
            grid,
            count.tolist(),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )


def _probabilities(logits: Array) -> Array:
    """255 times the sigmoid, uint8."""
    probabilities: Array = 1 / (1 + np.exp(-logits.clip(-_SURE, _SURE)))
    return np.asarray(np.rint(255 * probabilities), np.uint8)
