"""Whether what a model gives is the head that an operation reads; a check gives the reason why not, or ""."""

from typing import Final

import numpy as np

from qtriton.builder.given import PARTS, Given, in_unit, not_finite, other_names, without_ones
from qtriton.runtime.heads import PicoHead, Yolo8Head
from qtriton.runtime.values import Array

CORRECT: Final = "Correct input, postprocess and classes in the spec, or give other weights."
#: The centres of decoded boxes are all over the input; those below this part of its longer side are in other units.
_SPREAD: Final = 0.25


def rows_in(given: Given) -> Array | None:
    """The first output as float rows [n, m], or None where it is none."""
    shape = without_ones(given.first.shape, 2)
    return given.first.reshape(shape) if given.first.dtype.kind == "f" and len(shape) == 2 and all(shape) else None


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
        return f"there are {max(count, 0)} scores a box{beside}, the spec names {given.classes} classes. {CORRECT}"
    return _no_boxes(rows[:, : 4 + count], given)


def _no_boxes(rows: Array, given: Given) -> str:
    """Why rows of a box and probabilities hold none, if they do not."""
    if not np.isfinite(rows).any(axis=1).all():
        return not_finite(rows)
    if not in_unit(rows[:, 4:]):
        return "scores outside of 0 to 1: the head is not decoded. Export the model with its sigmoid and its boxes."
    if np.abs(rows[:, :4]).max() <= PARTS:
        return "boxes in parts of the image. Export the model with boxes in pixels of its input."
    if np.abs(rows[:, :2]).max() < _SPREAD * max(given.spec.input.dims[1:]):
        return "boxes that are all in one corner: the head is not decoded. Export the model with its boxes decoded."
    return ""


def pico(given: Given) -> str:
    """PicoHead."""
    assert isinstance(given.op, PicoHead)
    strides, height, width = given.op.strides, *given.op.size
    if len(given.value) != 2 * len(strides):
        return f"there are {len(given.value)} outputs, not two for each of {len(strides)} strides. {CORRECT}"
    cells = [-(-height // stride) * -(-width // stride) for stride in strides]
    for place, (name, array) in enumerate(zip(given.names, given.value, strict=True)):
        shape, wanted = without_ones(array.shape, 2), cells[place % len(strides)]
        if array.dtype.kind != "f" or len(shape) != 2 or shape[0] != wanted:
            return f"{name} is {array.dtype} {list(array.shape)} where {wanted} rows belong. {CORRECT}"
        if place >= len(strides) and shape[1] % 4:
            return f"{name} has {shape[1]} columns, no multiple of 4. {CORRECT}"
        if place < len(strides) and not in_unit(array):
            return f"{name} has scores outside of 0 to 1. Export the model with its sigmoid."
        if place < len(strides) and (reason := other_names(given, shape[1])):
            return reason
    return ""


def candidates(given: Given) -> str:
    """Nms."""
    if not hasattr(given.value, "boxes"):
        return f"no boxes of a head. Put a head before {{op: {given.op.op}}}, e.g. {{op: yolo8_head}}."
    return other_names(given, given.value.scores.shape[1])
