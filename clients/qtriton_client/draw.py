"""Draws results into an image: class colours over a mask, boxes with their classes."""

import importlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from qtriton_client.errors import EXIT_ENVIRONMENT, ClientError

#: uint8 [height, width, 3], BGR as OpenCV has it.
Image: TypeAlias = npt.NDArray[np.uint8]


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


def boxes(image: Image, corners: npt.NDArray[np.float32], labels: Sequence[str], classes: Sequence[int]) -> Image:
    """Draw boxes, [n, 4] x1, y1, x2, y2 in pixels, each with its label and the colour of its class."""
    cv2 = opencv()
    canvas = image.copy()
    colours = palette()
    for box, label, number in zip(np.asarray(corners).round().astype(int).tolist(), labels, classes, strict=True):
        colour = tuple(map(int, colours[(number + 1) % 256]))  # the first colour is black, VOC's background
        cv2.rectangle(canvas, tuple(box[:2]), tuple(box[2:]), colour, 2)
        cv2.putText(canvas, label, (box[0], max(box[1] - 4, 12)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return canvas


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
