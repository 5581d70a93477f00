"""The arithmetic of quantization: a range to (scale, zero point), weights to int8, a bias to int32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qtriton.quantize.bounds import Range

_WEIGHT_LIMIT: Final = 127
#: Without VNNI, x86 sums u8 * s8 in pairs of neighbours in a saturating int16 (vpmaddubsw): 255 * 128 still fits,
#: and rounding can add one to a pair.
_PAIR_LIMIT: Final = 127
_BIAS_LIMIT: Final = float(2**30)
_TINY: Final = 1e-8


@dataclass(frozen=True)
class Affine:
    """real = scale * (q - zero), q in 0..255."""

    scale: np.float32
    zero: int

    @classmethod
    def of(cls, bounds: Range) -> Affine:
        low, high = min(bounds.low, 0.0), max(bounds.high, 0.0)
        scale = np.float32(max(high - low, _TINY) / 255.0)
        return cls(scale, int(np.clip(round(-low / float(scale)), 0, 255)))


def signed_scale(bounds: Range) -> np.float32:
    """The scale of symmetric s8, real = scale * q with q in -127..127."""
    return np.float32(max(abs(bounds.low), abs(bounds.high), _TINY) / _WEIGHT_LIMIT)


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A layer's weights per output channel, and its bias in units of input scale times weight scale."""

    weight: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32] | None
    bias_scales: NDArray[np.float32]


def to_integers(
    weight: NDArray[np.float32], bias: NDArray[np.float32] | None, channel: int, source: Affine, saturates: bool
) -> IntegerLayer:
    """Quantize the weights to s8 per slice along the axis `channel`; `saturates`: see largest_pair."""
    rows = np.moveaxis(weight, channel, 0)
    largest = np.abs(rows).reshape(len(rows), -1).max(axis=1) / _WEIGHT_LIMIT
    if saturates:
        largest = np.maximum(largest, largest_pair(rows) / _PAIR_LIMIT)
    scales = np.maximum(largest, _TINY).astype(np.float32)
    if bias is not None:
        # A channel of almost no weight must not push its bias out of int32.
        scales = np.maximum(scales, np.abs(bias) / (source.scale * _BIAS_LIMIT)).astype(np.float32)
    shape = [-1 if axis == channel else 1 for axis in range(weight.ndim)]
    integers = np.clip(np.rint(weight / scales.reshape(shape)), -_WEIGHT_LIMIT, _WEIGHT_LIMIT).astype(np.int8)
    bias_scales = (source.scale * scales).astype(np.float32)
    integer_bias = None if bias is None else np.rint(bias.astype(np.float64) / bias_scales).astype(np.int32)
    return IntegerLayer(integers, scales, integer_bias, bias_scales)


def largest_pair(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Per output channel, the largest |a + b| of two weights that an int8 kernel may add before it widens.

    Kernels walk the weights of a channel as (y, x, channel) or as (channel, y, x), by the layout that ONNX Runtime
    picks: neighbours in either order count. Most channels keep nearly all 8 bits; halving all weights (7 bits)
    would be as safe and costs mobilenet_v1 accuracy.
    """
    orders = [rows.reshape(len(rows), -1)]
    if rows.ndim == 4:
        orders.append(rows.transpose(0, 2, 3, 1).reshape(len(rows), -1))
    sums = [np.abs(flat[:, 1:] + flat[:, :-1]).max(axis=1, initial=0.0) for flat in orders]
    largest: NDArray[np.float32] = np.maximum.reduce(sums)
    return largest
