"""What a metric saw image by image, so that it can be computed again for any number of copies of each image."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from qtriton.metrics.precision import Ranking, average_precisions, label_precision

Floats = npt.NDArray[np.float64]
Copies = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.integer[Any]]

#: Class ids of masks are bytes.
CLASS_IDS: Final = 256


@dataclass(frozen=True, eq=False)
class Outcomes(ABC):
    """One class a family of metrics; values are in points of 100."""

    images: int

    def value(self) -> float:
        """The metric on the images as they are."""
        return float(self.replicate(np.ones((1, self.images), np.int64))[0])

    @abstractmethod
    def replicate(self, copies: Copies) -> Floats:
        """The metric for so many copies of each image; classes that no image of a draw has do not count in it.

        Args:
            copies: [draws, images], 0 where an image is not drawn.

        Returns:
            [draws]; not a number where the images of a draw say nothing.
        """

    def sha256(self) -> bytes:
        """The hash of all that was seen."""
        digest = hashlib.sha256(type(self).__name__.encode())
        for name, array in self._arrays().items():
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcomes) and self.sha256() == other.sha256()

    def __hash__(self) -> int:
        return hash(self.sha256())

    def save(self, file: Path) -> None:
        """Write them to a .npz file: the same outcomes, the same bytes."""
        with file.open("wb") as out:
            np.savez_compressed(out, family=np.array(type(self).__name__), **self._arrays())

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, eq=False)
class Hits(Outcomes):
    """Top-1: whether the best class of each image is the true one."""

    #: [images]
    right: Flags

    def replicate(self, copies: Copies) -> Floats:
        points: Floats = 100.0 * (copies @ self.right.astype(np.int64)) / copies.sum(axis=1)
        return points


@dataclass(frozen=True, eq=False)
class Matches(Outcomes):
    """mAP50-95: detections of all classes, matched once, in the order of their classes, of each the best first."""

    #: The image and the class of each [detections].
    found_images: Integers
    found_classes: Integers
    #: Whether each is right, and whether it counts neither way, at each IoU [IoUs, detections].
    right: Flags
    ignored: Flags
    #: The image and the class of each object that has to be found [objects].
    object_images: Integers
    object_classes: Integers
    #: Whether a class without objects counts with 0 where it is found; where nothing is there or found, that is 100.
    strict: bool = False

    def at(self, threshold: int) -> Matches:
        """At one of the IoUs alone."""
        own = slice(threshold, threshold + 1)
        return replace(self, right=self.right[own], ignored=self.ignored[own])

    def replicate(self, copies: Copies) -> Floats:
        drawn = np.ascontiguousarray(copies.T, np.float64)
        total, classes = np.zeros((2, len(copies)))
        for index in np.union1d(self.found_classes, self.object_classes):
            objects = drawn[self.object_images[self.object_classes == index]].sum(axis=0)
            own = slice(*np.searchsorted(self.found_classes, [index, index + 1]))
            there = objects > 0
            if there.any():
                ranking = Ranking(self.found_images[own], self.right[:, own], self.ignored[:, own])
                points = average_precisions(ranking, objects.clip(1).astype(np.int64), drawn)
                total += points.mean(axis=0) * there
            classes += there | (drawn[self.found_images[own]].any(axis=0) if self.strict else False)
        nothing = 100.0 if self.strict else np.nan
        return np.divide(100 * total, classes, out=np.full(len(copies), nothing), where=classes > 0)


@dataclass(frozen=True, eq=False)
class Confusions(Outcomes):
    """Mean IoU: how many pixels of each true class were taken for each class, image by image, where there are any."""

    #: The image, the true class, the class that was found, and the pixels of each pair of classes that occurs [pairs].
    pair_images: Integers
    true_classes: Integers
    found_classes: Integers
    pixels: Integers

    def counts(self) -> Integers:
        """Pixels of all images together by true class (the row) and class that was found, int64 [256, 256]."""
        counts = np.zeros((CLASS_IDS, CLASS_IDS), np.int64)
        np.add.at(counts, (self.true_classes, self.found_classes), self.pixels)
        return counts

    def replicate(self, copies: Copies) -> Floats:
        drawn, everywhere = copies.astype(np.float64), np.ones(len(self.pixels), bool)
        right = drawn @ self._by_image(self.true_classes, self.true_classes == self.found_classes)
        labelled = drawn @ self._by_image(self.true_classes, everywhere)
        predicted = drawn @ self._by_image(self.found_classes, everywhere)
        there = labelled > 0
        ratios = np.divide(right, labelled + predicted - right, out=np.zeros(right.shape), where=there)
        classes = there.sum(axis=1)
        return np.divide(100 * ratios.sum(axis=1), classes, out=np.full(len(copies), np.nan), where=classes > 0)

    def _by_image(self, classes: Integers, where: Flags) -> Floats:
        """Pixels of each image in each class that is there [images, classes]."""
        there = np.unique(self.true_classes)
        pixels = np.zeros((self.images, CLASS_IDS))
        np.add.at(pixels, (self.pair_images[where], classes[where]), self.pixels[where])
        return pixels[:, there]


@dataclass(frozen=True, eq=False)
class LabelScores(Outcomes):
    """Label mAP: the score of each class, and whether the image has it."""

    #: [images, classes]
    scores: Floats
    true: Flags

    def replicate(self, copies: Copies) -> Floats:
        drawn = np.ascontiguousarray(copies.T, np.float64)
        total, classes = np.zeros((2, len(copies)))
        for true, scores in zip(self.true.T, self.scores.T, strict=True):
            # Of equal scores the image without the class comes first: a model that tells nothing apart gains nothing.
            order = np.lexsort((true, -scores))
            total += label_precision(order, true[order], drawn)
            classes += drawn[true].any(axis=0)
        return np.divide(100 * total, classes, out=np.full(len(copies), np.nan), where=classes > 0)


@dataclass(frozen=True, eq=False)
class LabelCounts(Outcomes):
    """F1 of two sets of labels: how many they share, and how many both have together, image by image."""

    #: [images]
    shared: Integers
    labels: Integers

    def replicate(self, copies: Copies) -> Floats:
        """100 where no image has a label."""
        labels = copies @ self.labels
        return np.divide(200.0 * (copies @ self.shared), labels, out=np.full(len(copies), 100.0), where=labels > 0)


def load_outcomes(file: Path) -> Outcomes:
    """What `save` wrote.

    Raises:
        OSError, ValueError, KeyError: it is none.
    """
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    family = _FAMILIES[str(arrays.pop("family"))]
    return family(**{name: array if array.ndim else array.item() for name, array in arrays.items()})


_FAMILIES: Final[dict[str, type[Outcomes]]] = {
    each.__name__: each for each in (Hits, Matches, Confusions, LabelScores, LabelCounts)
}
