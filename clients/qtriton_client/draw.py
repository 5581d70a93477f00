"""Draws results into an image: class colours over masks, boxes with their classes, keypoints."""

import importlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from qtriton_client.errors import EXIT_ENVIRONMENT, ClientError

#: uint8 [height, width, 3], BGR as OpenCV has it.
Image: TypeAlias = npt.NDArray[np.uint8]

#: Which of COCO's 17 keypoints of a person are joined: `skeleton` in person_keypoints_val2017.json, counted from 0.
SKELETON: Final = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
    *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)
#: Keypoints of a lower score are not drawn.
_SEEN: Final = 0.5


def palette(count: int = 256) -> Image:
    """Colours of classes, uint8 [count, 3] in BGR: the colour map of PASCAL VOC's development kit (VOClabelcolormap).

    The bits of the class id are dealt to red, green and blue in turn, the highest bit of each first.
    """
    ids = np.arange(count)
    colours = np.zeros((count, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, 2 - channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def overlay(image: Image, mask: npt.NDArray[np.uint8], opacity: float = 0.5) -> Image:
    """Lay the colours of a mask of class ids, uint8 [height, width], over an image of its size.

    Raises:
        ValueError: the sizes differ.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, the image {image.shape[:2]}")
    mixed = image * (1 - opacity) + palette()[mask] * opacity
    return mixed.round().astype(np.uint8)


def objects(image: Image, masks: Sequence[npt.NDArray[np.bool_]], classes: Sequence[int]) -> Image:
    """Lay the colour of its class over each object, bool [height, width]; the first lies on top."""
    ids = np.zeros(image.shape[:2], np.uint8)
    for mask, number in zip(reversed(masks), reversed(classes), strict=True):
        ids[mask] = _place(number)
    return np.where(ids[..., np.newaxis] > 0, overlay(image, ids), image).astype(np.uint8)


def boxes(image: Image, corners: npt.NDArray[np.float32], labels: Sequence[str], classes: Sequence[int]) -> Image:
    """Draw boxes, [n, 4] x1, y1, x2, y2 in pixels, each with its label and the colour of its class."""
    x1, y1, x2, y2 = np.asarray(corners).reshape(-1, 4).T
    return polygons(image, np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=1).reshape(-1, 4, 2), labels, classes)


def polygons(image: Image, corners: npt.NDArray[np.float32], labels: Sequence[str], classes: Sequence[int]) -> Image:
    """Draw closed outlines, [n, points, 2] x, y in pixels, each with its label and the colour of its class."""
    cv2 = opencv()
    canvas = image.copy()
    for points, label, number in zip(np.asarray(corners).round().astype(np.int32), labels, classes, strict=True):
        cv2.polylines(canvas, [points], True, colour_of(number), 2)
        left, top = points.min(axis=0).tolist()
        where = (max(left, 0), max(top - 4, 12))
        cv2.putText(canvas, label, where, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour_of(number), 1, cv2.LINE_AA)
    return canvas


def keypoints(image: Image, points: npt.NDArray[np.float32], classes: Sequence[int]) -> Image:
    """Draw the keypoints of each object, [n, K, 3] x, y in pixels and score; COCO's 17 are joined to a skeleton."""
    cv2 = opencv()
    canvas = image.copy()
    for rows, number in zip(np.asarray(points), classes, strict=True):
        places, seen = rows[:, :2].round().astype(int).tolist(), rows[:, 2] >= _SEEN
        for one, two in SKELETON if len(rows) == 17 else ():
            if seen[one] and seen[two]:
                cv2.line(canvas, tuple(places[one]), tuple(places[two]), colour_of(number), 1, cv2.LINE_AA)
        for place, is_seen in zip(places, seen, strict=True):
            if is_seen:
                cv2.circle(canvas, tuple(place), 3, colour_of(number), -1)
    return canvas


def colour_of(number: int) -> tuple[int, ...]:
    """The colour of a class in BGR."""
    return tuple(map(int, palette()[_place(number)]))


def _place(number: int) -> int:
    return number % 255 + 1  # the first colour is black, VOC's background


def opencv() -> Any:
    """OpenCV, which the rest of the client does not need.

    Raises:
        ClientError: it is not installed.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        fix = "pip install opencv-python-headless"
        raise ClientError(f"OpenCV cannot be loaded ({error}): {fix}.", EXIT_ENVIRONMENT) from error
