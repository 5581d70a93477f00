"""Whether what a model gives is the head that an operation reads; a check gives the reason why not, or ""."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from qtriton.builder.given import PARTS, Given, in_unit, not_finite, other_names, without_ones
from qtriton.runtime.heads import DetrHead, Yolo8Head
from qtriton.runtime.values import Array, Candidates

CORRECT: Final = "Correct input, postprocess and classes in the spec, or give other weights."
#: The centres of decoded boxes are all over the input; those below this part of its longer side are in other units.
_SPREAD: Final = 0.25


def rows_in(given: Given) -> Array | None:
    """The first output as float rows [n, m], or None where it is none."""
    shape = without_ones(given.first.shape, 2)
    return given.first.reshape(shape) if given.first.dtype.kind == "f" and len(shape) == 2 and all(shape) else None


def are_spread(rows: Array, given: Given) -> bool:
    """Whether the first two columns are places all over the input."""
    return bool(np.abs(rows[:, :2]).max() >= _SPREAD * max(given.spec.input.dims[1:]))


def yolo(given: Given) -> str:
    """YoloHead."""
    rows = rows_in(given)
    if rows is None:
        return "no rows of a decoded head. Export the model with its boxes decoded and joined in one output."
    if rows.shape[1] < 6 or given.classes not in (0, rows.shape[1] - 5):
        return f"there are {max(rows.shape[1] - 5, 0)} scores a row, the spec names {given.classes} classes. {CORRECT}"
    return _no_boxes(rows, given)


def yolo8(given: Given) -> str:
    """Yolo8Head."""
    assert isinstance(given.op, Yolo8Head)
    rows = rows_in(given)
    if rows is None:
        return "no head in one piece. Export the model with its boxes decoded and joined in one output."
    rows = rows if given.op.turned else rows.T
    count = rows.shape[1] - 4 - given.op.features
    if count < 1 or given.classes not in (0, count):
        beside = f" beside {given.op.features} features" if given.op.features else ""
        behind = given.op.features + count - given.classes
        way = (
            f"Write features: {behind} where so many follow the scores, as in YOLO-pose, -seg and -obb. "
            if behind > 0
            else ""
        )
        return f"there are {max(count, 0)} scores a box{beside}, the spec names {given.classes} classes. {way}{CORRECT}"
    return _no_boxes(rows[:, : 4 + count], given)


def _no_boxes(rows: Array, given: Given) -> str:
    """Why rows of a box and probabilities hold none, if they do not."""
    if not np.isfinite(rows).any(axis=1).all():
        return not_finite(rows)
    if not in_unit(rows[:, 4:]):
        return "scores outside of 0 to 1: the head is not decoded. Export the model with its sigmoid and its boxes."
    if np.abs(rows[:, :4]).max() <= PARTS:
        return "boxes in parts of the image. Export the model with boxes in pixels of its input."
    if not are_spread(rows, given):
        return "boxes that are all in one corner: the head is not decoded. Export the model with its boxes decoded."
    return ""


def detr(given: Given) -> str:
    """DetrHead."""
    if len(given.value) != 3:
        return _queries(given, given.value)
    *outputs, last = given.value
    masks = last.reshape(without_ones(last.shape, 3))
    if reason := _queries(given, outputs):
        return reason
    if masks.dtype.kind != "f" or masks.ndim != 3 or len(masks) != outputs[0].shape[-2]:
        return f"the third output is no mask [height, width] for each box. {CORRECT}"
    return ""


def _queries(given: Given, outputs: Sequence[Array]) -> str:
    """Why outputs are no logits and boxes of queries, if they are not."""
    assert isinstance(given.op, DetrHead)
    parts = [array.reshape(without_ones(array.shape, 2)) for array in outputs if array.dtype.kind == "f"]
    if len(parts) != len(outputs) or len(parts) > 2 or any(part.ndim != 2 for part in parts):
        return f"there are {len(given.value)} outputs, not logits [Q, C] and boxes [Q, 4] or both in one. {CORRECT}"
    logits, boxes = parts if len(parts) == 2 else (parts[0][:, 4:], parts[0][:, :4])
    if boxes.shape[1:] != (4,) or len(logits) != len(boxes) or not logits.size:
        return f"there are not as many boxes as rows of logits. {CORRECT}"
    if not in_unit(boxes):
        return f"boxes that are no parts of the image. {CORRECT}"
    if reason := not_finite(logits):
        return reason
    if len(parts) == 1 and given.op.activation != "none":
        return f"one output, whose scores are read with activation: none. {CORRECT}"
    if in_unit(logits) and given.op.activation != "none":
        return "scores in 0 to 1 already. Write activation: none in the spec."
    if not in_unit(logits) and given.op.activation == "none":
        return "logits. Write activation: sigmoid in the spec, or softmax where the last class is that of no object."
    return other_names(given, logits.shape[1] - (given.op.activation == "softmax"))


def candidates(given: Given) -> str:
    """Nms."""
    if not isinstance(given.value, Candidates):
        return f"no boxes of a head. Put a head before {{op: {given.op.op}}}, e.g. {{op: yolo8_head}}."
    # Where the head knows the classes, it has compared them with the spec's.
    return other_names(given, given.value.class_scores.shape[1]) if given.value.classes is None else ""
