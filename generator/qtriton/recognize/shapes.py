"""Files without metadata: what their tensors and graphs say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtriton.recognize.facts import Facts
from qtriton.recognize.reading import Family, Fields, Said

_STRIDES: Final = (8, 16, 32)
#: The part of the shorter side that is cut out: 224 of 256, in torchvision's and timm's evaluation.
_CROP: Final = 0.875


def _cells(facts: Facts) -> int:
    """How many places a detector with strides 8, 16 and 32 looks at; 0 where the size is free."""
    height, width = facts.image.height, facts.image.width
    return sum(-(-height // stride) * -(-width // stride) for stride in _STRIDES) if min(height, width) > 0 else 0


def _rows(facts: Facts) -> tuple[int, int]:
    """The last two sizes of a single output [batch, n, m]; zeros where it is another."""
    shape = facts.first.shape
    return (shape[1], shape[2]) if len(facts.outputs) == 1 and len(shape) == 3 else (0, 0)


def scores_of(facts: Facts) -> int:
    """How many classes a classifier scores, by its first output [batch, C] or [batch, C, 1, 1]; 0 where it is none."""
    shape = facts.first.shape
    flat = len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))
    return max(shape[1], 0) if flat and len(facts.outputs) == 1 and facts.first.dtype.startswith("float") else 0


def _classifier(what: str) -> Callable[[Facts], str]:
    def why(facts: Facts) -> str:
        if facts.metadata.project or scores_of(facts) < 2 or facts.metadata.text("character"):
            return ""
        return f"the output {facts.first} is scores of classes; {what}"

    return why


def _after_scores(facts: Facts) -> Said:
    """What follows a classifier, by what its graph ends in."""
    best: dict[str, Any] = {"op": "top_k", "k": min(5, scores_of(facts))}
    if facts.ends[facts.first.name] == "Softmax":
        return Said([best], "the graph ends in Softmax")
    return Said([{"op": "softmax"}, best], "the graph ends in logits: there is no Softmax")


def _imagenet(facts: Facts) -> Fields:
    """The crop of ImageNet's evaluation at the size of the input."""
    side = min(facts.image.height, facts.image.width)
    said = {"postprocess": _after_scores(facts)}
    del side
    return said


def _yolov5(facts: Facts) -> str:
    rows, columns = _rows(facts)
    cells, project = _cells(facts), facts.metadata.project
    if project == "YOLOv5" and columns >= 6:
        return f"YOLOv5's metadata, and the output {facts.first} is a head with objectness"
    if not project and columns >= 6 and cells and rows == 3 * cells:
        return f"the output {facts.first} has three anchors a place, as YOLOv5 and YOLOv7 have"
    return ""


FAMILIES: Final[tuple[Family, ...]] = (
    Family("generic_detection", _yolov5),
    Family("torchvision_classify", _classifier("trained as torchvision's: mean and deviation of ImageNet"), _imagenet),
    Family("timm_classify", _classifier("trained as timm's ViT: mean and deviation 0.5"), _imagenet),
)
