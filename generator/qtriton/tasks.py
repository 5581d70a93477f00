"""What is known of each task, in one table: a new task is a row here, and one in each table of functions by task.

Those are `READERS` in labels/, `AGREEMENTS` in metrics/agreement.py and `SCORINGS` in builder/scoring.py; mypy and a
test tell of a table that lacks a row.
"""

from typing import Final, Literal, NamedTuple, TypeAlias

Task: TypeAlias = Literal[
    "detection",
    "classification",
    "segmentation",
    "keypoints",
    "instance_segmentation",
    "multi_label",
    "rotated_detection",
]


class TaskFacts(NamedTuple):
    """What the tables, the gate and the documentation say of a task."""

    #: The metric with labels, by the name that the tables print; in points of 100.
    metric: str
    #: What the metric is called where FP32's results are the ground truth.
    agreement: str
    #: Points of agreement that INT8 may lose where there are no labels, unless the user says another number.
    max_disagreement: float
    #: What `--labels` takes.
    labels: str


TASKS: Final[dict[Task, TaskFacts]] = {
    "detection": TaskFacts(
        metric="mAP50-95",
        agreement="mAP50-95 against FP32's detections",
        max_disagreement=15.0,
        labels="a COCO JSON file; `area`, `iscrowd` and the ids of annotations may be missing",
    ),
    "classification": TaskFacts(
        metric="Top1",
        agreement="Top1 agreement with FP32",
        max_disagreement=3.0,
        labels="a text file of `file class-index` lines, counted from 0",
    ),
    "segmentation": TaskFacts(
        metric="mIoU",
        agreement="mIoU against FP32's masks",
        max_disagreement=5.0,
        labels=(
            "a folder of PNG masks named as the images, with a class id a pixel, in any depth up to 8 bits, grey or "
            "palette"
        ),
    ),
    "keypoints": TaskFacts(
        metric="keypoint mAP50-95",
        agreement="mAP50-95 of keypoints against FP32's",
        max_disagreement=15.0,
        labels="a COCO JSON file with `keypoints`; where `area` is missing, 0.53 of the box is taken",
    ),
    "instance_segmentation": TaskFacts(
        metric="mask mAP50-95",
        agreement="mAP50-95 of masks against FP32's",
        max_disagreement=15.0,
        labels="a COCO JSON file with `segmentation`, polygons or RLE",
    ),
    "multi_label": TaskFacts(
        metric="label mAP",
        agreement="F1 of labels against FP32's",
        max_disagreement=3.0,
        labels="a text file of `file class-index class-index ...` lines, counted from 0; a file alone has no label",
    ),
    "rotated_detection": TaskFacts(
        metric="rotated mAP50-95",
        agreement="mAP50-95 of rotated boxes against FP32's",
        max_disagreement=15.0,
        labels=(
            "a folder of text files named as the images: DOTA's `x1 y1 x2 y2 x3 y3 x4 y4 category difficult`, or "
            "Ultralytics' `class x1 y1 x2 y2 x3 y3 x4 y4` in parts of the image"
        ),
    ),
}
