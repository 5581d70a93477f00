"""How far what is served is what the home project makes of the same photo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from qtriton.runtime.values import Array, Results

#: Boxes to a pixel of the photo, scores to a hundredth.
PIXEL, SCORE = 1.0, 0.01
#: The names of places that are compared, by the name of the result.
PLACES: Final = {"boxes": "boxes", "corners": "polygons", "keypoints": "keypoints", "polygons": "polygons"}


def agreement(served: Results, expected: Mapping[str, Array], threshold: float) -> float:
    """The share of what is found, in both directions, that is the same; 1 where all is.

    Args:
        served: the results of one photo, as a client gets them.
        expected: what `Row` says.
        threshold: the higher of both sides' score thresholds.
    """
    if "mask" in served:
        return _maps(served["mask"], expected["class_map"])
    if "num_detections" in served:
        return _found(served, expected, threshold)
    return _classified(served, expected["scores"])


def _classified(served: Results, scores: Array) -> float:
    """The share of the best classes that are among the best and have their score."""
    classes = served["classes"]
    alike = np.abs(served["scores"] - scores[classes]) <= SCORE
    first = scores[classes[0]] >= scores.max() - SCORE
    return float(alike.mean()) if first else 0.0


def _maps(served: Array, expected: Array) -> float:
    """The share of pixels with the same class, in pixels of the photo."""
    size = served.shape[::-1]
    known = cv2.resize(expected.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return float((served == known).mean())


def _found(served: Results, expected: Mapping[str, Array], threshold: float) -> float:
    """The share of objects that have one alike on the other side."""
    count = int(served["num_detections"][0])
    name, place = next((name, PLACES[name]) for name in ("corners", "keypoints", "polygons", "boxes") if name in served)
    ours = np.nonzero(served["scores"][:count] >= threshold)[0]
    scores = expected.get("scores", np.ones(len(expected[place])))
    theirs = np.argsort(-scores, kind="stable")[: len(served["scores"])]  # no more fit into the answer
    theirs = theirs[scores[theirs] >= threshold]
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    near = _distance(served[name][ours], expected[place][theirs]) <= PIXEL
    if "scores" in expected:
        near &= np.abs(served["scores"][ours][:, None] - scores[theirs]) <= SCORE
    if "classes" in expected:
        near &= served["classes"][ours][:, None] == expected["classes"][theirs]
    return float(min(near.any(0).mean(), near.any(1).mean()))


def _distance(ours: Array, theirs: Array) -> Array:
    """The largest distance in pixels between coordinates of two objects, of points without their scores."""
    flat = [each[..., :2].reshape(len(each), -1) if each.ndim == 3 else each for each in (ours, theirs)]
    distance: Array = np.abs(flat[0][:, None] - flat[1]).max(2)
    return distance
