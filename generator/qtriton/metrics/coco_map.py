"""Accuracy as COCO defines it, computed by pycocotools: of boxes, and of whatever else a detection has."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from qtriton.labels.rows import Box
from qtriton.runtime.values import Results

#: Boxes at random places reach less than this, in points of 100; a model of use reaches more on any data.
CHANCE = 1.0


def _counts(box: Box) -> bool:
    return not box.crowd


def _as_it_is(evaluation: Any) -> None:
    """COCO's own parameters."""


@dataclass(frozen=True)
class Kind:
    """What of a detection is compared with the ground truth, in the fields that pycocotools reads."""

    measure: Literal["bbox", "segm", "keypoints"]
    #: What an object of the ground truth has besides its box.
    truth: Callable[[Any], dict[str, Any]]
    #: What the detection at a place of the results has.
    found: Callable[[Results, int], dict[str, Any]]
    #: Whether an object of the ground truth has to be found; what is found of others counts neither way.
    counts: Callable[[Any], bool] = _counts
    #: Sets COCOeval's parameters.
    prepare: Callable[[Any], None] = _as_it_is


def _found_box(result: Results, place: int) -> dict[str, Any]:
    x, y, right, bottom = result["boxes"][place].tolist()
    return {"bbox": [x, y, right - x, bottom - y]}


BOXES: Final = Kind("bbox", lambda box: {}, _found_box)


def coco_map(boxes: Sequence[Box], results: Sequence[Results], kind: Kind = BOXES) -> tuple[float, float]:
    """mAP50-95 and mAP50 in points of 100 over the classes that have objects, of the best detections of an image.

    COCO takes the best 100 of an image for boxes and masks, the best 20 for keypoints.

    Args:
        boxes: the ground truth, at least one that counts.
        results: one an image, in the order that the boxes refer to.
        kind: what of them is compared.
    """
    precisions = [average_precisions(boxes, results, at, kind) for at in (None, 0)]
    both = [float(np.mean([*each.values()])) for each in precisions]
    return both[0], both[1]


def average_precisions(
    boxes: Sequence[Box], results: Sequence[Results], threshold: int | None = None, kind: Kind = BOXES
) -> dict[int, float]:
    """AP50-95 in points of 100 of each class that has objects; at one of COCO's ten thresholds where it is named."""
    classes = sorted({box.label for box in boxes if kind.counts(box)})
    rows = [row for image, result in enumerate(results) for row in _rows(image, result, kind)]
    if not rows or not classes:
        return dict.fromkeys(classes, 0.0)
    precision = _precision(boxes, rows, len(results), kind)
    if threshold is not None:
        precision = precision[threshold : threshold + 1]
    return {each: float(100 * precision[:, :, each].mean()) for each in classes}


def _precision(boxes: Sequence[Box], rows: list[dict[str, Any]], images: int, kind: Kind) -> npt.NDArray[np.float64]:
    """COCO's precision by threshold, recall and class; -1 for a class without objects that count."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    top = max(*(box.label for box in boxes), *(row["category_id"] for row in rows))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            # Masks come as RLE, which has its size; pycocotools looks here all the same.
            "images": [{"id": image, "height": 0, "width": 0} for image in range(images)],
            "categories": [{"id": index} for index in range(top + 1)],
            # pycocotools takes an annotation with the id 0 for none.
            "annotations": [_annotation(number, box) | kind.truth(box) for number, box in enumerate(boxes, 1)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), kind.measure)
        kind.prepare(evaluation)
        evaluation.evaluate()
        evaluation.accumulate()
    everything, most = 0, -1  # objects of every size, as many detections an image as COCO takes
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


def _rows(image: int, result: Results, kind: Kind) -> list[dict[str, Any]]:
    """pycocotools' rows of the detections of an image."""
    count = int(result["num_detections"][0])
    found = zip(result["classes"][:count].tolist(), result["scores"][:count].tolist(), strict=True)
    return [
        {"image_id": image, "category_id": index, "score": score, **kind.found(result, place)}
        for place, (index, score) in enumerate(found)
    ]
