"""Models of Ultralytics as its version 8.3 exports them, which lies in a folder of its own, first on the path."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
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
    """As of 8.4: enlarged, then cut to the box.

    8.3 cuts first, so that its masks end up to four pixels beside their boxes (8.4 names its issue 24272 for that). Of
    fewer than 50 objects it takes a box that begins left of the image, or above, as counted from the other end.
    """
    assert upsample
    logits = (masks_in @ protos.float().flatten(1)).view(-1, *protos.shape[1:])
    masks = interpolate(logits[None], shape, mode="bilinear")[0] > 0
    x1, y1, x2, y2 = bboxes[:, :, None, None].unbind(1)
    rows, columns = torch.arange(shape[0])[:, None], torch.arange(shape[1])
    return (masks & (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)).byte()


ops.process_mask = process_mask

ROWS: Final = [
    replace(row, name=f"{row.name}-83", photos=FOUR_TO_THREE if row.name in INEXACT else row.photos)
    for row in ALL
    if row.name in NAMES
]
