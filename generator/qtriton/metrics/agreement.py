"""How far results agree with FP32's on images without labels: FP32's results serve as the ground truth."""

from collections.abc import Sequence
from typing import Any

from qtriton.metrics.coco_map import coco_map
from qtriton.metrics.miou import miou
from qtriton.metrics.top1 import top1
from qtriton.runtime.post import Results
from qtriton.spec import Task

#: What an agreement is called; METRIC has the names with labels.
AGREEMENT: dict[Task, str] = {
    "detection": "mAP50-95 against FP32's detections",
    "classification": "Top1 agreement with FP32",
    "segmentation": "mIoU against FP32's masks",
}


def agreement(task: Task, fp32: Sequence[Results], other: Sequence[Results]) -> float:
    """The task's metric in points of 100, with FP32's results as truth; 100 where nothing differs."""
    match task:
        case "detection":
            return coco_map(_as_coco(fp32), other, ())[0]
        case "classification":
            return top1([int(result["classes"][0]) for result in fp32], other)
        case "segmentation":
            return miou(zip((each["mask"] for each in fp32), (each["mask"] for each in other), strict=True), -1)


def _as_coco(results: Sequence[Results]) -> dict[str, Any]:
    """Detections as COCO ground truth; the category of a class is its index."""
    boxes: list[dict[str, Any]] = []
    top = 0
    for image, result in enumerate(results):
        for place in range(int(result["num_detections"][0])):
            x, y, right, bottom = map(float, result["boxes"][place])
            index = int(result["classes"][place])
            top = max(top, index)
            box = {"bbox": [x, y, right - x, bottom - y], "area": (right - x) * (bottom - y), "iscrowd": 0}
            boxes.append({"id": len(boxes) + 1, "image_id": image, "category_id": index, **box})
    images = [{"id": image} for image in range(len(results))]
    return {"images": images, "annotations": boxes, "categories": [{"id": index} for index in range(top + 1)]}
