"""Detectors without Ultralytics' metadata, by the shapes of their outputs."""

from __future__ import annotations

from typing import Final

from qtriton.recognize.facts import Facts, Tensor
from qtriton.recognize.reading import Family, Fields, Said

_STRIDES: Final = (8, 16, 32, 64)
#: Bins of NanoDet-Plus: four sides of reg_max + 1 (config/nanodet-plus-m_416.yml).
_NANODET_BINS: Final = 32


def cells(facts: Facts, strides: int = 3) -> int:
    """How many places a detector with strides 8, 16, 32 (and 64) looks at; 0 where the size is free."""
    height, width = facts.image.height, facts.image.width
    if min(height, width) < 1:
        return 0
    return sum(-(-height // stride) * -(-width // stride) for stride in _STRIDES[:strides])


def rows_of(facts: Facts) -> tuple[int, int]:
    """The last two sizes of a single output [batch, n, m]; zeros where it is another, or a project says what it is."""
    shape = facts.first.shape
    alone = len(facts.outputs) == 1 and len(shape) == 3 and not facts.metadata.project
    return (shape[1], shape[2]) if alone else (0, 0)


def _yolov5(facts: Facts) -> str:
    rows, columns = rows_of(facts)
    count = len(facts.metadata.classes)
    head = len(facts.first.shape) == 3 and (not count or facts.first.shape[2] == 5 + count)
    if facts.metadata.project == "YOLOv5" and head and len(facts.outputs) == 1:
        return f"YOLOv5's metadata; the output {facts.first} is a head with objectness, [boxes, 5 + C]"
    if columns >= 6 and rows > 0 and rows == 3 * cells(facts):
        return f"the output {facts.first} has three anchors a place and an objectness, as YOLOv5 and YOLOv7 have"
    return ""


def _v8(facts: Facts) -> str:
    first, second = rows_of(facts)
    if first > 4 and second > 0 and second == cells(facts) and first != second:
        return f"the output {facts.first} is boxes and scores of C classes, [4 + C, boxes], as YOLOv8 and later export"
    return ""


def _anchor_free(facts: Facts) -> bool:
    rows, columns = rows_of(facts)
    return columns >= 6 and rows > 0 and rows == cells(facts)


def _has_focus(facts: Facts) -> bool:
    return facts.begins[:1] in (("Slice",), ("SpaceToDepth",))


def _yolox(facts: Facts) -> str:
    if not _anchor_free(facts):
        return ""
    focus = ", and the graph begins with YOLOX's Focus" if _has_focus(facts) else ""
    return f"the output {facts.first} has one box a place and an objectness{focus}"


def _yolov6(facts: Facts) -> str:
    if not _anchor_free(facts) or _has_focus(facts):
        return ""
    return f"the output {facts.first} has one box a place and an objectness, which YOLOv6's export decodes"


def _yolox_fields(facts: Facts) -> Fields:
    if "Exp" not in facts.ops:
        return {}
    nms = {"op": "nms", "score_threshold": 0.3, "iou_threshold": 0.45, "detections": 300}
    return {"postprocess": Said([{"op": "yolo_head"}, nms], "the graph decodes the boxes: there is an Exp")}


def _nanodet(facts: Facts) -> str:
    rows, columns = rows_of(facts)
    if columns > _NANODET_BINS and rows > 0 and rows == cells(facts, 4):
        return f"the output {facts.first} has a row for each place of strides 8 to 64, as NanoDet-Plus has"
    return ""


def _picodet(facts: Facts) -> str:
    shapes = [each.shape for each in facts.outputs]
    if facts.metadata.project or len(shapes) != 8 or any(len(shape) != 3 for shape in shapes):
        return ""
    rows = [shape[1] for shape in shapes]
    if rows[:4] == rows[4:] and sum(rows[:4]) == cells(facts, 4) and all(shape[2] % 4 == 0 for shape in shapes[4:]):
        return "eight outputs, scores and box distributions of the strides 8 to 64, as PicoDet has"
    return ""


def _logits_and_boxes(facts: Facts) -> tuple[Tensor, Tensor] | None:
    """The two outputs of a DETR, [batch, Q, C] and [batch, Q, 4]; none where it has others."""
    two = [each for each in facts.outputs if len(each.shape) == 3 and each.dtype.startswith("float")]
    if len(facts.outputs) != 2 or len(two) != 2 or two[0].shape[1] != two[1].shape[1]:
        return None
    boxes = [each for each in two if each.shape[2] == 4]
    named = [each for each in boxes if "box" in each.name.lower() or each.name == "dets"]
    if len(boxes) != 1 and len(named) != 1:
        return None
    box = (boxes if len(boxes) == 1 else named)[0]
    return next(each for each in two if each is not box), box


def _is_rfdetr(facts: Facts) -> bool:
    return {each.name for each in facts.outputs} == {"dets", "labels"}


def queries_with_masks(facts: Facts) -> int:
    """How many objects RF-DETR-seg looks for, by its outputs dets, labels and masks; 0 where it has others."""
    names = ("labels", "dets", "masks")
    found = [each.shape for name in names if (each := facts.output(name))]
    fits = len(facts.outputs) == len(found) == len(names) and [len(shape) for shape in found] == [3, 3, 4]
    return max(found[1][1], 0) if fits and len({shape[1] for shape in found}) == 1 else 0


def _rfdetr_segment(facts: Facts) -> str:
    if facts.metadata.project or not queries_with_masks(facts):
        return ""
    return "the outputs are called dets, labels and masks, as RF-DETR-seg's export names them"


def _rfdetr_segment_fields(facts: Facts) -> Fields:
    return mask_fields(facts, 0.5)


def mask_fields(facts: Facts, threshold: float) -> Fields:
    """How RF-DETR-seg is read: num_select is num_queries in rfdetr/config.py."""
    count = queries_with_masks(facts)
    last = {"op": "instance_masks", "score_threshold": threshold, "iou_threshold": 1.0, "detections": count}
    last |= {"candidates": count, "multi_label": True, "keep_empty": True}
    return {"postprocess": Said([{"op": "detr_head"}, last], f"{count} queries")} if count else {}


def _rfdetr(facts: Facts) -> str:
    if facts.metadata.project or not _is_rfdetr(facts) or _logits_and_boxes(facts) is None:
        return ""
    return "the outputs are called dets and labels, as RF-DETR's export names them"


def _detr(what: str) -> Family:
    def why(facts: Facts) -> str:
        found = _logits_and_boxes(facts)
        if found is None or facts.metadata.project or _is_rfdetr(facts):
            return ""
        return f"the outputs are logits {found[0]} and boxes {found[1]}; {what}"

    base = "detr" if "softmax" in what else "rtdetr"
    return Family(base, why, detr_fields)


def detr_fields(facts: Facts) -> Fields:
    """The outputs in the order that detr_head reads."""
    found = _logits_and_boxes(facts)
    return {} if found is None else {"outputs": Said([each.name for each in found], "logits, then boxes")}


FAMILIES: Final[tuple[Family, ...]] = (
    Family("generic_detection", _yolov5),
    Family("ultralytics_detect", _v8),
    Family("yolox", _yolox, _yolox_fields),
    Family("yolov6", _yolov6),
    Family("nanodet", _nanodet),
    Family("picodet", _picodet),
    Family("rfdetr", _rfdetr),
    Family("rfdetr_segment", _rfdetr_segment, _rfdetr_segment_fields),
    _detr("sigmoid, as RT-DETR, D-FINE and DEIM"),
    _detr('softmax with a class for "no object", as DETR'),
)
