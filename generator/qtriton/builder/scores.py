"""Whether what a model gives is what the operations of classifiers read; a check gives the reason why not, or ""."""

from qtriton.builder.given import ROUNDING, Given, in_unit, not_finite, other_names
from qtriton.runtime.scores import TopK
from qtriton.runtime.values import Array


def logits(given: Given) -> str:
    """Softmax."""
    array = given.first
    if reason := _no_vector(array):
        return reason
    vector = array.reshape(-1)
    if vector.min() >= 0 and abs(float(vector.sum()) - 1) <= ROUNDING:
        return "they are probabilities already, which sum to 1. Remove {op: softmax} from the spec."
    return other_names(given, vector.size)


def independent(given: Given) -> str:
    """Sigmoid, on the scores of an image or of its pixels."""
    array = given.first
    if array.dtype.kind != "f":
        return "no logits. Export the model with its float scores."
    if array.size and in_unit(array):
        return "they are probabilities already. Remove {op: sigmoid} from the spec."
    return not_finite(array)


def probability(given: Given) -> str:
    """TwoClasses."""
    array = given.first
    if array.dtype.kind != "f" or array.size != 1:
        return "not one number. Remove {op: two_classes} from the spec: each class has a score already."
    if not in_unit(array):
        return "no probability. Put {op: sigmoid} before it in the spec where it is a logit."
    return not_finite(array) or other_names(given, 2)


def scores(given: Given) -> str:
    """TopK."""
    if reason := _no_vector(given.first):
        return reason
    assert isinstance(given.op, TopK)
    count = given.first.size
    if given.op.k > count:
        return f"there are {count} scores, fewer than k: {given.op.k}. Write {{op: top_k, k: {count}}}."
    return other_names(given, count)


def labels(given: Given) -> str:
    """MultiLabel."""
    array = given.first
    if array.dtype.kind != "f" or array.size != max(array.shape, default=0):
        return "not one score a class. Correct task and postprocess in the spec, or name another output."
    if reason := not_finite(array):
        return reason
    if not in_unit(array):
        return "no probabilities. Put {op: sigmoid} before it in the spec where they are logits."
    if array.size > 1 and abs(float(array.sum()) - 1) <= ROUNDING:
        return "they sum to 1, so one class excludes the others. Write task: classification, and {op: top_k} here."
    return other_names(given, array.size)


def _no_vector(array: Array) -> str:
    """Why an output holds no scores of one image, if it does not."""
    if array.dtype.kind != "f":
        return "no scores. Export the model with its float scores, without its own argmax."
    if array.size < 2:
        chain = "{op: two_classes}" if in_unit(array) else "{op: sigmoid}, {op: two_classes}"
        return (
            "one score, of which the best is always class 0. If it is how sure the second of two classes is, write "
            f"postprocess: [{chain}, {{op: top_k, k: 1}}] in the spec."
        )
    if array.size != max(array.shape):
        return "more than one row of scores. Correct task and postprocess in the spec, or name another output."
    return not_finite(array)
