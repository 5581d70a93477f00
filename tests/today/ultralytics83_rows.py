"""Models of Ultralytics as its version 8.3 exports them, which lies in a folder of its own, first on the path."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from torch import Tensor
from torch.nn.functional import interpolate
from ultralytics.utils import ops

from today.photos import FOUR_TO_THREE
from today.ultralytics_rows import ROWS as ALL

NAMES: Final = (
    "yolov8n",
    "yolo11n",
    "yolov10n",
    "yolo11n-nms",
    "yolo11n-seg",
    "yolo11n-pose",
    "yolo11n-obb",
    "yolo11n-cls",
)
#: What 8.3 maps back to the photo as if its borders were not whole pixels: up to half a pixel of the input off, two of
#: the photo. 8.4 rounds, as both do when they make the borders.
INEXACT: Final = ("yolo11n-seg", "yolo11n-pose", "yolo11n-obb")


def process_mask(protos: Tensor, masks_in: Tensor, bboxes: Tensor, shape: tuple[int, int], upsample: bool) -> Tensor:
    """8.4's order: enlarged, then cut to the box.

    8.3 cuts first, so that its masks end up to four pixels beside their boxes; 8.4 names its issue 24272 for that.
    """
    assert upsample
    logits = (masks_in @ protos.float().flatten(1)).view(-1, *protos.shape[1:])
    return ops.crop_mask(interpolate(logits[None], shape, mode="bilinear")[0], bboxes).gt_(0.0).byte()


ops.process_mask = process_mask

ROWS: Final = [
    replace(row, name=f"{row.name}-83", photos=FOUR_TO_THREE if row.name in INEXACT else row.photos)
    for row in ALL
    if row.name in NAMES
]
