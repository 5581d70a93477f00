"""Scaling as Pillow does it, which torchvision, timm and Ultralytics' classifiers were measured with.

OpenCV takes the pixels around each point; Pillow, when it makes an image smaller, the mean of all that fall together.
The numbers are Pillow's to the last bit: python-pillow/Pillow, src/libImaging/Resample.c. The rows are
first; Pillow 13 begins with the columns where that is less work, and then differs by 1 of 255 here and there.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Filter: TypeAlias = Literal["pillow_linear", "pillow_cubic"]

#: Weights are whole numbers of so many bits behind the point (PRECISION_BITS).
_BITS: Final = 22
#: Of the cubic filter, as Pillow has it.
_A: Final = -0.5


def _linear(distance: Array) -> Array:
    weights: Array = (1 - np.abs(distance)).clip(0)
    return weights


def _cubic(distance: Array) -> Array:
    x = np.abs(distance)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    weights: Array = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights


#: How far each filter reaches, in pixels of the smaller image, and its weights.
_FILTERS: Final[dict[Filter, tuple[float, Callable[[Array], Array]]]] = {
    "pillow_linear": (1.0, _linear),
    "pillow_cubic": (2.0, _cubic),
}


def resample(pixels: Array, height: int, width: int, kind: Filter) -> Array:
    """An image uint8 [h, w, C] scaled to uint8 [height, width, C]: first along the rows, then along the columns."""
    if width != pixels.shape[1]:
        pixels = _along_first(pixels.transpose(1, 0, 2), width, kind).transpose(1, 0, 2)
    return _along_first(pixels, height, kind) if height != pixels.shape[0] else pixels


def _along_first(pixels: Array, length: int, kind: Filter) -> Array:
    """An image uint8 [n, m, C] scaled to uint8 [length, m, C]."""
    first, weights = _weights(pixels.shape[0], length, kind)
    lines = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
    total = np.full((length, lines.shape[1]), 1 << (_BITS - 1), np.int32)
    for tap, weight in enumerate(weights.T):
        places = np.minimum(first + tap, pixels.shape[0] - 1)  # beyond the last the weight is 0
        total += lines[places] * weight[:, np.newaxis]
    scaled: Array = (total >> _BITS).clip(0, 255).astype(np.uint8).reshape(length, *pixels.shape[1:])
    return scaled


def _weights(before: int, after: int, kind: Filter) -> tuple[Array, Array]:
    """For each place after scaling, the first place before it that counts, and the weights int32 [after, taps]."""
    reach, of = _FILTERS[kind]
    scale = before / after
    spread = max(scale, 1.0)
    centre = (np.arange(after) + 0.5) * scale
    first = np.maximum((centre - reach * spread + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach * spread + 0.5).astype(np.int64), before)
    places = first[:, np.newaxis] + np.arange((last - first).max())
    weights = of((places - centre[:, np.newaxis] + 0.5) / spread)
    weights[places >= last[:, np.newaxis]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return first, np.trunc(weights * (1 << _BITS) + np.copysign(0.5, weights)).astype(np.int32)
