"""Exports of Ultralytics (8.x), which say in their metadata what they are: ultralytics/engine/exporter.py."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Final

from qtriton.recognize.facts import Facts
from qtriton.recognize.reading import Family, Fields, Said
from qtriton.recognize.shapes import map_fields

#: Mask coefficients of a segmenter where the prototypes' shape does not say (nn/modules/head.py, Segment).
_MASKS: Final = 32
#: Numbers of a box of COCO's 17 keypoints, x, y and whether it is seen.
_KEYPOINTS: Final = 51
#: What Ultralytics calls the decoder of its RT-DETR.
_RTDETR: Final = "RTDETRDecoder"


def _extra(facts: Facts) -> int:
    """The numbers a box has beside its corners and scores: mask coefficients, keypoints or an angle."""
    task = facts.metadata.text("task")
    if task == "segment":
        masks = facts.outputs[1].shape[1] if len(facts.outputs) > 1 and len(facts.outputs[1].shape) == 4 else _MASKS
        return masks if masks > 0 else _MASKS
    if task == "pose":
        shape = facts.metadata.value("kpt_shape")
        return prod(shape) if isinstance(shape, list | tuple) and shape else 0
    return 1 if task == "obb" else 0


def _is_rtdetr(facts: Facts) -> bool:
    head, description = facts.metadata.text("head"), facts.metadata.text("description").lower()
    return head == _RTDETR or (not head and ("rtdetr" in description or "rt-detr" in description))


def _is_raw(facts: Facts) -> bool:
    """Whether the first output is a head [batch, 4 + C (+ extra), A] without NMS."""
    shape, count = facts.first.shape, len(facts.metadata.classes)
    return len(shape) == 3 and shape[1] == 4 + count + _extra(facts)


def _is_finished(facts: Facts) -> bool:
    """Whether it is rows [batch, n, 6 (+ extra)]: corners, score, class."""
    shape = facts.first.shape
    return len(shape) == 3 and shape[2] == 6 + _extra(facts) and not _is_raw(facts)


def _of(task: str, fits: Callable[[Facts], bool], what: str) -> Callable[[Facts], str]:
    """The question whether a file is Ultralytics' of a task, with a shape of its output."""

    def why(facts: Facts) -> str:
        metadata = facts.metadata
        if metadata.project != "Ultralytics" or metadata.text("task") != task or not fits(facts):
            return ""
        version = f" {metadata.text('version')}" if metadata.text("version") else ""
        return f"metadata of Ultralytics{version}: task {task}; {facts.first} is {what}"

    return why


def _classify(facts: Facts) -> Fields:
    """classify_transforms() in ultralytics/data/augment.py: the shorter side, or both where they differ."""
    height, width = facts.image.height, facts.image.width
    if height < 1 or width < 1:
        height, width = facts.metadata.size or (224, 224)
    resize: dict[str, Any] = {"op": "resize", "interpolation": "pillow_linear"}
    if height == width:
        resize |= {"op": "resize_short", "pixels": height, "rounding": "down"}
    before = [resize, {"op": "center_crop", "rounding": "even"}, {"op": "rgb"}, {"op": "normalize"}, {"op": "chw"}]
    count = max(facts.first.shape[-1], len(facts.metadata.classes))
    return {
        "preprocess": Said(before, "Ultralytics' classify_transforms: no mean, no standard deviation"),
        "postprocess": Said([{"op": "top_k", "k": min(5, count)}], "Ultralytics exports its softmax with the model"),
    }


def _scores(facts: Facts) -> bool:
    return len(facts.first.shape) == 2


def _raw(facts: Facts) -> bool:
    return not _is_rtdetr(facts) and _is_raw(facts)


def _finished(facts: Facts) -> bool:
    return not _is_rtdetr(facts) and _is_finished(facts)


def _is_map(facts: Facts) -> bool:
    return "postprocess" in map_fields(facts)


def _rtdetr(facts: Facts) -> bool:
    return _is_rtdetr(facts) and (_is_finished(facts) or _scores_of_queries(facts))


def _scores_of_queries(facts: Facts) -> bool:
    """Whether it is 8.3's output of RT-DETR, [batch, Q, 4 + C]; without `head` in the metadata, as 8.3 writes none."""
    shape = facts.first.shape
    return len(shape) == 3 and shape[2] == 4 + len(facts.metadata.classes) and not facts.metadata.text("head")


def _rtdetr_fields(facts: Facts) -> Fields:
    if not _scores_of_queries(facts):
        return {}
    best = {"op": "nms", "score_threshold": 0.25, "iou_threshold": 1.0, "detections": 300, "candidates": 300}
    ops = [{"op": "detr_head", "activation": "none"}, best]
    return {"postprocess": Said(ops, "Ultralytics 8.3's RT-DETR: a box and the scores of all classes a row")}


def _segment_fields(facts: Facts) -> Fields:
    last = {"op": "instance_masks", "score_threshold": 0.25, "iou_threshold": 0.7, "detections": 300}
    return _with_features(facts, _MASKS, last, "mask coefficients")


def _pose_fields(facts: Facts) -> Fields:
    shape = facts.metadata.value("kpt_shape")
    if not isinstance(shape, list | tuple) or len(shape) != 2:
        return {}
    last = {"op": "pose", "score_threshold": 0.25, "iou_threshold": 0.7, "detections": 300, "keypoints": shape[0]}
    return _with_features(facts, _KEYPOINTS, last, f"keypoints {list(shape)}")


def _finished_pose_fields(facts: Facts) -> Fields:
    shape = facts.metadata.value("kpt_shape")
    if not isinstance(shape, list | tuple) or len(shape) != 2 or _extra(facts) == _KEYPOINTS:
        return {}
    last = {"op": "pose", "score_threshold": 0.25, "iou_threshold": 1.0, "detections": 300, "keypoints": shape[0]}
    return {"postprocess": Said([{"op": "end2end_head"}, last], f"keypoints {list(shape)}")}


def _with_features(facts: Facts, usual: int, last: dict[str, Any], what: str) -> Fields:
    """Postprocess where a head has another number of features than the base says."""
    count = _extra(facts)
    if count == usual:
        return {}
    return {"postprocess": Said([{"op": "yolo8_head", "features": count}, last], f"{what}: {count} numbers a box")}


FAMILIES: Final[tuple[Family, ...]] = (
    Family("ultralytics_detect", _of("detect", _raw, "boxes and scores of C classes, [4 + C, boxes], without NMS")),
    Family("ultralytics_end2end", _of("detect", _finished, "results: corners, score and class a row")),
    Family("ultralytics_rtdetr", _of("detect", _rtdetr, "RT-DETR's results: centre and size a row"), _rtdetr_fields),
    Family("ultralytics_segment", _of("segment", _raw, "[4 + C + coefficients, boxes]"), _segment_fields),
    Family("ultralytics_pose", _of("pose", _raw, "[4 + C + keypoints, boxes]"), _pose_fields),
    Family("ultralytics_obb", _of("obb", _raw, "[4 + C + 1, boxes], the angle last")),
    Family("ultralytics_segment_end2end", _of("segment", _finished, "results: corners, score, class and masks a row")),
    Family(
        "ultralytics_pose_end2end",
        _of("pose", _finished, "results: corners, score, class and keypoints a row"),
        _finished_pose_fields,
    ),
    Family("ultralytics_obb_end2end", _of("obb", _finished, "results: centre, size, score, class and angle a row")),
    Family("ultralytics_classify", _of("classify", _scores, "probabilities"), _classify),
    Family("ultralytics_semantic", _of("semantic", _is_map, "a map of the image"), map_fields),
)
