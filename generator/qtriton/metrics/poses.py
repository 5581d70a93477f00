"""Accuracy of keypoints as COCO defines it: precision by object keypoint similarity (OKS)."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from qtriton.labels.rows import AREA_OF_BOX, Pose
from qtriton.metrics.coco_map import Kind
from qtriton.runtime.values import Results

#: The keypoints of a person as COCO has them, whose spreads pycocotools knows.
_COCO_KEYPOINTS: Final = 17
#: FP32's keypoints of a lower score are a guess that INT8 need not share.
_SEEN: Final = 0.5
_VISIBLE: Final = 2


def _truth(pose: Pose) -> dict[str, Any]:
    return {
        "keypoints": [number for point in pose.keypoints for number in point],
        "num_keypoints": pose.labelled,
        "area": pose.area,
    }


def _found(result: Results, place: int) -> dict[str, Any]:
    return {"keypoints": result["keypoints"][place].reshape(-1).tolist()}


def _counts(pose: Pose) -> bool:
    return not pose.crowd and pose.labelled > 0


def _spread(evaluation: Any) -> None:
    """Every keypoint of other objects than COCO's persons spreads by 1 / K, as in PoseValidator."""
    annotations = evaluation.cocoGt.dataset["annotations"]
    count = len(annotations[0]["keypoints"]) // 3
    if count != _COCO_KEYPOINTS:
        evaluation.params.kpt_oks_sigmas = np.full(count, 1 / count)


POSES: Final = Kind("keypoints", _truth, _found, _counts, _spread)


def as_poses(results: Sequence[Results]) -> list[Pose]:
    """What a model reports, as ground truth; where some keypoints have a score of 0.5 or more, the others are none."""
    poses = []
    for image, result in enumerate(results):
        for place in range(int(result["num_detections"][0])):
            x, y, right, bottom = map(float, result["boxes"][place])
            rows = result["keypoints"][place]
            seen = (rows[:, 2] >= _SEEN) | (rows[:, 2] < _SEEN).all()
            points = tuple(
                (float(across), float(down), _VISIBLE if sure else 0)
                for (across, down, _), sure in zip(rows, seen, strict=True)
            )
            width, height = right - x, bottom - y
            label = int(result["classes"][place])
            area = AREA_OF_BOX * width * height
            poses.append(Pose(image, label, x, y, width, height, keypoints=points, area=area))
    return poses
