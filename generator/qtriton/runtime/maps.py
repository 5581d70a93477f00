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
    may be smaller than the model's input, whose size (height, width) it covers. With `of: scores`, what is given is
    scores [C, height, width]: each pixel takes the class that is best there, once scores are interpolated between the
    centres of the map's pixels, as post_process_semantic_segmentation() of huggingface/transformers,
    models/segformer/image_processing_segformer.py, does with target_sizes. That takes longer the larger the image is.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    task: ClassVar[str] = "segmentation"
    size: tuple[int, int]
    op: Literal["mask"] = "mask"
    #: What it is given: the class of each pixel, or the scores of all classes.
    of: Literal["ids", "scores"] = "ids"

    def __call__(self, outputs: Sequence[Array], geometry: Geometry) -> Results:
        return {"mask": (self._nearest if self.of == "ids" else self._best)(outputs[0], geometry)}

    def outputs(self) -> tuple[Output, ...]:
        """The result tensors."""
        return (Output("mask", "UINT8", (-1, -1)),)

    def _nearest(self, ids: Array, geometry: Geometry) -> Array:
        ids = ids.reshape(ids.shape[-2:]).astype(np.uint8)
        if ids.shape != self.size:
            ids = np.asarray(cv2.resize(ids, self.size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
        height, width = round(geometry.height), round(geometry.width)
        top, left = round(geometry.pad_y), round(geometry.pad_x)
        bottom, right = top + round(height * geometry.scale_y), left + round(width * geometry.scale_x)
        inner = np.ascontiguousarray(ids[max(top, 0) : bottom, max(left, 0) : right])
        if inner.shape != (height, width):
            inner = np.asarray(cv2.resize(inner, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        return inner

    def _best(self, scores: Array, geometry: Geometry) -> Array:
        """One class after another: the scores of all at the size of the image may not fit into memory."""
        first, *others = scores.reshape(scores.shape[-3:]).astype(np.float32, copy=False)
        best = self._interpolated(first, geometry)
        ids = np.zeros(best.shape, np.uint8)
        for number, plane in enumerate(others, start=1):
            grown = self._interpolated(plane, geometry)
            ids[grown > best] = number
            np.maximum(best, grown, out=best)
        return ids

    def _interpolated(self, plane: Array, geometry: Geometry) -> Array:
        """A map [height, width] over the model's input at every pixel of the original image."""
        size = (round(geometry.width), round(geometry.height))
        seen = (round(geometry.height * geometry.scale_y), round(geometry.width * geometry.scale_x))
        if seen == self.size and geometry.pad_x == geometry.pad_y == 0:
            return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))
        return on_grid(plane, self.size, np.array([0, 0, *size]), size[::-1], geometry)


def on_grid(plane: Array, seen: tuple[int, int], box: Array, shape: tuple[int, int], geometry: Geometry) -> Array:
    """A map over the model's input, interpolated on a grid that is stretched over a box of the original image.

    Args:
        plane: float32 [height, width], of any size.
        seen: the model's input (height, width), which the map covers.
        box: [4] x1, y1, x2, y2 in pixels of the original image.
        shape: rows and columns of the grid.
        geometry: where the model's input came from.
    """
    per_pixel = np.array(plane.shape[::-1]) / seen[::-1]
    scale = np.array([geometry.scale_x, geometry.scale_y]) * per_pixel
    pad = np.array([geometry.pad_x, geometry.pad_y]) * per_pixel
    step = (box[2:] - box[:2]) / shape[::-1] * scale
    first = box[:2] * scale + pad + step / 2 - 0.5
    grid = np.array([[step[0], 0, first[0]], [0, step[1], first[1]]])
    return np.asarray(
        cv2.warpAffine(
            np.ascontiguousarray(plane, np.float32),
            grid,
            shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )
