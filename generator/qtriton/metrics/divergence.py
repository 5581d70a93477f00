"""How far outputs are from FP32's, without labels or thresholds: it shows what an accuracy metric's noise hides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from qtriton.runtime.end2end import EndToEnd
from qtriton.runtime.maps import ClassesFirst, Threshold
from qtriton.runtime.post import PostOp
from qtriton.runtime.pre import Geometry
from qtriton.runtime.scores import MultiLabel, Sigmoid, Softmax, TwoClasses
from qtriton.runtime.text import TextBoxes
from qtriton.runtime.values import Array, Candidates, Detected
from qtriton.spec import value_types

#: Candidates that FP32 scores below this reach no client and hardly change mAP.
_SCORE: Final = 0.05
_TINY: Final = 1e-9
#: Features that hardly vary, such as the angle of what is never turned, are compared by this at least.
_STILL: Final = 0.1
#: Behind these a score says yes or no; it does not compete with others.
_INDEPENDENT: Final = (Sigmoid, TwoClasses, MultiLabel, Threshold, TextBoxes)


def divergence(ops: Sequence[PostOp], geometry: Geometry, fp32: Sequence[Array], other: Sequence[Array]) -> float:
    """The distance of one image's raw outputs (each without the batch) from those of FP32; 0 where they are equal.

    Detection: over the candidates that FP32 scores above 0.05, weighted by score, 1 - IoU of the two boxes, plus
    the differences of their scores; the head's features and prototypes by how far they are off. Classification and
    segmentation: the Kullback-Leibler divergence of the probabilities, for segmentation the mean over the pixels; where
    the model ends in an argmax, the fraction of pixels that differ. Scores that are independent of one another, each of
    them against its own complement.
    """
    first = ops[0]
    if value_types(first)[1] is Candidates:
        head: Any = first
        return _of_candidates(head(fp32, geometry), head(other, geometry))
    if isinstance(first, EndToEnd):
        return _of_detections(first.detected(fp32, geometry), first.detected(other, geometry))
    before, after = fp32[0], other[0]
    if before.dtype.kind in "iu":
        return float((before != after).mean())
    if any(isinstance(op, _INDEPENDENT) for op in ops):
        before, after = (_against_complement(each, ops) for each in (before, after))
        return _kullback_leibler(before, after, 0)
    axis = -1 if before.ndim < 3 or isinstance(first, ClassesFirst) else -3
    if isinstance(first, Softmax) or before.ndim > 2 or not _are_probabilities(before, axis):
        before, after = (_softmax(each, axis) for each in (before, after))
    return _kullback_leibler(before, after, axis)


def _against_complement(scores: Array, ops: Sequence[PostOp]) -> Array:
    """Probabilities [2, ...] of yes and of no."""
    logits = any(isinstance(op, Sigmoid) or (isinstance(op, Threshold) and not 0 < op.above < 1) for op in ops)
    yes = Sigmoid()([scores], Geometry(1, 1))[0] if logits else scores.clip(0, 1)
    return np.stack([yes, 1 - yes])


def _of_candidates(fp32: Candidates, other: Candidates) -> float:
    if fp32.classes is None or other.classes is None:
        found = _of_places(fp32, other)
    else:  # chosen by the model, in an order of their own
        chosen = (Detected(each.boxes(), each.scores()[:, 0], np.asarray(each.classes)) for each in (fp32, other))
        found = _of_detections(*chosen)
    if fp32.prototypes is None or other.prototypes is None:
        return found
    return found + float(np.abs(other.prototypes - fp32.prototypes).mean() / max(fp32.prototypes.std(), _TINY))


def _of_places(fp32: Candidates, other: Candidates) -> float:
    scores, others = fp32.scores(), other.scores()
    relevant = scores.max(axis=1) > _SCORE
    if not relevant.any():
        return float(np.abs(others - scores).max(initial=0.0))
    weights = scores[relevant].max(axis=1)
    box_change = 1 - _iou(fp32.boxes(relevant), other.boxes(relevant))
    score_change = np.abs(others[relevant] - scores[relevant]).max(axis=1)
    return float((weights * (box_change + _of_features(fp32, other, relevant)) + score_change).sum() / weights.sum())


def _of_features(fp32: Candidates, other: Candidates, relevant: Array) -> Array:
    """The change of each candidate's features: the mean of their changes, in the spread that each has in FP32."""
    if fp32.features is None or other.features is None or not fp32.features.shape[1]:
        return np.zeros(int(relevant.sum()), np.float32)
    spread = np.maximum(fp32.features.std(axis=0), _STILL)
    change: Array = (np.abs(other.features - fp32.features)[relevant] / spread).mean(axis=1)
    return change


def _of_detections(fp32: Detected, other: Detected) -> float:
    """Detections behind an NMS: each is compared with the best of its class."""
    relevant = fp32.scores > _SCORE
    if not relevant.any():
        return float(other.scores.max(initial=0.0))
    total = 0.0
    for box, score, kind in zip(*(part[relevant] for part in fp32), strict=True):
        same = other.classes == kind
        overlaps = _iou(np.broadcast_to(box, other.boxes[same].shape), other.boxes[same])
        best = int(overlaps.argmax()) if same.any() else -1
        total += score * 2 if best < 0 else score * (1 - overlaps[best]) + abs(score - other.scores[same][best])
    return float(total / fp32.scores[relevant].sum())


def _iou(one: Array, two: Array) -> Array:
    sides = (np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])).clip(0)
    shared = sides[:, 0] * sides[:, 1]
    areas = [((each[:, 2:] - each[:, :2]).clip(0)).prod(axis=1) for each in (one, two)]
    ratio: Array = shared / np.maximum(areas[0] + areas[1] - shared, _TINY)
    return ratio


def _are_probabilities(values: Array, axis: int) -> bool:
    return bool((values >= 0).all() and np.allclose(values.sum(axis=axis), 1, atol=1e-2))


def _softmax(values: Array, axis: int) -> Array:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=axis, keepdims=True)
    return probabilities


def _kullback_leibler(before: Array, after: Array, axis: int) -> float:
    ratio = np.log(before.clip(_TINY)) - np.log(after.clip(_TINY))
    return float((before * ratio).sum(axis=axis).mean())
