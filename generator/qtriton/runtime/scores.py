"""The operations on the scores of a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .pre import Geometry
from .values import Array, Output, Results


@dataclass(frozen=True)
class Softmax:
    """Turn logits into probabilities over the last axis, behind which there may be axes of one pixel: [C, 1, 1]."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["softmax"] = "softmax"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        logits = outputs[0]
        while logits.ndim > 1 and logits.shape[-1] == 1:
            logits = logits[..., 0]
        shifted = logits - logits.max(axis=-1, keepdims=True)
        powers = np.exp(shifted)
        return (powers / powers.sum(axis=-1, keepdims=True), *outputs[1:])


@dataclass(frozen=True)
class Sigmoid:
    """Turn logits into probabilities that are independent of one another: 1 / (1 + exp(-x)), each for itself."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["sigmoid"] = "sigmoid"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        # exp() of what is positive overflows; 1 / (1 + exp(-x)) is exp(x) / (1 + exp(x)).
        small = np.exp(-np.abs(outputs[0]))
        return (np.where(outputs[0] < 0, small, 1) / (1 + small), *outputs[1:])


@dataclass(frozen=True)
class TwoClasses:
    """The scores [1 - p, p] of two classes from the one probability p that a model gives, that of the second class.

    Keras' binary classifiers (docs: image_classification_from_scratch) and PyTorch's BCEWithLogitsLoss mean it so.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["two_classes"] = "two_classes"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        probability = outputs[0].reshape(1)
        return (np.concatenate([1 - probability, probability]), *outputs[1:])


@dataclass(frozen=True)
class TopK:
    """The k classes of the highest score, best first: classes int32 [k], scores float32 [k]."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    task: ClassVar[str] = "classification"
    op: Literal["top_k"] = "top_k"
    k: int = 5

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        scores = outputs[0].reshape(-1)
        best = np.argsort(-scores, kind="stable")[: self.k]
        return {"classes": best.astype(np.int32), "scores": scores[best].astype(np.float32)}

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return (Output("classes", "INT32", (self.k,)), Output("scores", "FP32", (self.k,)))


@dataclass(frozen=True)
class MultiLabel:
    """Every class whose probability is above a threshold: an image may have several labels, or none.

    Takes probabilities float32 [C] that are independent of one another: put `sigmoid` before it where the model gives
    logits. Results, best first and padded with zeros to `k`: num_labels int32 [1]; classes int32 [k]; scores float32
    [k]. The comparison is that of Alibaba-MIIL/ASL, infer.py.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    task: ClassVar[str] = "multi_label"
    op: Literal["multi_label"] = "multi_label"
    score_threshold: float = 0.5
    #: How many labels an answer has room for; there may be more of them than classes.
    k: int = 20

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        scores = outputs[0].reshape(-1)
        best = np.argsort(-scores, kind="stable")[: self.k]
        best = best[scores[best] > self.score_threshold]
        classes, kept = np.zeros(self.k, np.int32), np.zeros(self.k, np.float32)
        classes[: len(best)], kept[: len(best)] = best, scores[best]
        return {"num_labels": np.array([len(best)], np.int32), "classes": classes, "scores": kept}

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        many = (self.k,)
        return Output("num_labels", "INT32", (1,)), Output("classes", "INT32", many), Output("scores", "FP32", many)
