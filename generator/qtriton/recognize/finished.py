"""Detectors whose graph ends in finished detections, by the shapes of their outputs and by their further inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qtriton.recognize.detectors import cells, rows_of
from qtriton.recognize.facts import Facts, Tensor
from qtriton.recognize.reading import Family, Fields, Said

#: The order in which separate outputs are read, by what they are.
_ORDER: Final = ("boxes", "scores", "labels")


def _is_finished(facts: Facts) -> bool:
    rows, columns = rows_of(facts)
    return columns == 6 and rows > 0 and rows not in (cells(facts), 3 * cells(facts))


def _end2end(facts: Facts) -> str:
    return f"the output {facts.first}, read as corners in pixels, score, class" if _is_finished(facts) else ""


def _ultralytics_rtdetr(facts: Facts) -> str:
    return f"the output {facts.first}, read as centre and size in 0 ... 1, score, class" if _is_finished(facts) else ""


def _yolov7(facts: Facts) -> str:
    shape = facts.first.shape
    alone = len(facts.outputs) == 1 and len(shape) == 2 and not facts.metadata.project
    if not alone or shape[1] != 7 or "NonMaxSuppression" not in facts.ops:
        return ""
    return f"NMS in the graph; the output {facts.first} is batch, box, class and score, as YOLOv7's --end2end has it"


def _by_kind(facts: Facts) -> dict[str, Tensor] | None:
    """The three outputs of a torchvision detector by what they are; none where it has others."""
    found: dict[str, Tensor] = {}
    for each in facts.outputs:
        whole = each.dtype.startswith(("int", "uint"))
        found["boxes" if each.shape[-1:] == (4,) and len(each.shape) == 2 else "labels" if whole else "scores"] = each
    fits = len(facts.outputs) == 3 and set(found) == set(_ORDER)
    return found if fits and all(len(found[name].shape) == 1 for name in _ORDER[1:]) else None


def _torchvision(facts: Facts) -> str:
    if facts.metadata.project or _by_kind(facts) is None:
        return ""
    return f"the outputs {', '.join(map(str, facts.outputs))} are finished detections, as torchvision exports them"


def _torchvision_fields(facts: Facts) -> Fields:
    found = _by_kind(facts)
    return {} if found is None else {"outputs": Said([found[name].name for name in _ORDER], "by what they hold")}


def _rtdetr(facts: Facts) -> str:
    """The outputs and inputs of RT-DETR's and D-FINE's tools/export_onnx.py."""
    names = {each.name for each in facts.outputs}
    if names != set(_ORDER) or "orig_target_sizes" not in {each.name for each in facts.inputs}:
        return ""
    return "the input orig_target_sizes, and the outputs boxes, scores and labels, as RT-DETR's and D-FINE's export has"


def _paddle(what: str) -> Callable[[Facts], str]:
    def why(facts: Facts) -> str:
        if "scale_factor" not in {each.name for each in facts.inputs} or facts.first.shape[-1:] != (6,):
            return ""
        return f"the input scale_factor, and the output {facts.first} is rows of class, score and box; {what}"

    return why


def paddle_fields(facts: Facts) -> Fields:
    """The further inputs by Paddle's names, and the output that is read."""
    extra = {each.name: each.name for each in facts.inputs if each.name in ("scale_factor", "im_shape")}
    said = {"extra_inputs": Said(extra, "by their names")} if extra else {}
    if len(facts.outputs) > 1:
        said["outputs"] = Said([facts.first.name], "the others count the boxes")
    return said


FAMILIES: Final[tuple[Family, ...]] = (
    Family("ultralytics_end2end", _end2end),
    Family("ultralytics_rtdetr", _ultralytics_rtdetr),
    Family("yolov7_end2end", _yolov7),
    Family("torchvision_detect", _torchvision, _torchvision_fields),
    Family("rtdetr_end2end", _rtdetr),
    Family("ppyoloe", _paddle("normalised by ImageNet's mean and deviation, as PP-YOLOE"), paddle_fields),
    Family("ppyoloe_plus", _paddle("in 0 to 1, as PP-YOLOE+"), paddle_fields),
)
