"""How far results agree with FP32's on images without labels: FP32's results serve as the ground truth."""

from collections.abc import Sequence

import numpy as np

from qtriton.labels.rows import Box
from qtriton.metrics.coco_map import average_precisions
from qtriton.metrics.miou import confusion, miou
from qtriton.metrics.top1 import top1
from qtriton.runtime.values import Results
from qtriton.spec import Task

#: What an agreement is called; METRIC has the names with labels.
AGREEMENT: dict[Task, str] = {
    "detection": "mAP50-95 against FP32's detections",
    "classification": "Top1 agreement with FP32",
    "segmentation": "mIoU against FP32's masks",
}


def agreement(task: Task, fp32: Sequence[Results], other: Sequence[Results]) -> float:
    """The task's metric in points of 100, with FP32's results as truth; 100 where nothing differs.

    Detections of a class that FP32 did not report are all wrong, so the class counts with 0.
    """
    match task:
        case "detection":
            by_class = average_precisions(_as_boxes(fp32), other)
            reported = {int(index) for each in other for index in each["classes"][: int(each["num_detections"][0])]}
            points = [by_class.get(index, 0.0) for index in by_class.keys() | reported]
            return float(np.mean(points)) if points else 100.0
        case "classification":
            return top1([int(result["classes"][0]) for result in fp32], other)
        case "segmentation":
            pairs = zip((each["mask"] for each in fp32), (each["mask"] for each in other), strict=True)
            return miou(confusion(pairs, ignored=None))


def tells_nothing(task: Task, fp32: Sequence[Results]) -> bool:
    """Whether FP32 found nothing at all, so that nothing can agree or disagree with it."""
    return task == "detection" and not any(int(result["num_detections"][0]) for result in fp32)


def _as_boxes(results: Sequence[Results]) -> list[Box]:
    """Detections as ground truth."""
    boxes = []
    for image, result in enumerate(results):
        for place in range(int(result["num_detections"][0])):
            x, y, right, bottom = map(float, result["boxes"][place])
            boxes.append(Box(image, int(result["classes"][place]), x, y, right - x, bottom - y))
    return boxes
