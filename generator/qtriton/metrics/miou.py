"""Segmentation accuracy: the mean intersection over union of the classes."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

#: Class ids are bytes.
_CLASSES = 256

Mask = npt.NDArray[np.uint8]
Confusion = npt.NDArray[np.int64]


def confusion(pairs: Iterable[tuple[Mask, Mask]], ignored: int | None) -> Confusion:
    """How many pixels of each true class (the row) were taken for each class, all images together.

    Args:
        pairs: the true and the predicted mask of each image, of the same size.
        ignored: true pixels of this label do not count.
    """
    counts = np.zeros((_CLASSES, _CLASSES), np.int64)
    for truth, prediction in pairs:
        valid = np.ones(truth.shape, bool) if ignored is None else truth != ignored
        both = truth[valid].astype(np.int64) * _CLASSES + prediction[valid]
        counts += np.bincount(both, minlength=_CLASSES * _CLASSES).reshape(_CLASSES, _CLASSES)
    return counts


def miou(counts: Confusion) -> float:
    """Mean IoU in points of 100 over the classes that occur, at least one."""
    union = counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts)
    occurs = counts.sum(axis=1) > 0
    return float(100 * (np.diag(counts)[occurs] / union[occurs]).mean())


def chance(counts: Confusion) -> float:
    """The mean IoU in points of 100 of masks that are all of the most frequent class; 0 where there is no other."""
    pixels = counts.sum(axis=1)
    occurring = np.count_nonzero(pixels)
    return float(100 * pixels.max() / pixels.sum() / occurring) if occurring > 1 else 0.0
