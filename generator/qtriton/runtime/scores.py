"""The operations on the scores of a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .pre import Geometry
from .values import Array, Output, Results


@dataclass(frozen=True)
class Softmax:
    """Turn logits into probabilities over the last axis."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["softmax"] = "softmax"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        shifted = outputs[0] - outputs[0].max(axis=-1, keepdims=True)
        powers = np.exp(shifted)
        return (powers / powers.sum(axis=-1, keepdims=True), *outputs[1:])


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
