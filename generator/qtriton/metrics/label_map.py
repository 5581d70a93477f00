"""Metrics of several labels an image: mean average precision over classes, and F1 of two sets of labels."""

from collections.abc import Collection, Sequence

import numpy as np

from qtriton.metrics.outcomes import LabelCounts, LabelScores
from qtriton.runtime.values import Array, Results


def label_map(truth: Sequence[Collection[int]], results: Sequence[Results], classes: int) -> LabelScores:
    """The mean over the classes that some image has of their average precision.

    Images are ranked by the score of the class, 0 where it is not reported; average precision is the mean of the
    precision at each image that has the class: average_precision() of Alibaba-MIIL/ASL, src/helper_functions.

    Args:
        truth: the class indices of each image; at least one image has one.
        results: num_labels, classes and scores of each image, in the same order.
        classes: how many the model has a score for.
    """
    scores = np.zeros((len(results), classes), np.float64)
    for row, result in zip(scores, results, strict=True):
        count = int(result["num_labels"][0])
        row[result["classes"][:count]] = result["scores"][:count]
    return LabelScores(len(results), scores, present(truth, classes))


def chance(truth: Sequence[Collection[int]], classes: int) -> float:
    """What an order by chance reaches: the share of the images that have a class, mean over those that some has."""
    shares = present(truth, classes).mean(axis=0)
    return 100.0 * float(shares[shares > 0].mean())


def present(truth: Sequence[Collection[int]], classes: int) -> Array:
    """Which image has which class, bool [images, classes]."""
    true = np.zeros((len(truth), classes), bool)
    for row, labels in zip(true, truth, strict=True):
        row[list(labels)] = True
    return true


def label_f1(truth: Sequence[Results], results: Sequence[Results]) -> LabelCounts:
    """2 * shared / (labels of the one + of the other) over all images."""
    pairs = [(labels_of(one), labels_of(other)) for one, other in zip(truth, results, strict=True)]
    shared = np.array([len(one & other) for one, other in pairs])
    return LabelCounts(len(pairs), shared, np.array([len(one) + len(other) for one, other in pairs]))


def labels_of(result: Results) -> set[int]:
    """The classes that an image was given."""
    return set(result["classes"][: int(result["num_labels"][0])].tolist())
