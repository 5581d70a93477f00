"""What every operation takes, in words and as a check: a chain that reads a model's outputs wrongly is refused.

The operations themselves are copied into repositories and stay small; this is asked once, by the trial of a build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qtriton.builder import extras, heads, maps, scores
from qtriton.builder.given import Given, in_unit
from qtriton.builder.readings import CHECKS, other_outputs, readings
from qtriton.errors import ModelError
from qtriton.runtime.post import PostOp
from qtriton.runtime.pre import Frame, Geometry, Normalize, PreOp
from qtriton.runtime.scores import TopK
from qtriton.runtime.values import Array
from qtriton.spec import CHANNELS, ModelSpec


@dataclass(frozen=True)
class PostContract:
    """What an operation of postprocess takes; the check gives the reason why something is none of that, or ""."""

    takes: str
    check: Callable[[Given], str]


@dataclass(frozen=True)
class PreContract:
    """What an operation of preprocess takes: an image [height, width, channels]."""

    takes: str
    #: Whether in 0 to 255, as decoded: not normalised yet.
    decoded: bool
    channels: tuple[int, ...] = CHANNELS


_IMAGE: Final = PreContract("an image [height, width, C], C being 3 or 1", False)
_DECODED: Final = PreContract("an image [height, width, C] in 0 to 255, as decoded, C being 3 or 1", True)

PRE_CONTRACTS: Final[dict[str, PreContract]] = {
    "letterbox": _DECODED,
    "resize": _IMAGE,
    "resize_short": _IMAGE,
    "resize_height": _DECODED,
    "center_crop": _IMAGE,
    "rgb": PreContract("an image [height, width, 3]", False, (3,)),
    "grey": PreContract("an image [height, width, 3] in 0 to 255, as decoded", True, (3,)),
    "normalize": _DECODED,
    "chw": _IMAGE,
}

POST_CONTRACTS: Final[dict[str, PostContract]] = {
    "yolo_head": PostContract(
        "rows float32 [A, 5 + C], A boxes and C classes: centre and size in pixels, objectness and scores in 0 to 1",
        CHECKS["yolo_head"],
    ),
    "yolo8_head": PostContract(
        "a head float32 [4 + C, A], C classes and A boxes: centre and size in pixels, scores in 0 to 1",
        CHECKS["yolo8_head"],
    ),
    "end2end_head": PostContract(
        "rows float32 [n, 6 + K]: four numbers of a box in pixels, score in 0 to 1, class, and K features",
        CHECKS["end2end_head"],
    ),
    "yolox_head": PostContract(
        "rows float32 [A, 5 + C], a row a cell: offset from it, log of the size, objectness and scores in 0 to 1",
        CHECKS["yolox_head"],
    ),
    "detr_head": PostContract(
        "logits float32 [Q, C], with softmax [Q, C + 1], boxes float32 [Q, 4] in parts of the image, and perhaps masks "
        "float32 [Q, height, width]; or [Q, 4 + C]",
        CHECKS["detr_head"],
    ),
    "nanodet_head": PostContract(
        "rows float32 [A, C + 4 * (reg_max + 1)], a row a cell: scores in 0 to 1 and the distributions of four sides",
        CHECKS["nanodet_head"],
    ),
    "pico_head": PostContract(
        "for each stride scores float32 [A, C] in 0 to 1, then for each stride distributions float32 [A, 4 * bins]",
        CHECKS["pico_head"],
    ),
    "nms": PostContract("the boxes and scores that a head gives", heads.candidates),
    "pose": PostContract(
        "the boxes, scores and features of a head, x, y and perhaps a score in 0 to 1 of each keypoint", extras.poses
    ),
    "instance_masks": PostContract(
        "the boxes, scores and K features of a head whose second output is prototypes float32 [K, height, width], or "
        "those of a head with a mask for each box",
        extras.instance_masks,
    ),
    "rotated_nms": PostContract("the boxes, scores and the one feature of a head, an angle in radians", extras.rotated),
    "detections": PostContract(
        "rows float32 [n, 6]: class (a whole number, -1 for none), score in 0 to 1, x1, y1, x2, y2, or as columns says",
        CHECKS["detections"],
    ),
    "detection_tensors": PostContract(
        "boxes float32 [n, 4], scores float32 [n] in 0 to 1 and classes [n], whole numbers; or a count and these three",
        CHECKS["detection_tensors"],
    ),
    "onnx_nms": PostContract(
        "indices int64 [n, 3] of batch, class and box, boxes float32 [A, 4] and scores float32 [C, A] in 0 to 1",
        CHECKS["onnx_nms"],
    ),
    "text_boxes": PostContract("probabilities float32 [1, height, width] that a pixel is text, in 0 to 1", maps.text),
    "softmax": PostContract("logits float32 [C], two classes or more", scores.logits),
    "sigmoid": PostContract("logits of any shape, float32", scores.independent),
    "two_classes": PostContract("one probability, float32 [1], that of the second class", scores.probability),
    "top_k": PostContract("scores float32 [C], two classes or more, at least k", scores.scores),
    "multi_label": PostContract("probabilities float32 [C], independent of one another, in 0 to 1", scores.labels),
    "classes_first": PostContract("scores float32 [height, width, C]", maps.scores_last),
    "upsample": PostContract("scores float32 [C, height, width] at a fraction of the input's size", maps.scores_first),
    "argmax": PostContract(
        "scores float32 [C, height, width], 2 to 256 classes, or class ids [height, width] as integers", maps.maps
    ),
    "threshold": PostContract("one channel of scores float32 [1, height, width]", maps.one_channel),
    "mask": PostContract(
        "class ids [height, width], whole numbers from 0 to 255, or with of: scores float32 [C, height, width]",
        maps.mask,
    ),
}


def checked_preprocess(spec: ModelSpec, frame: Frame) -> Frame:
    """Preprocess a decoded image.

    Raises:
        ModelError: an operation does not take what it is given.
    """
    normalized = False
    for op in spec.preprocess:
        contract, pixels = PRE_CONTRACTS[op.op], frame.pixels
        wrong = pixels.ndim != 3 or pixels.shape[2] not in contract.channels
        if wrong or (contract.decoded and normalized):
            raise ModelError(
                f"{spec.name}: preprocess: {{op: {op.op}}} takes {contract.takes}, but is given "
                f"{pixels.dtype} {list(pixels.shape)}. Correct the order of preprocess in the spec."
            )
        frame = _applied(spec, op, frame)
        normalized |= isinstance(op, Normalize)
    return frame


def _applied(spec: ModelSpec, op: PreOp, frame: Frame) -> Frame:
    try:
        return op(frame)
    except ValueError as error:
        raise ModelError(f"{spec.name}: preprocess: {error}. Put a resize before it, or correct its size.") from error


def check_postprocess(
    spec: ModelSpec, names: Sequence[str], outputs: Sequence[Array], geometry: Geometry
) -> tuple[str, ...]:
    """Check every operation of postprocess on the outputs of one image, which have no batch.

    Returns:
        what a user should know although everything can be computed.

    Raises:
        ModelError: an operation does not take what it is given.
    """
    value: Any = tuple(outputs)
    for op in spec.postprocess:
        given = Given(spec, op, tuple(names), value, geometry)
        reason = POST_CONTRACTS[op.op].check(given)
        if reason:
            raise ModelError(_refusal(given, reason))
        value = _result(spec, op, value, geometry)
    given = Given(spec, spec.postprocess[0], tuple(names), tuple(outputs), geometry)
    return (*_other_readings(given), *_no_probabilities(given))


def _result(spec: ModelSpec, op: PostOp, value: Any, geometry: Geometry) -> Any:
    try:
        return op(value, geometry)
    except (ValueError, IndexError, TypeError) as error:
        takes = POST_CONTRACTS[op.op].takes
        raise ModelError(
            f"{spec.name}: {{op: {op.op}}} takes {takes}; it fails on what it is given: {error}. "
            "Correct postprocess in the spec."
        ) from error


def _refusal(given: Given, reason: str) -> str:
    spec, op = given.spec, given.op.op
    hints = list(_ways_out(given)) if op == spec.postprocess[0].op else []
    if hints:  # which are the way out, so that of the reason is not needed
        reason = reason.split(". ", maxsplit=1)[0].rstrip(".") + "."
    return f"{spec.name}: {{op: {op}}} takes {POST_CONTRACTS[op].takes}; {given.found} {' '.join([reason, *hints])}"


def _ways_out(given: Given) -> Iterator[str]:
    """What reads these outputs, and which outputs the operation would read."""
    found = readings(given) if given.op.op in CHECKS else []
    fitting = [each for each in found if not (each.outputs and each.op.op == given.op.op)]
    if len(fitting) == 1:
        yield f"It looks like {POST_CONTRACTS[fitting[0].op.op].takes}: use {fitting[0]}."
    elif fitting:
        *most, last = map(str, fitting)
        yield f"{', '.join(most)} and {last} each read it: write the one that the model's own project documents."
    if names := next(iter(other_outputs(given, POST_CONTRACTS[given.op.op].check)), ()):
        fit = f"output {names[0]} fits" if len(names) == 1 else f"outputs {', '.join(names)} fit"
        yield f"The model's {fit}: write outputs: [{', '.join(names)}] in the spec."


def _other_readings(given: Given) -> tuple[str, ...]:
    others = [each for each in other_outputs(given, POST_CONTRACTS[given.op.op].check) if len(each) == 1]
    if not others or given.spec.outputs:
        return ()
    return (
        f"{given.spec.name}: the model has {len(given.names)} outputs; {{op: {given.op.op}}} reads the first, "
        f"{given.names[0]}. If {others[0][0]} is the right one, write outputs: [{others[0][0]}] in the spec.",
    )


def _no_probabilities(given: Given) -> tuple[str, ...]:
    if not isinstance(given.op, TopK) or in_unit(given.first):
        return ()
    return (
        f"{given.spec.name}: {given.found} the scores that {{op: top_k}} reports are no probabilities. "
        "Put {op: softmax} before it in the spec where they are logits.",
    )
