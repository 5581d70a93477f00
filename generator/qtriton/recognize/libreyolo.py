"""Exports of LibreYOLO (1.x), which say in their metadata which family they are: libreyolo/export/exporter.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtriton.recognize.detectors import detr_fields, mask_fields
from qtriton.recognize.facts import Facts
from qtriton.recognize.reading import Family, Fields, Said

#: libreyolo/backends/base.py: conf 0.25, iou 0.45, max_det 300.
_BEST: Final = {"op": "nms", "score_threshold": 0.25, "detections": 300}
_NMS: Final = {**_BEST, "iou_threshold": 0.45, "clip_first": True}
_WHY: Final = "as libreyolo/backends reads it"
#: The logits of an RF-DETR of COCO's 80 classes that goes by COCO's ids.
_COCO_BY_ID: Final = 91


def _is(*families: str, task: str = "detect") -> Callable[[Facts], str]:
    """The question whether a file is LibreYOLO's of a task, of one of these families."""

    def why(facts: Facts) -> str:
        metadata = facts.metadata
        family = metadata.text("model_family")
        if metadata.project != "libreyolo" or family not in families or (metadata.text("task") or "detect") != task:
            return ""
        return f"metadata of LibreYOLO {metadata.text('libreyolo_version')}: model_family {family}, task {task}"

    return why


def _before(resize: dict[str, Any], *, colour: bool = True) -> Said:
    normalize = {"op": "normalize"} if colour else {"op": "normalize", "scale": 1.0}
    ops = [resize, *([{"op": "rgb"}] if colour else []), normalize, {"op": "chw"}]
    return Said(ops, "as libreyolo/preprocess has it")


def _yolox(facts: Facts) -> Fields:
    del facts
    letterbox = {"op": "letterbox", "align": "top_left", "interpolation": "pillow_linear", "back": "ratio"}
    return {
        "preprocess": _before(letterbox, colour=False),
        "postprocess": Said([{"op": "yolo_head"}, _NMS], "decoded by the export"),
    }


def _yolo9(facts: Facts) -> Fields:
    nms = {**_NMS, "multi_label": True, "candidates": 30000}
    place = "center" if facts.metadata.text("letterbox_pad").startswith("cent") else "top_left"
    return {
        "preprocess": _before({"op": "letterbox", "align": place, "back": "ratio"}),
        "postprocess": Said([{"op": "yolo8_head", "box": "xyxy"}, nms], _WHY),
    }


def _detr(facts: Facts) -> Fields:
    nms = {**_BEST, "iou_threshold": 1.0, "candidates": 300, "multi_label": True}
    return {**detr_fields(facts), "postprocess": Said([{"op": "detr_head"}, nms], _WHY)}


def _rfdetr(facts: Facts) -> Fields:
    return {**_detr(facts), **_with_background(facts)}


def _rfdetr_segment(facts: Facts) -> Fields:
    return {**mask_fields(facts, 0.25), **_with_background(facts)}


def _with_background(facts: Facts) -> Fields:
    """RF-DETR has a logit more than classes, or one for each of COCO's ids: rfdetr/detr.py predict()."""
    names, logits = facts.metadata.classes, facts.output("labels")
    count = logits.shape[-1] if logits else 0
    if count == _COCO_BY_ID and len(names) == 80:
        return {"classes": Said("coco_by_id", "the names in the file's metadata are COCO's, by whose ids logits go")}
    if names and count == len(names) + 1:
        return {"classes": Said([*names, "background"], f"{len(names)} names in the file's metadata, and one of none")}
    return {}


FAMILIES: Final[tuple[Family, ...]] = (
    Family("yolox", _is("yolox"), _yolox),
    Family("ultralytics_detect", _is("yolo9"), _yolo9),
    Family("rtmdet", _is("rtmdet")),
    Family("rtdetr", _is("dfine", "deim"), _detr),
    Family("rfdetr", _is("rfdetr"), _rfdetr),
    Family("rfdetr_segment", _is("rfdetr", task="segment"), _rfdetr_segment),
)
