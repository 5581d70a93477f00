"""Detection accuracy as COCO defines it, computed by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from qtriton.errors import InputError
from qtriton.runtime.post import Results


def category_ids(coco: dict[str, Any], classes: Sequence[str]) -> list[int]:
    """The COCO category id of each class index: by name where COCO has all of the names, else in order of id."""
    by_name = {category.get("name"): category["id"] for category in coco["categories"]}
    if classes and all(name in by_name for name in classes):
        return [by_name[name] for name in classes]
    return sorted(category["id"] for category in coco["categories"])


def coco_map(coco: dict[str, Any], results: Sequence[Results], classes: Sequence[str]) -> tuple[float, float]:
    """mAP50-95 and mAP50 in points of 100, at most 100 detections an image.

    Args:
        coco: the ground truth, COCO's own JSON.
        results: one an image, in the order of coco["images"].
        classes: the model's class names, by index.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    ids = category_ids(coco, classes)
    rows = [
        row for image, result in zip(coco["images"], results, strict=True) for row in _rows(image["id"], result, ids)
    ]
    if not rows:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, **coco}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(np.asarray(rows)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0] * 100), float(evaluation.stats[1] * 100)


def _rows(image_id: int, result: Results, ids: Sequence[int]) -> list[list[float]]:
    """pycocotools' rows: image id, x, y, width, height, score, category id."""
    count = int(result["num_detections"][0])
    rows = []
    for box, score, index in zip(
        result["boxes"][:count].tolist(), result["scores"].tolist(), result["classes"].tolist(), strict=False
    ):
        if index >= len(ids):
            raise InputError(
                f"the model reports class {index}, but --labels has only {len(ids)} categories. "
                "Give the labels of the data that the model was trained on."
            )
        rows.append([image_id, box[0], box[1], box[2] - box[0], box[3] - box[1], score, ids[index]])
    return rows
