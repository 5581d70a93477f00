"""How far results agree with FP32's on images without labels: FP32's results serve as the ground truth."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np

from qtriton.labels.rows import Box
from qtriton.metrics.coco_map import average_precisions
from qtriton.metrics.miou import confusion, miou
from qtriton.metrics.top1 import top1
from qtriton.runtime.values import Results
from qtriton.tasks import Task

Agreement: TypeAlias = Callable[[Sequence[Results], Sequence[Results]], float]


def agreement(task: Task, fp32: Sequence[Results], other: Sequence[Results]) -> float:
    """The task's metric in points of 100, with FP32's results as truth; 100 where nothing differs."""
    return AGREEMENTS[task](fp32, other)


def tells_nothing(fp32: Sequence[Results]) -> bool:
    """Whether FP32 found no object at all, so that nothing can agree or disagree with it."""
    counts = [int(each["num_detections"][0]) for each in fp32 if "num_detections" in each]
    return bool(counts) and not any(counts)


def of_detections(fp32: Sequence[Results], other: Sequence[Results]) -> float:
    """mAP50-95 against FP32's boxes."""
    return _mean(average_precisions(_as_boxes(fp32), other), other)


def of_classes(fp32: Sequence[Results], other: Sequence[Results]) -> float:
    """The share of the images whose best class is FP32's."""
    return top1([int(result["classes"][0]) for result in fp32], other)


def of_masks(fp32: Sequence[Results], other: Sequence[Results]) -> float:
    """Mean IoU against FP32's masks."""
    pairs = zip((each["mask"] for each in fp32), (each["mask"] for each in other), strict=True)
    return miou(confusion(pairs, ignored=None))


AGREEMENTS: Final[dict[Task, Agreement]] = {
    "detection": of_detections,
    "classification": of_classes,
    "segmentation": of_masks,
}


def _mean(by_class: dict[int, float], other: Sequence[Results]) -> float:
    """The mean over the classes; detections of a class that FP32 did not report are all wrong: it counts with 0."""
    reported = {int(index) for each in other for index in each["classes"][: int(each["num_detections"][0])]}
    points = [by_class.get(index, 0.0) for index in by_class.keys() | reported]
    return float(np.mean(points)) if points else 100.0


def _as_boxes(results: Sequence[Results]) -> list[Box]:
    """Detections as ground truth."""
    boxes = []
    for image, result in enumerate(results):
        for place in range(int(result["num_detections"][0])):
            x, y, right, bottom = map(float, result["boxes"][place])
            boxes.append(Box(image, int(result["classes"][place]), x, y, right - x, bottom - y))
    return boxes
