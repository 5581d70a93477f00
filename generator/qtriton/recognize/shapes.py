"""Files without metadata: classifiers and segmenters, by what their tensors and graphs say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtriton.recognize.facts import Facts, Tensor
from qtriton.recognize.reading import Family, Fields, Said

_BEST: Final = 5
#: A mask has a byte for each pixel.
_MOST_CLASSES: Final = 256
#: By how much a map may be off the proportions of its image: sizes are rounded at each stride.
_OFF: Final = 0.1


def scores_of(facts: Facts) -> int:
    """How many classes a classifier scores, by its output [batch, C] or [batch, C, 1, 1]; 0 where it is none."""
    shape = facts.first.shape
    flat = len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))
    alone = len(facts.outputs) == 1 and "NonMaxSuppression" not in facts.ops
    return max(shape[1], 0) if flat and alone and facts.first.dtype.startswith("float") else 0


def _classifier(facts: Facts) -> str:
    if facts.metadata.project or facts.metadata.text("character") or not scores_of(facts):
        return ""
    return f"the output {facts.first} is scores of classes"


def _with(what: str, reason: Callable[[Facts], str]) -> Callable[[Facts], str]:
    """A reason that also says what a reading takes for granted."""
    return lambda facts: f"{why}; {what}" if (why := reason(facts)) else ""


def classifier_fields(facts: Facts) -> Fields:
    """What follows a classifier, by what its graph ends in."""
    count, end = scores_of(facts) or _BEST, facts.ends.get(facts.first.name, "")
    best: dict[str, Any] = {"op": "top_k", "k": min(_BEST, max(count, 2))}
    if count == 1:
        ops: list[Any] = [{"op": "two_classes"}, best]
        probability = end in ("Sigmoid", "HardSigmoid")
        why = "the graph ends in one probability" if probability else "the graph ends in one logit"
        return {"postprocess": Said(ops if probability else [{"op": "sigmoid"}, *ops], why)}
    if end in ("Softmax", "Sigmoid"):
        return {"postprocess": Said([best], f"the graph ends in {end}")}
    return {"postprocess": Said([{"op": "softmax"}, best], "the graph ends in logits: there is no Softmax")}


def _orientation(facts: Facts) -> str:
    if facts.metadata.text("character") and scores_of(facts) == len(facts.metadata.classes) > 1:
        return f"PaddleClas' metadata (character), and the output {facts.first} is scores of so many classes"
    return ""


def _several(facts: Facts) -> str:
    if not _classifier(facts) or scores_of(facts) < 2 or facts.ends.get(facts.first.name) != "Sigmoid":
        return ""
    return f"the output {facts.first} is scores behind a sigmoid, which may be of several labels at once"


def several_fields(facts: Facts) -> Fields:
    """What follows a classifier of several labels: probabilities where the graph ends in a sigmoid."""
    if facts.ends.get(facts.first.name) != "Sigmoid":
        return {}
    return {"postprocess": Said([{"op": "multi_label"}], "the graph ends in Sigmoid")}


def _text_line(size: tuple[int, int], free: bool = False) -> Callable[[Facts], str]:
    """Whether a classifier of two classes takes lines of text of this height and width, or of any."""

    def why(facts: Facts) -> str:
        high, wide = facts.image.height, facts.image.width
        alike = (high, wide) == size or (free and high < 1 and wide < 1)
        if not alike or not _classifier(facts) or scores_of(facts) != 2 or facts.ends[facts.first.name] != "Softmax":
            return ""
        of = f"{high} x {wide}" if high > 0 else "any size"
        return f"the output {facts.first} is two probabilities, of an image of {of}, as PP-OCR's for lines of text"

    return why


def _map_of(facts: Facts, output: Tensor) -> tuple[int, bool, bool]:
    """How many classes a map has, whether they are last, and whether it is as large as the image; 0 for no map."""
    image, shape = facts.image, output.shape
    free = min(image.height, image.width) < 1
    if len(shape) == 3 and output.dtype.startswith(("int", "uint")):
        return 1, False, True
    if len(shape) != 4 or not output.dtype.startswith("float"):
        return 0, False, False
    for last, (count, high, wide) in ((False, shape[1:]), (True, (shape[3], *shape[1:3]))):
        alike = not free and min(high, wide) > 1 and abs(high * image.width / (wide * image.height) - 1) < _OFF
        if 0 < count <= _MOST_CLASSES and (alike or (free and high < 1 and wide < 1)):
            return count, last, (high, wide) == (image.height, image.width)
    return 0, False, False


def _segmenter(facts: Facts) -> str:
    if facts.metadata.project or not _map_of(facts, facts.first)[0] or len(facts.outputs) > 2:
        return ""
    return f"the output {facts.first} is a map of the image"


def _transformers(facts: Facts) -> str:
    if not _segmenter(facts) or facts.image.tensor.name != "pixel_values" or facts.first.name != "logits":
        return ""
    return f"the output {facts.first} is a map of the image, named as transformers does; read as SegFormer"


def _text_detector(facts: Facts) -> str:
    if not _segmenter(facts) or _map_of(facts, facts.first)[0] != 1 or facts.ends[facts.first.name] != "Sigmoid":
        return ""
    return f"the output {facts.first} is a map of the probability of text, as PaddleOCR's detectors give"


def map_fields(facts: Facts) -> Fields:
    """What follows a segmenter, by its map and by what the graph ends in."""
    output = facts.first
    count, last, whole = _map_of(facts, output)
    if not count:
        return {}
    said: dict[str, Said] = {}
    if len(facts.outputs) > 1:
        said["outputs"] = Said([output.name], "the first output; the others are for training")
    ops: list[dict[str, Any]] = [{"op": "classes_first"}] if last else []
    ids = len(output.shape) == 3
    ops += [{"op": "upsample"}] if not whole and not ids else []
    if count == 1 and not ids:
        probability = facts.ends.get(output.name, "") in ("Sigmoid", "HardSigmoid")
        ops.append({"op": "threshold", "above": 0.5 if probability else 0.0})
        why = f"one channel of {'probabilities' if probability else 'logits'}"
    else:
        ops.append({"op": "argmax"})
        why = "class ids" if ids else f"scores of {count} classes{', the classes last' if last else ''}"
    said["postprocess"] = Said([*ops, {"op": "mask"}], why)
    return said


_IMAGENET: Final = "normalised by ImageNet's mean and deviation"
FAMILIES: Final[tuple[Family, ...]] = (
    Family("ppcls_orientation", _orientation, classifier_fields),
    Family("torchvision_classify", _with(f"{_IMAGENET}, as torchvision does", _classifier), classifier_fields),
    Family("timm_classify", _with("the same, scaled by cubics, as timm does", _classifier), classifier_fields),
    Family("timm_vit", _with("normalised to -1 ... 1, as timm's ViTs", _classifier), classifier_fields),
    Family("generic_multi_label", _several, several_fields),
    Family("ppocr_cls", _text_line((80, 160))),
    Family("ppocr_mobile_cls", _text_line((48, 192), free=True)),
    Family("torchvision_segment", _with(f"{_IMAGENET}, as torchvision and smp do", _segmenter), map_fields),
    Family("segformer", _with(f"{_IMAGENET}", _transformers)),
    Family("ppocr_det", _text_detector),
    Family("generic_segmentation", _with("normalised to -1 ... 1, as PaddleSeg does", _segmenter), map_fields),
)
