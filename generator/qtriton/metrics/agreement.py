"""How far results agree with FP32's on images without labels: FP32's results serve as the ground truth."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from qtriton.labels.rows import Box
from qtriton.metrics.coco_map import BOXES, Kind, coco_map
from qtriton.metrics.instances import MASKS, masks_of
from qtriton.metrics.label_map import label_f1
from qtriton.metrics.miou import miou
from qtriton.metrics.outcomes import Confusions, Hits, Matches, Outcomes
from qtriton.metrics.poses import POSES, as_poses
from qtriton.metrics.rotated import ROTATED, as_rotated
from qtriton.metrics.top1 import top1
from qtriton.runtime.values import Results
from qtriton.tasks import Task

Agreement: TypeAlias = Callable[[Sequence[Results], Sequence[Results]], Outcomes]


def agreement(task: Task, fp32: Sequence[Results], other: Sequence[Results]) -> Outcomes:
    """The task's metric, with FP32's results as truth; 100 points where nothing differs."""
    return AGREEMENTS[task](fp32, other)


def tells_nothing(fp32: Sequence[Results]) -> bool:
    """Whether FP32 found no object or label at all, so that nothing can agree or disagree with it."""
    counts = [int(each[name][0]) for each in fp32 for name in ("num_detections", "num_labels") if name in each]
    return bool(counts) and not any(counts)


def of_objects(truth: Callable[[Sequence[Results]], Sequence[Box]], kind: Kind) -> Agreement:
    """mAP50-95 against what FP32 found; a class that FP32 did not report is all wrong, and counts with 0."""

    def measure(fp32: Sequence[Results], other: Sequence[Results]) -> Matches:
        return replace(coco_map(truth(fp32), other, kind), strict=True)

    return measure


def of_classes(fp32: Sequence[Results], other: Sequence[Results]) -> Hits:
    """The share of the images whose best class is FP32's."""
    return top1([int(result["classes"][0]) for result in fp32], other)


def of_masks(fp32: Sequence[Results], other: Sequence[Results]) -> Confusions:
    """Mean IoU against FP32's masks."""
    pairs = zip((each["mask"] for each in fp32), (each["mask"] for each in other), strict=True)
    return miou(pairs, ignored=None)


def _as_boxes(results: Sequence[Results]) -> list[Box]:
    """Detections as ground truth."""
    boxes = []
    for image, result in enumerate(results):
        for place in range(int(result["num_detections"][0])):
            x, y, right, bottom = map(float, result["boxes"][place])
            boxes.append(Box(image, int(result["classes"][place]), x, y, right - x, bottom - y))
    return boxes


AGREEMENTS: Final[dict[Task, Agreement]] = {
    "detection": of_objects(_as_boxes, BOXES),
    "classification": of_classes,
    "segmentation": of_masks,
    "keypoints": of_objects(as_poses, POSES),
    "instance_segmentation": of_objects(masks_of, MASKS),
    "multi_label": label_f1,
    "rotated_detection": of_objects(as_rotated, ROTATED),
}
