"""What of a spec's operations the graph of an artifact can take, and what is left to the steps around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from qtriton.placement.classes import ClassChoice
from qtriton.placement.selection import RowSelection
from qtriton.runtime.detections import Choice, Nms
from qtriton.runtime.heads import Yolo8Head, YoloHead
from qtriton.runtime.maps import ArgMax, ClassesFirst, Threshold
from qtriton.runtime.post import PostOp
from qtriton.runtime.pre import Normalize, PreOp
from qtriton.spec import ModelSpec

#: TensorRT selects no more rows than these (TopK), so no other runtime does either.
_MOST_ROWS: Final = 3840
#: Class ids are bytes.
_MOST_CLASSES: Final = 256
_YOLO_COLUMNS: Final = 5
_YOLO8_COLUMNS: Final = 4


@dataclass(frozen=True)
class Prologue:
    """The end of preprocess: from pixels uint8 [height, width, C] to the model's input."""

    normalize: Normalize
    #: What is left to the step.
    before: tuple[PreOp, ...]

    def __str__(self) -> str:
        """The operations."""
        return "normalize, chw"


@dataclass(frozen=True)
class Epilogue:
    """The beginning of postprocess, done on the model's first output."""

    does: RowSelection | ClassChoice
    #: What is left to the step.
    behind: tuple[PostOp, ...]
    #: How many numbers leave the graph for an image without it, and with it, in bytes.
    bytes_before: int
    bytes_behind: int
    #: How many rows a selection chooses from.
    rows: int = 0
    #: How many class ids are chosen among; 0 where none are chosen.
    classes: int = 0

    def __str__(self) -> str:
        """What it does, in words."""
        if isinstance(self.does, RowSelection):
            need = "" if self.does.above is None else f" with a score over {self.does.above:g}"
            return f"the best {self.does.count} of {self.rows} rows{need}"
        return "threshold" if self.does.above is not None else "argmax"

    @property
    def saving(self) -> int:
        """How many bytes an image do not leave the graph."""
        return self.bytes_before - self.bytes_behind


def prologue_of(spec: ModelSpec) -> Prologue | None:
    """The prologue of a spec; none where its last operations are others, or the pixels before them are no bytes."""
    before, normalize = spec.preprocess[:-2], spec.preprocess[-2:][0]
    if not isinstance(normalize, Normalize):
        return None
    if any(isinstance(op, Normalize) or getattr(op, "interpolation", "") == "exact_linear" for op in before):
        return None
    return Prologue(normalize, before)


def epilogue_of(spec: ModelSpec, shape: Sequence[int], kind: str) -> Epilogue | None:
    """The epilogue of a spec; none where its operations are others, or nothing would be saved.

    Args:
        spec: the model.
        shape: of its first output, with the batch.
        kind: Triton's datatype of that.
    """
    if kind != "FP32" or spec.max_batch_size == 0 or any(size < 1 for size in shape[1:]):
        return None
    if len(shape) == 3:
        return _selection(spec, tuple(shape))
    return _choice(spec, tuple(shape)) if len(shape) == 4 else None


def _clips_first(spec: ModelSpec) -> bool:
    """Whether boxes outside of the image are left out before the best are taken, served or measured."""
    last = spec.postprocess[-1]
    return isinstance(last, Nms) and bool(last.clip_first or spec.evaluation.get("clip_first"))


def _selection(spec: ModelSpec, shape: tuple[int, ...]) -> Epilogue | None:
    head, *others = spec.postprocess
    last = spec.postprocess[-1]
    if not isinstance(last, Choice) or last.candidates > _MOST_ROWS or _clips_first(spec):
        return None
    count = last.candidates
    left: PostOp
    objectness: int | None
    if isinstance(head, YoloHead):
        axis, columns, left = 1, shape[2], head
        scores, objectness = (_YOLO_COLUMNS, columns), _YOLO_COLUMNS - 1
    elif isinstance(head, Yolo8Head):
        axis = 1 if head.turned else 2
        columns, left = shape[3 - axis], replace(head, turned=True)
        scores, objectness = (_YOLO8_COLUMNS, columns - head.features), None
    else:
        return None
    if shape[axis] <= count or scores[0] >= scores[1]:
        return None
    does = RowSelection(axis, count, scores, objectness, columns, last.score_threshold)
    return Epilogue(does, (left, *others), 4 * shape[1] * shape[2], 4 * count * columns, rows=shape[axis])


def _choice(spec: ModelSpec, shape: tuple[int, ...]) -> Epilogue | None:
    behind: Sequence[PostOp]
    match spec.postprocess:
        case (ArgMax(), *behind) if shape[1] <= _MOST_CLASSES:
            does = ClassChoice()
        case (ClassesFirst(), ArgMax(), *behind) if shape[3] <= _MOST_CLASSES:
            does = ClassChoice(axis=3)
        case (Threshold() as op, *behind) if shape[1] == 1:
            does = ClassChoice(above=op.above)
        case _:
            return None
    numbers = shape[1] * shape[2] * shape[3]
    classes = 2 if does.above is not None else shape[does.axis]
    return Epilogue(does, tuple(behind), 4 * numbers, numbers // shape[does.axis], classes=classes)
