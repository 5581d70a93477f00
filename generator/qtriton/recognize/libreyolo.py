"""Exports of LibreYOLO (1.x), which say in their metadata which family they are: libreyolo/export/exporter.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtriton.recognize.detectors import detr_fields
from qtriton.recognize.facts import Facts
from qtriton.recognize.reading import Family, Fields, Said

#: libreyolo/backends/base.py: conf 0.25, iou 0.45, max_det 300.
_NMS: Final = {"op": "nms", "score_threshold": 0.25, "iou_threshold": 0.45, "detections": 300}
_WHY: Final = "as libreyolo/backends reads it"


def _is(*families: str) -> Callable[[Facts], str]:
    """The question whether a file is LibreYOLO's detector of one of these families."""

    def why(facts: Facts) -> str:
        metadata = facts.metadata
        family = metadata.text("model_family")
        if metadata.project != "libreyolo" or family not in families or metadata.text("task") not in ("", "detect"):
            return ""
        return f"metadata of LibreYOLO {metadata.text('libreyolo_version')}: model_family {family}, task detect"

    return why


def _before(resize: dict[str, Any], *, colour: bool = True) -> Said:
    normalize = {"op": "normalize"} if colour else {"op": "normalize", "scale": 1.0}
    ops = [resize, *([{"op": "rgb"}] if colour else []), normalize, {"op": "chw"}]
    return Said(ops, "as libreyolo/preprocess has it")


def _yolox(facts: Facts) -> Fields:
    del facts
    letterbox = {"op": "letterbox", "align": "top_left", "interpolation": "pillow_linear"}
    return {
        "preprocess": _before(letterbox, colour=False),
        "postprocess": Said([{"op": "yolo_head"}, _NMS], "decoded by the export"),
    }


def _yolo9(facts: Facts) -> Fields:
    nms = {**_NMS, "multi_label": True, "candidates": 30000}
    place = "center" if facts.metadata.text("letterbox_pad").startswith("cent") else "top_left"
    return {
        "preprocess": _before({"op": "letterbox", "align": place}),
        "postprocess": Said([{"op": "yolo8_head", "box": "xyxy"}, nms], _WHY),
    }


def _detr(facts: Facts) -> Fields:
    nms = {**_NMS, "iou_threshold": 1.0, "candidates": 300, "multi_label": True}
    return {**detr_fields(facts), "postprocess": Said([{"op": "detr_head"}, nms], _WHY)}


FAMILIES: Final[tuple[Family, ...]] = (
    Family("yolox", _is("yolox"), _yolox),
    Family("ultralytics_detect", _is("yolo9"), _yolo9),
    Family("rtdetr", _is("dfine", "deim"), _detr),
    Family("rfdetr", _is("rfdetr"), _detr),
)
