"""The operation that reports masks of objects."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from .detections import Choice, to_original
from .maps import on_grid
from .pre import Geometry
from .values import Array, Candidates, Output, Results

#: Beyond this a probability is 0 or 255 in any case.
_SURE = 20.0


@dataclass(frozen=True)
class InstanceMasks(Choice):
    """Do what `nms` does, and report the mask of each object, mixed of the head's second output by its features.

    Behind `detr_head` it is the object's own in the third output, as PostProcess of roboflow/rf-detr,
    rfdetr/models/postprocess.py, has it; what of that is outside of the object's box is left out.

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
    #: Whether objects with an empty mask are reported, as RF-DETR does; Ultralytics' SegmentationPredictor does not.
    keep_empty: bool = False

    def __call__(self, value: Candidates, geometry: Geometry) -> Results:
        chosen = self.choose(value)
        maps = _maps(value, chosen.rows)
        if not self.keep_empty:
            pairs = zip(value.boxes(chosen.rows), maps, strict=True)
            there = np.nonzero([self._is_there(box, logits) for box, logits in pairs])[0]
            chosen, maps = chosen.at(there), maps[there]
        boxes = to_original(value.boxes(chosen.rows), geometry)
        masks = np.zeros((len(boxes), self.mask_size, self.mask_size), np.uint8)
        grid = (self.mask_size, self.mask_size)
        for place, (box, logits) in enumerate(zip(boxes, maps, strict=True)):
            masks[place] = _probabilities(on_grid(logits, self.size, box, grid, geometry))
        return self.report(value, chosen, geometry, masks=masks)

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return (*super().outputs(), Output("masks", "UINT8", (self.detections, self.mask_size, self.mask_size)))

    def _is_there(self, box: Array, logits: Array) -> bool:
        """Whether a map of the model's input has a pixel of it above zero within a box of it."""
        first, end = np.ceil(box.clip(0, [*self.size[::-1]] * 2)).astype(int).reshape(2, 2)
        if (end <= first).any():
            return False
        columns, rows = (end - first).tolist()
        inside = on_grid(logits, self.size, np.array([*first, *end]), (rows, columns), Geometry(*self.size))
        return bool(inside.max() > 0)


def _maps(value: Candidates, rows: Array) -> Array:
    """The logits of some candidates' masks over the model's input, float32 [n, height, width]."""
    assert value.prototypes is not None  # the contract of this operation
    if value.features is None:
        return value.prototypes[rows]
    count, height, width = value.prototypes.shape
    mixed: Array = (value.features[rows] @ value.prototypes.reshape(count, -1)).reshape(-1, height, width)
    return mixed


def _probabilities(logits: Array) -> Array:
    """255 times the sigmoid, uint8."""
    probabilities: Array = 1 / (1 + np.exp(-logits.clip(-_SURE, _SURE)))
    return np.asarray(np.rint(255 * probabilities), np.uint8)
