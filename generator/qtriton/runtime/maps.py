"""The operations on the maps of a segmenter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np

from .pre import Geometry
from .values import Array, Output, Results


@dataclass(frozen=True)
class ArgMax:
    """The class of the highest score at each pixel: [C, height, width] becomes [height, width].

    Integers are class ids already and stay: PaddleSeg's export ends in an argmax of its own unless told not to.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["argmax"] = "argmax"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        if outputs[0].dtype.kind in "iu":
            return tuple(outputs)
        return (outputs[0].argmax(axis=-3).astype(np.uint8), *outputs[1:])


@dataclass(frozen=True)
class Mask:
    """Bring a map of class ids [height, width] back to the original image: mask uint8 [its height, its width].

    Borders that were added are cut off, and each pixel takes the class of the nearest one that the model saw.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    task: ClassVar[str] = "segmentation"
    op: Literal["mask"] = "mask"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        ids = outputs[0].reshape(outputs[0].shape[-2:]).astype(np.uint8)
        height, width = round(geometry.height), round(geometry.width)
        top, left = round(geometry.pad_y), round(geometry.pad_x)
        bottom, right = top + round(height * geometry.scale_y), left + round(width * geometry.scale_x)
        inner = np.ascontiguousarray(ids[max(top, 0) : bottom, max(left, 0) : right])
        if inner.shape != (height, width):
            inner = np.asarray(cv2.resize(inner, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        return {"mask": inner}

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return (Output("mask", "UINT8", (-1, -1)),)
