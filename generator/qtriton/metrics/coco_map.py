"""Accuracy as COCO defines it, computed by pycocotools: of boxes, and of whatever else a detection has."""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from qtriton.labels.rows import Box
from qtriton.metrics.outcomes import Flags, Matches
from qtriton.runtime.values import Results

#: Boxes at random places reach less than this, in points of 100; a model of use reaches more on any data.
CHANCE = 1.0
#: From 0.5 to 0.95.
_IOUS: Final = 10
_NONE: Final = np.zeros((_IOUS, 0), bool)


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


def coco_map(boxes: Sequence[Box], results: Sequence[Results], kind: Kind = BOXES) -> Matches:
    """mAP50-95 over the classes that have objects, of the best detections of an image.

    COCO takes the best 100 of an image for boxes and masks, the best 20 for keypoints.

    Args:
        boxes: the ground truth.
        results: one an image, in the order that the boxes refer to.
        kind: what of them is compared.
    """
    objects = [box for box in boxes if kind.counts(box)]
    rows = [row for image, result in enumerate(results) for row in _rows(image, result, kind)]
    found = list(_matched(boxes, rows, len(results), kind) if rows and boxes else map(_unmatched, rows))
    scores = np.array([score for each in found for score in each.scores])
    images, classes = (
        np.array([value for each in found for value in [getattr(each, part)] * len(each.scores)], np.int64)
        for part in ("image", "label")
    )
    right, ignored = (np.concatenate([_NONE, *(each[part] for each in found)], axis=1) for part in (3, 4))
    # As COCOeval.accumulate() does: of equal scores that of the earlier image is better.
    order = np.lexsort((-scores, classes))
    return Matches(
        len(results),
        images[order],
        classes[order],
        right[:, order],
        ignored[:, order],
        np.array([box.image for box in objects], np.int64),
        np.array([box.label for box in objects], np.int64),
    )


class _Found(NamedTuple):
    """The detections of a class in an image, best first."""

    image: int
    label: int
    scores: Sequence[float]
    #: [IoUs, detections]
    right: Flags
    ignored: Flags


def _unmatched(row: dict[str, Any]) -> _Found:
    """A detection where there are no objects at all."""
    wrong = np.zeros((_IOUS, 1), bool)
    return _Found(row["image_id"], row["category_id"], [row["score"]], wrong, wrong)


def _matched(boxes: Sequence[Box], rows: list[dict[str, Any]], images: int, kind: Kind) -> Iterator[_Found]:
    """What COCOeval.evaluate() matches, by class, then by image."""
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
        # Objects of every size, which is the first.
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        kind.prepare(evaluation)
        evaluation.evaluate()
    for each in evaluation.evalImgs:
        if each is not None:
            ignored = each["dtIgnore"].astype(bool)
            right = (each["dtMatches"] > 0) & ~ignored
            yield _Found(each["image_id"], each["category_id"], each["dtScores"], right, ignored)


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
