"""Which operations of detectors read what a model gives, by their own checks: what a refusal names as the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, replace
from itertools import permutations
from typing import Final, NamedTuple

from qtriton.builder import end2end, grids, heads
from qtriton.builder.given import Given
from qtriton.runtime.end2end import LAYOUTS, Detections, DetectionTensors, OnnxNms, Pixels
from qtriton.runtime.grids import NanodetHead, PicoHead, YoloxHead
from qtriton.runtime.heads import DetrHead, End2EndHead, Yolo8Head, YoloHead
from qtriton.runtime.post import PostOp

#: The check of each operation that reads a detector's outputs.
CHECKS: Final[Mapping[str, Callable[[Given], str]]] = {
    "yolo_head": heads.yolo,
    "yolo8_head": heads.yolo8,
    "end2end_head": end2end.rows_and_features,
    "yolox_head": grids.yolox,
    "detr_head": heads.detr,
    "nanodet_head": grids.nanodet,
    "pico_head": grids.pico,
    "detections": end2end.detections,
    "detection_tensors": end2end.detection_tensors,
    "onnx_nms": end2end.onnx_nms,
}

#: Of more outputs than these, no other order is tried.
_MOST: Final = 6
#: How many outputs an operation reads, where it is not one.
_COUNTS: Final[Mapping[str, tuple[int, ...]]] = {
    "pico_head": (),
    "detr_head": (2, 1),
    "detection_tensors": (3, 4),
    "onnx_nms": (3,),
}


class Reading(NamedTuple):
    """An operation with its fields, and the outputs that it reads in their order; none where they are the first."""

    op: PostOp
    outputs: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In the words of a spec."""
        return as_yaml(self.op) + (f" with outputs: [{', '.join(self.outputs)}]" if self.outputs else "")


def readings(given: Given) -> list[Reading]:
    """Every operation that reads these outputs without a contradiction, or, failing that, some of them in an order.

    Outputs of zeros tell nothing, so nothing is returned for them.
    """
    if not any(array.any() for array in given.value):
        return []
    asked = [replace(given, op=op) for op in _known(given)]
    fitting = [Reading(each.op) for each in asked if not CHECKS[each.op.op](each)]
    return fitting or [Reading(each.op, names) for each in asked for names in other_outputs(each, CHECKS[each.op.op])]


def as_yaml(op: PostOp) -> str:
    """An operation as a spec writes it, without what need not be written."""
    plain = {each.name: each.default for each in fields(op)}
    said = [f"{name}: {str(value).lower()}" for name, value in vars(op).items() if plain[name] not in (value, MISSING)]
    return "{" + ", ".join([f"op: {op.op}", *said]) + "}"


def other_outputs(given: Given, check: Callable[[Given], str]) -> list[tuple[str, ...]]:
    """Names of outputs that the operation of a check would read in the place of the first ones, in its order."""
    if not isinstance(given.value, tuple) or hasattr(given.value, "_fields") or len(given.value) > _MOST:
        return []
    found = []
    for count in _COUNTS.get(given.op.op, (1,)):
        for picked in permutations(zip(given.names, given.value, strict=True), count):
            names, arrays = zip(*picked, strict=True)
            if names != given.names[:count] and not check(replace(given, names=names, value=arrays)):
                found.append(names)
    return found


def _known(given: Given) -> Iterator[PostOp]:
    """The operations as the projects that they name in their docstrings export them."""
    _, height, width = given.spec.input.dims
    size = (height, width)
    seen: Pixels = "image" if end2end.knows_original(given) else "input"
    yield from (YoloHead(), Yolo8Head(), Yolo8Head(turned=True), YoloxHead(size), NanodetHead(size), PicoHead(size))
    yield End2EndHead(box="cxcywh" if given.first.shape[-1:] == (end2end.ROTATED,) else "xyxy")
    yield from (DetrHead(size), DetrHead(size, activation="softmax"), DetrHead(size, activation="none"))
    for columns in LAYOUTS:
        yield Detections(size, pixels=seen, columns=columns)
    yield Detections(size, pixels="unit")
    yield Detections(size, pixels="unit", columns="box_score_class", box="cxcywh")
    for first in (0, 1):
        yield DetectionTensors(size, pixels=seen, first_class=first)
        yield DetectionTensors(size, pixels="unit", first_class=first)
    yield from (OnnxNms(size, pixels=seen), OnnxNms(size, pixels="unit"))
