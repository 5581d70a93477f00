"""Whether what a model gives is what the operations of detectors read; a check gives the reason why not, or ""."""

from typing import Final

import numpy as np

from qtriton.builder.given import ROUNDING, Given, in_unit, not_finite, other_names, without_ones
from qtriton.runtime.heads import PicoHead
from qtriton.runtime.values import Array

#: Boxes below this are in parts of the image, not in pixels.
_PARTS: Final = 2.0
_CORRECT: Final = "Correct input, postprocess and classes in the spec, or give other weights."


def yolo(given: Given) -> str:
    """YoloHead."""
    array, count = given.first, given.classes
    shape = without_ones(array.shape, 2)
    if array.dtype.kind != "f" or len(shape) != 2:
        return "no rows of a decoded head. Export the model with its boxes decoded and joined in one output."
    rows = array.reshape(shape)
    turned = shape[0] == 4 + count if count else not in_unit(rows[:, 4:]) and in_unit(rows[4:])
    if shape[0] < shape[1] and turned:
        return _yolo8("it looks like a YOLOv8 head [4 + C, A], without an objectness and with the rows last")
    if count and shape[1] == 4 + count:
        return _yolo8("it looks like the turned head [A, 4 + C] of YOLOv8, which has no objectness")
    if shape[1] < 6 or (count and shape[1] != 5 + count):
        return f"there are {max(shape[1] - 5, 0)} scores a row, the spec names {count} classes. {_CORRECT}"
    return _no_boxes(rows)


def _no_boxes(rows: Array) -> str:
    """Why rows [A, 5 + C] hold no boxes and scores, if they do not."""
    if not np.isfinite(rows).any(axis=1).all():
        return not_finite(rows)
    if rows.shape[1] == 6 and _is_whole(rows[:, 5]) and rows[:, 5].any():
        return "the last column is a class, so NMS is inside the model, in an order that no operation takes yet."
    if not in_unit(rows[:, 4:]):
        return "scores outside of 0 to 1: the head is not decoded. Export the model with its sigmoid and its boxes."
    if np.abs(rows[:, :4]).max() <= _PARTS:
        return "boxes in parts of the image. Export the model with boxes in pixels of its input."
    return ""


def pico(given: Given) -> str:
    """PicoHead."""
    assert isinstance(given.op, PicoHead)
    strides, height, width = given.op.strides, *given.op.size
    if len(given.value) != 2 * len(strides):
        return f"there are {len(given.value)} outputs, not two for each of {len(strides)} strides. {_CORRECT}"
    cells = [-(-height // stride) * -(-width // stride) for stride in strides]
    for place, (name, array) in enumerate(zip(given.names, given.value, strict=True)):
        shape, wanted = without_ones(array.shape, 2), cells[place % len(strides)]
        if array.dtype.kind != "f" or len(shape) != 2 or shape[0] != wanted:
            return f"{name} is {array.dtype} {list(array.shape)} where {wanted} rows belong. {_CORRECT}"
        if place >= len(strides) and shape[1] % 4:
            return f"{name} has {shape[1]} columns, no multiple of 4. {_CORRECT}"
        if place < len(strides) and not in_unit(array):
            return f"{name} has scores outside of 0 to 1. Export the model with its sigmoid."
        if place < len(strides) and (reason := other_names(given, shape[1])):
            return reason
    return ""


def detections(given: Given) -> str:
    """Detections."""
    array = given.first
    if array.dtype.kind != "f" or array.ndim < 2 or array.shape[-1] != 6 or len(without_ones(array.shape, 2)) != 2:
        return f"no rows of 6. {_CORRECT}"
    rows = array.reshape(-1, 6)
    rows = rows[np.isfinite(rows).all(axis=1) & rows.any(axis=1)]
    if _are_detections(rows, kind=0, score=1, box=2, most=given.classes):
        return ""
    if _are_detections(rows, kind=5, score=4, box=0, most=given.classes):
        return (
            "they read as x1, y1, x2, y2, score, class, which no operation takes yet. Export the model without its NMS "
            "and end postprocess with {op: nms}, or export it with columns in the order class, score, x1, y1, x2, y2."
        )
    return (
        "they are neither that nor x1, y1, x2, y2, score, class. Export the model without its NMS and end postprocess "
        "with {op: nms}, or export it with columns in the order class, score, x1, y1, x2, y2."
    )


def candidates(given: Given) -> str:
    """Nms."""
    if not hasattr(given.value, "boxes"):
        return "no boxes of a head. Put a head before {op: nms}, e.g. {op: yolo_head}."
    return other_names(given, given.value.scores.shape[1])


def _yolo8(what: str) -> str:
    return (
        f"{what}. No operation takes that yet: export a head [A, 5 + C] with an objectness, of 1 where there is none."
    )


def _are_detections(rows: Array, *, kind: int, score: int, box: int, most: int) -> bool:
    """Whether rows can be read as detections with these columns."""
    rows = rows[rows[:, kind] >= 0]
    corners = rows[:, box : box + 4]
    ordered = (corners[:, 2:] >= corners[:, :2] - ROUNDING).all()
    fits = not most or rows[:, kind].max(initial=0) < most
    return bool(_is_whole(rows[:, kind]) and in_unit(rows[:, score]) and ordered and fits)


def _is_whole(numbers: Array) -> bool:
    return bool((numbers == np.round(numbers)).all())
