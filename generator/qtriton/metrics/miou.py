"""Segmentation accuracy: the mean intersection over union of the classes."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from qtriton.errors import InputError

#: Class ids are bytes.
_CLASSES = 256


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """A mask of class ids, uint8 [height, width].

    Raises:
        InputError: it cannot be read, or has colours instead of class ids.
    """
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(f"{path}: no mask. Give an 8-bit PNG of one channel with a class id a pixel.")
    return np.asarray(mask, np.uint8)


def miou(pairs: Iterable[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]], ignored: int) -> float:
    """Mean IoU in points of 100 over the classes that occur, all images together.

    Args:
        pairs: the true and the predicted mask of each image, of the same size.
        ignored: true pixels of this label do not count.
    """
    counts = np.zeros((_CLASSES, _CLASSES), np.int64)
    for truth, prediction in pairs:
        valid = truth != ignored
        both = truth[valid].astype(np.int64) * _CLASSES + prediction[valid]
        counts += np.bincount(both, minlength=_CLASSES * _CLASSES).reshape(_CLASSES, _CLASSES)
    union = counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts)
    occurs = counts.sum(axis=1) > 0
    return float(100 * (np.diag(counts)[occurs] / union[occurs]).mean())
