"""Average precision for many draws of the images at once, from a ranking that every draw shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

#: COCO's points of recall, as pycocotools makes them.
RECALLS: Final = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Ranking:
    """The detections of one class, best first, as pycocotools ranks those of all images."""

    #: The image of each [detections].
    images: Integers
    #: Whether it is right, and whether it does not count, at each IoU [IoUs, detections].
    right: Flags
    ignored: Flags


def average_precisions(ranking: Ranking, objects: Integers, copies: Floats) -> Floats:
    """Average precision at each IoU for each draw, from 0 to 1 [IoUs, draws]: the mean over RECALLS of the highest
    precision at that recall or a higher one, as COCOeval.accumulate() of cocodataset/cocoapi has it.

    Only what is right can be a point of that envelope, so what is wrong is summed between such points, by one sparse
    product for all IoUs, and what ranks below the last of them does not matter.

    Args:
        ranking: of one class.
        objects: how many objects of the class the images of each draw have, at least 1 [draws].
        copies: how often each image is drawn [images, draws].
    """
    points = np.nonzero(ranking.right.any(axis=0))[0]
    everything = _sums(ranking.images, points, copies)
    drawn = copies[ranking.images[points]]
    recalls = _Recalls(objects)
    found = np.zeros((len(ranking.right), copies.shape[1]))
    for at, (right, ignored) in enumerate(zip(ranking.right, ranking.ignored, strict=True)):
        own = np.nonzero(right[points])[0]
        if not len(own):
            continue
        hits = drawn[own].cumsum(axis=0)
        seen = everything[own]
        if ignored.any():
            seen = seen - _sums(ranking.images, points[own], copies, ignored)
        precision = hits / np.maximum(seen, 1)
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        found[at] = (envelope * recalls.reached(hits)).sum(axis=0) / len(RECALLS)
    return found


def label_precision(images: Integers, true: Flags, copies: Floats) -> Floats:
    """The mean of the precision at each image that has a class, from 0 to 1 [draws]; 0 where none of a draw has it.

    The j-th of c copies of an image has the precision (r + j) / (r + w + j) where r right and w wrong ones rank before
    it, and 1 - w / (r + w + j) adds up by the harmonic numbers.

    Args:
        images: by the score of the class, the highest first.
        true: which of these has the class.
        copies: how often each image is drawn [images, draws].
    """
    points = np.nonzero(true)[0]
    drawn = copies[images[points]]
    hits, seen = drawn.cumsum(axis=0), _sums(images, points, copies)
    number = drawn.sum(axis=0)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, copies.sum(axis=0).max() + 1))])
    upper, lower = (harmonic.take(each.astype(np.int64)) for each in (seen, seen - drawn))
    precisions = drawn - (seen - hits) * (upper - lower)
    mean: Floats = np.divide(precisions.sum(axis=0), number, out=np.zeros(len(number)), where=number > 0)
    return mean


def _sums(images: Integers, points: Integers, copies: Floats, only: Flags | None = None) -> Floats:
    """How many rank at each of some points or better in each draw [points, draws]."""
    from scipy.sparse import csr_matrix

    last = points[-1] + 1 if len(points) else 0
    places = np.arange(last) if only is None else np.nonzero(only[:last])[0]
    starts = np.concatenate([[0], np.searchsorted(places, points, side="right")])
    matrix = csr_matrix((np.ones(len(places)), images[places], starts), shape=(len(points), len(copies)))
    return np.asarray((matrix @ copies).cumsum(axis=0))


class _Recalls:
    """How many of RECALLS are reached, looked up by the number of objects and of hits."""

    def __init__(self, objects: Integers) -> None:
        numbers, self._rows = np.unique(objects, return_inverse=True)
        self._width = int(numbers[-1]) + 1
        recalls = np.arange(self._width) / numbers[:, np.newaxis]
        self._reached = np.searchsorted(RECALLS, recalls, side="right").astype(np.float64).ravel()

    def reached(self, hits: Floats) -> Floats:
        """How many are reached at each point and not at those before it [points, draws]."""
        at = self._reached.take(hits.astype(np.int64) + self._rows * self._width)
        at[1:] -= at[:-1].copy()
        return at
