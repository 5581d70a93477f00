"""Accuracy of rotated boxes: COCO's precision by the IoU of polygons, at most 300 an image."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import cv2
import numpy as np

from qtriton.labels.rows import Points, Rotated
from qtriton.metrics.coco_map import Kind
from qtriton.runtime.values import Array, Results

#: An aerial photo has many objects: max_det of ultralytics/ultralytics, ultralytics/cfg/default.yaml.
_MOST: Final = 300


def iou(one: Array, two: Array) -> float:
    """The intersection over union of two convex polygons [points, 2]."""
    first, second = (cv2.convexHull(np.asarray(each, np.float32)) for each in (one, two))
    shared, _ = cv2.intersectConvexConvex(first, second)
    union = cv2.contourArea(first) + cv2.contourArea(second) - shared
    return float(shared / union) if union > 0 else 0.0


def as_rotated(results: Sequence[Results]) -> list[Rotated]:
    """What a model reports, as ground truth."""
    return [
        Rotated.of(image, int(result["classes"][place]), _points(result["corners"][place]))
        for image, result in enumerate(results)
        for place in range(int(result["num_detections"][0]))
    ]


def _points(corners: Array) -> Points:
    return tuple((float(x), float(y)) for x, y in corners)


def _truth(box: Rotated) -> dict[str, Any]:
    return {"corners": np.array(box.points, np.float32)}


def _found(result: Results, place: int) -> dict[str, Any]:
    corners = result["corners"][place]
    low, high = corners.min(axis=0), corners.max(axis=0)
    return {"corners": corners, "bbox": [*low.tolist(), *(high - low).tolist()]}


def _by_polygons(evaluation: Any) -> None:
    evaluation.params.maxDets = [1, 10, _MOST]
    evaluation.computeIoU = partial(_ious, evaluation)


def _ious(evaluation: Any, image: int, category: int) -> Any:
    """IoU of each detection, best first, with each object: what COCOeval.computeIoU gives of upright boxes."""
    truth, found = (each[image, category] for each in (evaluation._gts, evaluation._dts))
    order = np.argsort([-each["score"] for each in found], kind="mergesort")[:_MOST]
    if not truth or not found:
        return []
    table = np.zeros((len(order), len(truth)))
    for row, place in enumerate(order):
        for column, other in enumerate(truth):
            if _touch(found[place]["bbox"], other["bbox"]):
                table[row, column] = iou(found[place]["corners"], other["corners"])
    return table


def _touch(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether two upright boxes x, y, width, height have anything in common."""
    return all(one[at] < two[at] + two[at + 2] and two[at] < one[at] + one[at + 2] for at in (0, 1))


ROTATED: Final = Kind("bbox", _truth, _found, prepare=_by_polygons)
