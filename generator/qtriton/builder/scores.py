"""Whether what a model gives is what softmax, top_k, argmax and mask read; a check gives the reason why not, or ""."""

from typing import Final

import numpy as np

from qtriton.builder.given import ROUNDING, Given, in_proportion, not_finite, other_names, without_ones
from qtriton.runtime.scores import TopK
from qtriton.runtime.values import Array

_MOST_CLASSES: Final = 256


def logits(given: Given) -> str:
    """Softmax."""
    array = given.first
    if reason := _no_vector(array):
        return reason
    vector = array.reshape(-1)
    if vector.min() >= 0 and abs(float(vector.sum()) - 1) <= ROUNDING:
        return "they are probabilities already, which sum to 1. Remove {op: softmax} from the spec."
    return other_names(given, vector.size)


def scores(given: Given) -> str:
    """TopK."""
    if reason := _no_vector(given.first):
        return reason
    assert isinstance(given.op, TopK)
    count = given.first.size
    if given.op.k > count:
        return f"there are {count} scores, fewer than k: {given.op.k}. Write {{op: top_k, k: {count}}}."
    return other_names(given, count)


def maps(given: Given) -> str:
    """ArgMax."""
    array = given.first
    if array.dtype.kind in "iu":
        return ids(given)
    if array.dtype.kind != "f":
        return "no scores. Export the model with float scores, or with class ids as integers."
    shape = without_ones(array.shape, 3)
    if len(shape) != 3:
        return "no map of scores. Correct postprocess in the spec, or export the model with [C, height, width]."
    if not in_proportion(shape[1:], given) and in_proportion(shape[:2], given):
        return "the classes are last. No operation takes that: export the model with [C, height, width]."
    if not in_proportion(shape[1:], given):
        return "it has not the proportions of the image. Correct input or postprocess in the spec."
    if shape[0] < 2:
        return (
            "one channel, whose highest score is always class 0. No operation compares it with a threshold yet: export "
            "the model with one channel for each class, background included, or with class ids as integers."
        )
    if shape[0] > _MOST_CLASSES:
        return f"{shape[0]} classes, and a mask has a byte for each pixel. Export the model with 256 or fewer."
    return not_finite(array) or other_names(given, shape[0])


def ids(given: Given) -> str:
    """Mask, and class ids under ArgMax."""
    array = given.first
    shape = without_ones(array.shape, 2)
    if len(shape) != 2:
        return "no map of class ids. Put {op: argmax} before it where these are scores, or correct the spec."
    if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
        return "these are scores, not class ids. Put {op: argmax} before {op: mask}, and give it one channel a class."
    if array.dtype.kind not in "fiu":
        return "no class ids. Export the model with integers."
    if not in_proportion(shape, given):
        return "it has not the proportions of the image. Correct input or postprocess in the spec."
    if array.size and (array.min() < 0 or array.max() >= _MOST_CLASSES):
        return "ids that a byte cannot hold. Export the model with ids from 0 to 255."
    if given.classes and array.max(initial=0) >= given.classes:
        return f"the spec names only {given.classes} classes. Name every class in the spec, in the model's order."
    return ""


def _no_vector(array: Array) -> str:
    """Why an output holds no scores of one image, if it does not."""
    if array.dtype.kind != "f":
        return "no scores. Export the model with its float scores, without its own argmax."
    if array.size < 2:
        return (
            "one score, of which the best is always class 0. No operation compares it with a threshold yet: "
            "export the model with one score for each class."
        )
    if array.size != max(array.shape):
        return "more than one row of scores. Correct task and postprocess in the spec, or name another output."
    if array.shape[-1] != array.size:
        return "the classes are not last. Export the model with its scores flattened to [batch, C]."
    return not_finite(array)
