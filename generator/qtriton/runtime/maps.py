"""The operations on the maps of a segmenter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np

from .pre import Geometry
from .values import Array, Output, Results


@dataclass(frozen=True)
class ClassesFirst:
    """Move the classes first, scores [height, width, C] to [C, height, width]: Keras and TensorFlow have them last."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["classes_first"] = "classes_first"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        scores = outputs[0].reshape(outputs[0].shape[-3:])
        return (np.ascontiguousarray(scores.transpose(2, 0, 1)), *outputs[1:])


@dataclass(frozen=True)
class Upsample:
    """Interpolate scores [C, height, width] to the size (height, width) of the model's input, before a class is chosen.

    Bilinear between the centres of pixels, as post_process_semantic_segmentation() of huggingface/transformers,
    models/segformer/image_processing_segformer.py, and torchvision, models/segmentation/_utils.py, have it:
    F.interpolate(mode="bilinear", align_corners=False).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    size: tuple[int, int]
    op: Literal["upsample"] = "upsample"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        scores = outputs[0].reshape(outputs[0].shape[-3:])
        grown = np.empty((len(scores), *self.size), np.float32)
        for plane, out in zip(scores.astype(np.float32, copy=False), grown, strict=True):
            cv2.resize(plane, self.size[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
        return (grown, *outputs[1:])


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
class Threshold:
    """Class 1 where the one score of a pixel is above a threshold, else class 0: [1, height, width] to [height, width].

    The comparison is that of segmentation_models.pytorch, metrics/functional.py and examples: `prob > 0.5`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    op: Literal["threshold"] = "threshold"
    #: A probability; 0 asks the same of logits as 0.5 of their sigmoid.
    above: float = 0.5

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> tuple[Array, ...]:
        scores = outputs[0].reshape(outputs[0].shape[-2:])
        return ((scores > self.above).astype(np.uint8), *outputs[1:])


@dataclass(frozen=True)
class Mask:
    """Bring a map of class ids [height, width] back to the original image: mask uint8 [its height, its width].

    Borders that were added are cut off, and each pixel takes the class of the nearest one that the model saw. The map
    may be smaller than the model's input, whose size (height, width) it covers.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    task: ClassVar[str] = "segmentation"
    size: tuple[int, int]
    op: Literal["mask"] = "mask"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        ids = outputs[0].reshape(outputs[0].shape[-2:]).astype(np.uint8)
        if ids.shape != self.size:
            ids = np.asarray(cv2.resize(ids, self.size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
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
