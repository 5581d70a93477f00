"""Detection accuracy as COCO defines it, computed by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qtriton.labels.rows import Box
from qtriton.runtime.values import Results

#: Boxes at random places reach less than this, in points of 100; a model of use reaches more on any data.
CHANCE = 1.0


def coco_map(boxes: Sequence[Box], results: Sequence[Results]) -> tuple[float, float]:
    """mAP50-95 and mAP50 in points of 100 over the classes that have boxes, at most 100 detections an image.

    Args:
        boxes: the ground truth, at least one that is no crowd.
        results: one an image, in the order that the boxes refer to.
    """
    precisions = [average_precisions(boxes, results, at) for at in (None, 0)]
    both = [float(np.mean([*each.values()])) for each in precisions]
    return both[0], both[1]


def average_precisions(
    boxes: Sequence[Box], results: Sequence[Results], threshold: int | None = None
) -> dict[int, float]:
    """AP50-95 in points of 100 of each class that has boxes; at one of COCO's ten IoU thresholds where it is named."""
    classes = sorted({box.label for box in boxes if not box.crowd})
    rows = [row for image, result in enumerate(results) for row in _rows(image, result)]
    if not rows or not classes:
        return dict.fromkeys(classes, 0.0)
    precision = _precision(boxes, rows, len(results))
    if threshold is not None:
        precision = precision[threshold : threshold + 1]
    return {each: float(100 * precision[:, :, each].mean()) for each in classes}


def _precision(boxes: Sequence[Box], rows: list[list[float]], images: int) -> npt.NDArray[np.float64]:
    """COCO's precision by IoU threshold, recall and class; -1 for a class without boxes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    top = int(max(*(box.label for box in boxes), *(row[-1] for row in rows)))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(images)],
            "categories": [{"id": index} for index in range(top + 1)],
            # pycocotools takes an annotation with the id 0 for none.
            "annotations": [_annotation(number, box) for number, box in enumerate(boxes, 1)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(np.asarray(rows)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    everything, most = 0, -1  # objects of every size, 100 detections an image
    return np.asarray(evaluation.eval["precision"][:, :, :, everything, most])


def _annotation(number: int, box: Box) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": box.image,
        "category_id": box.label,
        "bbox": [box.x, box.y, box.width, box.height],
        # It tells small objects from large ones, which nobody asks for; what a model reports may have none.
        "area": 1.0,
        "iscrowd": int(box.crowd),
    }


def _rows(image: int, result: Results) -> list[list[float]]:
    """pycocotools' rows: image id, x, y, width, height, score, category id."""
    count = int(result["num_detections"][0])
    found = zip(result["boxes"][:count].tolist(), result["scores"].tolist(), result["classes"].tolist(), strict=False)
    return [[image, box[0], box[1], box[2] - box[0], box[3] - box[1], score, index] for box, score, index in found]
