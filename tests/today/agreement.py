"""How far what is served is what the home project makes of the same photo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from qtriton.runtime.values import Array, Results
from qtriton_client.masks import paste

#: Boxes to a pixel of the photo, scores to a hundredth.
PIXEL, SCORE = 1.0, 0.01
#: Masks to a pixel of the model's input, a quarter of a prototype's, or to half a cell of the grid within the box that
#: is served, but for this share of them. The ragged masks of random weights differ along their edges by so much that
#: their IoU goes down to 0.5.
BEYOND: Final = 0.01
#: The least IoU all the same: of a thin mask, all is edge.
OVERLAP: Final = 0.5
#: The names of places that are compared, by the name of the result.
PLACES: Final = {"boxes": "boxes", "corners": "polygons", "keypoints": "keypoints"}


def agreement(served: Results, expected: Mapping[str, Array], threshold: float, size: tuple[int, int]) -> float:
    """The share of what is found, in both directions, that is the same; 1 where all is.

    Args:
        served: the results of one photo, as a client gets them.
        expected: what `Row` says.
        threshold: the higher of both sides' score thresholds.
        size: the photo's height and width.
    """
    if "mask" in served:
        return _maps(served["mask"], expected["class_map"])
    if "num_detections" in served:
        return _found(served, expected, threshold, size)
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


def _found(served: Results, expected: Mapping[str, Array], threshold: float, size: tuple[int, int]) -> float:
    """The share of objects that have one alike on the other side."""
    count = int(served["num_detections"][0])
    places = {name: place for name, place in PLACES.items() if name in served and place in expected}
    ours = np.nonzero(served["scores"][:count] >= threshold)[0]
    scores = expected.get("scores", np.ones(len(expected[next(iter(places.values()))])))
    theirs = np.argsort(-scores, kind="stable")[: len(served["scores"])]  # no more fit into the answer
    theirs = theirs[scores[theirs] >= threshold]
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    near = np.ones((len(ours), len(theirs)), bool)
    for name, place in places.items():
        near &= _distance(served[name][ours], expected[place][theirs], "classes" in expected) <= PIXEL
    if "keypoints" in places:
        near &= _sureness(served["keypoints"][ours], expected["keypoints"][theirs]) <= SCORE
    if "scores" in expected:
        near &= np.abs(served["scores"][ours][:, None] - scores[theirs]) <= SCORE
    if "classes" in expected:
        near &= served["classes"][ours][:, None] == expected["classes"][theirs]
    if "masks" in served:
        _same_masks(near, (served["masks"][ours], served["boxes"][ours]), expected["masks"][theirs], size)
    return float(min(near.any(0).mean(), near.any(1).mean()))


def _distance(ours: Array, theirs: Array, anyhow: bool) -> Array:
    """The largest distance in pixels between coordinates of two objects, [n, m]; of keypoints without their scores.

    The corners of a rotated box, [n, 4, 2], may begin with any of them: Ultralytics 8.3 turns the angle into a quarter.
    """
    if ours.ndim == 2:
        return _largest(ours, theirs)
    starts = range(4 if anyhow and ours.shape[1:] == (4, 2) else 1)
    distances = [_largest(ours[..., :2], np.roll(theirs, start, axis=1)[..., :2]) for start in starts]
    nearest: Array = np.min(distances, axis=0)
    return nearest


def _sureness(ours: Array, theirs: Array) -> Array:
    """The largest distance between scores of two objects' keypoints, [n, m]; 0 where the model gives none."""
    return _largest(ours[..., 2:], theirs[..., 2:]) if theirs.shape[2] == 3 else np.zeros((len(ours), len(theirs)))


def _largest(ours: Array, theirs: Array) -> Array:
    """The largest distance between numbers of two objects, [n, m]."""
    distance: Array = np.abs(ours.reshape(len(ours), 1, -1) - theirs.reshape(1, len(theirs), -1)).max(2)
    return distance


def _same_masks(near: Array, ours: tuple[Array, Array], theirs: Array, size: tuple[int, int]) -> None:
    """Strike out the pairs whose masks differ.

    Args:
        near: bool [n, m], which objects are alike but for their masks.
        ours: masks uint8 [n, rows, columns], grids within boxes [n, 4] in pixels of the photo.
        theirs: bool [m, height, width], the photo at the scale of the model's input.
        size: the photo's height and width.
    """
    height, width = theirs.shape[1:]
    scale = np.array([width / size[1], height / size[0]] * 2)
    for place in np.nonzero(near.any(1))[0]:
        grid, box = ours[0][place], ours[1][place] * scale
        mask = paste(grid, box, height, width)
        cell = ((box[2:] - box[:2]) / grid.shape[::-1]).max()
        for other in np.nonzero(near[place])[0]:
            near[place, other] = _same_mask(mask, theirs[other], max(1, round(cell / 2)))


def _same_mask(ours: Array, theirs: Array, pixels: int) -> bool:
    """Whether two masks differ along the edge of theirs alone, so many pixels of it."""
    if not theirs.any():  # it is in the border around the photo
        return not ours.any()
    edge = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    grown = cv2.dilate(theirs.astype(np.uint8), edge).astype(bool)
    shrunk = cv2.erode(theirs.astype(np.uint8), edge).astype(bool)
    beyond = (ours & ~grown).sum() + (shrunk & ~ours).sum()
    return bool(beyond <= BEYOND * theirs.sum() and (ours & theirs).sum() >= OVERLAP * (ours | theirs).sum())
