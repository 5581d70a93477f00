"""Segmentation accuracy: the mean intersection over union of the classes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from qtriton.metrics.outcomes import CLASS_IDS, Confusions

Mask = npt.NDArray[np.uint8]
Confusion = npt.NDArray[np.integer[Any]]


def miou(pairs: Iterable[tuple[Mask, Mask]], ignored: int | None) -> Confusions:
    """Mean IoU over the classes that occur, at least one.

    Args:
        pairs: the true and the predicted mask of each image, of the same size.
        ignored: true pixels of this label do not count.
    """
    counted = [_count(truth, prediction, ignored) for truth, prediction in pairs]
    images = np.repeat(np.arange(len(counted)), [len(both) for both, _ in counted])
    both, pixels = (np.concatenate([each[part] for each in counted]) for part in (0, 1))
    return Confusions(len(counted), images, both // CLASS_IDS, both % CLASS_IDS, pixels)


def chance(counts: Confusion) -> float:
    """The mean IoU in points of 100 of masks that are all of the most frequent class; 0 where there is no other."""
    pixels = counts.sum(axis=1)
    occurring = np.count_nonzero(pixels)
    return float(100 * pixels.max() / pixels.sum() / occurring) if occurring > 1 else 0.0


def _count(truth: Mask, prediction: Mask, ignored: int | None) -> tuple[Confusion, Confusion]:
    """The pairs of a true and a predicted class that an image has, as one number, and their pixels."""
    valid = np.ones(truth.shape, bool) if ignored is None else truth != ignored
    counts = np.bincount(truth[valid].astype(np.int64) * CLASS_IDS + prediction[valid])
    both = np.nonzero(counts)[0]
    return both, counts[both]
