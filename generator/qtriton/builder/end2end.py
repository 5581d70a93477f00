"""Whether what a model gives are the finished detections that an operation reads; a check gives the reason, or ""."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from qtriton.builder.given import PARTS, ROUNDING, Given, in_unit, is_whole, without_ones
from qtriton.builder.heads import CORRECT
from qtriton.runtime.end2end import LAYOUTS, Detections, DetectionTensors, EndToEnd, OnnxNms
from qtriton.runtime.heads import End2EndHead
from qtriton.runtime.values import Array, BoxForm, corners

_OTHER_COLUMNS: Final = f"Write the right columns in the spec ({', '.join(LAYOUTS)}). {CORRECT}"
#: The columns of a rotated box: centre and size, score, class, angle.
ROTATED: Final = 7
#: The inputs that tell the size of the original image.
_SIZES: Final = frozenset({"original_hw", "original_wh"})
#: The part of the boxes whose corners must be in order: those of a network's lowest scores need not be, and boxes of
#: another kind hardly ever are.
_ORDERED: Final = 0.5


def knows_original(given: Given) -> bool:
    """Whether the model can give boxes in pixels of the original image, by what it is told of its size.

    A scale is right where nothing is added in front of the image, the size where the image fills the whole input.
    """
    told, image = set(given.spec.extra_inputs.values()), given.geometry
    unshifted = image.pad_x == image.pad_y == 0
    filled = (round(image.height * image.scale_y), round(image.width * image.scale_x)) == given.spec.input.dims[1:]
    return unshifted and ("scale_factor" in told or (filled and not _SIZES.isdisjoint(told)))


def detections(given: Given) -> str:
    """Detections."""
    assert isinstance(given.op, Detections)
    at = LAYOUTS[given.op.columns]
    array = given.first
    if array.dtype.kind != "f" or array.shape[-1:] != (at.width,) or len(without_ones(array.shape, 2)) > 2:
        return f"no rows of {at.width}. {CORRECT}"
    rows = array.reshape(-1, at.width)
    rows = rows[np.isfinite(rows).all(axis=1) & rows.any(axis=1)]
    if (rows[:, at.kind] < -1).any():
        return f"what should be classes is below -1. {_OTHER_COLUMNS}"
    rows = rows[rows[:, at.kind] >= 0]
    return _finished(given, rows[:, at.box : at.box + 4], rows[:, at.score], rows[:, at.kind])


def rows_and_features(given: Given) -> str:
    """End2EndHead."""
    assert isinstance(given.op, End2EndHead)
    array = given.first
    columns = array.shape[-1] if array.ndim else 0
    if array.dtype.kind != "f" or columns < ROTATED or len(without_ones(array.shape, 2)) > 2:
        return f"no rows of {ROTATED} or more. {CORRECT}"
    rows = array.reshape(-1, columns)
    rows = rows[np.isfinite(rows).all(axis=1) & rows.any(axis=1)]
    boxes, scores, classes = rows[:, :4], rows[:, 4], rows[:, 5]
    if reason := _no_objects(boxes, scores, classes, given.op.box):
        return f"{reason} {CORRECT}"
    if (classes < 0).any():
        return f"what should be classes is below 0. {CORRECT}"
    if given.classes and classes.max(initial=0) >= given.classes:
        return f"there is a class {classes.max():.0f}, and the spec names {given.classes} from 0 on. {CORRECT}"
    if boxes.any() and np.abs(boxes).max() <= PARTS:
        return "boxes in parts of the image. Export the model with boxes in pixels of its input."
    return ""


def detection_tensors(given: Given) -> str:
    """DetectionTensors."""
    if len(given.value) not in (3, 4):
        return f"there are {len(given.value)} outputs, not three or four. {CORRECT}"
    *count, boxes, scores, classes = given.value
    if count and (count[0].size != 1 or not is_whole(count[0])):
        return f"the first of four is no count. {CORRECT}"
    if boxes.dtype.kind != "f" or boxes.shape[-1:] != (4,) or not boxes.size // 4 == scores.size == classes.size:
        return f"these are not as many boxes, scores and classes. {CORRECT}"
    assert isinstance(given.op, EndToEnd)
    return _finished(given, *given.op.read(given.value))


def onnx_nms(given: Given) -> str:
    """OnnxNms."""
    if len(given.value) != 3:
        return f"there are {len(given.value)} outputs, not three. {CORRECT}"
    indices, boxes, scores = given.value
    if indices.dtype.kind not in "iu" or indices.shape[-1:] != (3,):
        return f"no indices of batch, class and box. {CORRECT}"
    if boxes.shape[-1:] != (4,) or not boxes.size or not scores.ndim or scores.shape[-1] != boxes.size // 4:
        return f"behind it, there are not as many scores as boxes. {CORRECT}"
    assert isinstance(given.op, EndToEnd)
    count = scores.size // scores.shape[-1]
    if (indices.reshape(-1, 3)[:, 1:] >= (count, scores.shape[-1])).any():
        return f"there is an index beyond the {count} scores of {scores.shape[-1]} boxes. {CORRECT}"
    if given.classes not in (0, count):
        return f"there are {count} scores a box, the spec names {given.classes} classes. {CORRECT}"
    return _finished(given, *given.op.read(given.value))


def without_batch(op: object, ranks: Sequence[int]) -> bool:
    """Whether outputs of these ranks are detections of one image, of which there may be as many as a batch has."""
    match op:
        case Detections():
            return ranks[0] < 3
        case DetectionTensors():
            return ranks[-3:][0] < 3
    return isinstance(op, OnnxNms)


def _finished(given: Given, boxes: Array, scores: Array, classes: Array) -> str:
    """Why boxes [n, 4], scores [n] and classes [n] are no detections as the operation reads them, if they are not."""
    op = given.op
    assert isinstance(op, EndToEnd)
    correct = _OTHER_COLUMNS if isinstance(op, Detections) else CORRECT
    if reason := _no_objects(boxes, scores, classes, op.box):
        return f"{reason} {correct}"
    if given.classes and classes.max(initial=0) - op.first_class >= given.classes:
        return (
            f"there is a class {classes.max():.0f}, and the spec names {given.classes} from {op.first_class} on. "
            "Name every class in the spec, in the model's order, or write the number of the first (first_class: 1)."
        )
    if op.first_class and (classes == 0).any():
        return f"there is a class 0, before the first. {CORRECT}"
    return _other_pixels(given, boxes)


def _no_objects(boxes: Array, scores: Array, classes: Array, box: BoxForm) -> str:
    """Why numbers are no boxes of that form, probabilities and classes, if they are not."""
    if not is_whole(classes):
        return "what should be classes are no whole numbers."
    if not in_unit(scores):
        return "what should be scores is outside of 0 to 1."
    sides = corners(boxes, box)
    ordered = (sides[:, 2:] >= sides[:, :2] - ROUNDING).all(axis=1)
    if ordered.size and ordered.mean() < _ORDERED:
        return f"the corners of the boxes are not in the order {box}."
    return ""


def _other_pixels(given: Given, boxes: Array) -> str:
    """Why boxes do not count in what the operation takes them for, if they do not."""
    op = given.op
    assert isinstance(op, EndToEnd)
    parts = np.abs(boxes).max(initial=0) <= PARTS
    if boxes.any() and parts != (op.pixels == "unit"):
        how = "parts of the image: write pixels: unit" if parts else "pixels: write pixels: input"
        return f"its boxes are {how} in the spec."
    moved = given.geometry[2:] != (1, 1, 0, 0)
    if op.pixels == "image" and moved and not knows_original(given):
        return (
            "its boxes cannot be in pixels of the original image, for nothing tells the model its size, or not of the "
            "border around it: write pixels: input in the spec, or extra_inputs with {op: resize}."
        )
    return ""
