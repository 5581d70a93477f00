"""Masks of objects: from the grid within a box, as an ensemble gives it, to the pixels of the image."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from qtriton_client.draw import opencv

#: A mask is 255 times the probability that a pixel belongs to the object.
_EVEN: Final = 127.5


def paste(
    mask: npt.NDArray[np.uint8], box: npt.NDArray[np.floating[Any]], height: int, width: int
) -> npt.NDArray[np.bool_]:
    """Which pixels of an image belong to an object, bool [height, width].

    Args:
        mask: uint8 [rows, columns], 255 times the probability; the grid is stretched over the box.
        box: x1, y1, x2, y2 in pixels of the image; nothing outside of it belongs to the object.
        height: of the image.
        width: of the image.
    """
    x1, y1, x2, y2 = (float(each) for each in box)
    top, bottom = (int(min(max(np.ceil(each), 0), height)) for each in (y1, y2))
    left, right = (int(min(max(np.ceil(each), 0), width)) for each in (x1, x2))
    whole = np.zeros((height, width), np.bool_)
    if top < bottom and left < right:
        down = _weights(np.arange(top, bottom), y1, y2, mask.shape[0])
        across = _weights(np.arange(left, right), x1, x2, mask.shape[1])
        whole[top:bottom, left:right] = down @ mask.astype(np.float32) @ across.T > _EVEN
    return whole


def _weights(pixels: npt.NDArray[np.int_], low: float, high: float, cells: int) -> npt.NDArray[np.float32]:
    """The weights of linear interpolation, float32 [pixels, cells], from cells between low and high."""
    places = (pixels + 0.5 - low) / (high - low) * cells - 0.5
    distances = places.clip(0, cells - 1)[:, np.newaxis] - np.arange(cells)
    weights: npt.NDArray[np.float32] = np.maximum(1 - np.abs(distances), 0).astype(np.float32)
    return weights


def outline(mask: npt.NDArray[np.uint8], box: npt.NDArray[np.floating[Any]]) -> list[list[list[float]]]:
    """The outer outlines of an object's parts, the longest first: x, y in pixels of the image.

    Raises:
        ClientError: OpenCV is not installed.
    """
    # Neighbours of the outermost cells, so that what reaches the edge of the box ends there.
    inside = (np.pad(mask, 1) > _EVEN).astype(np.uint8)
    contours, _ = opencv().findContours(inside, opencv().RETR_EXTERNAL, opencv().CHAIN_APPROX_SIMPLE)
    corner, sides = np.asarray(box[:2]), np.asarray(box[2:]) - np.asarray(box[:2])
    parts = sorted((contour.reshape(-1, 2) for contour in contours), key=len, reverse=True)
    return [(corner + (part - 0.5) / mask.shape[::-1] * sides).tolist() for part in parts]
