"""Whether what a model gives is what the operations of segmenters read; a check gives the reason why not, or ""."""

from typing import Final

import numpy as np

from qtriton.builder.given import Given, in_proportion, in_unit, not_finite, other_names, without_ones
from qtriton.runtime.maps import Mask, Threshold
from qtriton.runtime.values import Array

_MOST_CLASSES: Final = 256
_PROPORTIONS: Final = "it has not the proportions of the image. Correct input or postprocess in the spec."


def mask(given: Given) -> str:
    """Mask."""
    assert isinstance(given.op, Mask)
    if given.op.of == "ids":
        return ids(given)
    if given.first.dtype.kind in "iu":
        return "these are class ids already. Write {op: mask} without of: scores."
    return scores_of_classes(given)


def maps(given: Given) -> str:
    """ArgMax."""
    return ids(given) if given.first.dtype.kind in "iu" else scores_of_classes(given)


def scores_of_classes(given: Given) -> str:
    """Scores of which the best is taken."""
    if reason := scores_first(given):
        return reason
    count = without_ones(given.first.shape, 3)[0]
    if count < 2:
        above = "{op: threshold}" if in_unit(given.first) else "{op: sigmoid}, {op: threshold}"
        return (
            "one channel, whose highest score is always class 0. If it is how sure class 1 is of each pixel, write "
            f"postprocess: [{above}, {{op: mask}}] in the spec."
        )
    if count > _MOST_CLASSES:
        return f"{count} classes, and a mask has a byte for each pixel. Export the model with 256 or fewer."
    return other_names(given, count)


def scores_first(given: Given) -> str:
    """Upsample, and scores under ArgMax."""
    if reason := _no_scores(given.first):
        return reason
    shape = without_ones(given.first.shape, 3)
    if not in_proportion(shape[1:], given) and in_proportion(shape[:2], given):
        return f"the classes are last. Put {{op: classes_first}} before {{op: {given.op.op}}} in the spec."
    return not_finite(given.first) if in_proportion(shape[1:], given) else _PROPORTIONS


def scores_last(given: Given) -> str:
    """ClassesFirst."""
    if reason := _no_scores(given.first):
        return reason
    shape = without_ones(given.first.shape, 3)
    if not in_proportion(shape[:2], given) and in_proportion(shape[1:], given):
        return "the classes are first already. Remove {op: classes_first} from the spec."
    return not_finite(given.first) if in_proportion(shape[:2], given) else _PROPORTIONS


def one_channel(given: Given) -> str:
    """Threshold."""
    assert isinstance(given.op, Threshold)
    array, above = given.first, given.op.above
    shape = without_ones(array.shape, 2)
    if array.dtype.kind != "f" or len(shape) != 2:
        several = "several channels" if array.dtype.kind == "f" else "no scores"
        return f"{several}. Write {{op: argmax}} in the place of {{op: threshold}}."
    if not in_proportion(shape, given):
        return _PROPORTIONS
    if not in_unit(array) and 0 < above < 1:
        return "no probabilities. Put {op: sigmoid} before it in the spec where they are logits."
    if in_unit(array) and not 0 < above < 1:
        return f"probabilities, of which {above:g} tells nothing. Write {{op: threshold, above: 0.5}}."
    return not_finite(array) or other_names(given, 2)


def text(given: Given) -> str:
    """TextBoxes."""
    shape = without_ones(given.first.shape, 2)
    if given.first.dtype.kind != "f" or len(shape) != 2:
        return "no map of one channel. Name the output that holds the probabilities in outputs of the spec."
    if not in_proportion(shape, given):
        return _PROPORTIONS
    if not in_unit(given.first):
        return "no probabilities. Put {op: sigmoid} before it in the spec where they are logits."
    return not_finite(given.first) or other_names(given, 1)


def ids(given: Given) -> str:
    """The ids under Mask, and those under ArgMax."""
    array = given.first
    shape = without_ones(array.shape, 2)
    if len(shape) != 2:
        return "no map of class ids. Put {op: argmax} before it where these are scores, or correct the spec."
    if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
        return (
            "these are scores, not class ids. Put {op: argmax} before {op: mask}, or {op: threshold} where there is "
            "one channel."
        )
    if array.dtype.kind not in "fiu":
        return "no class ids. Export the model with integers."
    if not in_proportion(shape, given):
        return _PROPORTIONS
    if array.size and (array.min() < 0 or array.max() >= _MOST_CLASSES):
        return "ids that a byte cannot hold. Export the model with ids from 0 to 255."
    if given.classes and array.max(initial=0) >= given.classes:
        return f"the spec names only {given.classes} classes. Name every class in the spec, in the model's order."
    return ""


def _no_scores(array: Array) -> str:
    """Why an output is no map of scores, if it is none."""
    if array.dtype.kind != "f":
        return "no scores. Export the model with float scores, or with class ids as integers."
    if len(without_ones(array.shape, 3)) != 3:
        return "no map of scores. Correct postprocess in the spec, or export the model with [C, height, width]."
    return ""
