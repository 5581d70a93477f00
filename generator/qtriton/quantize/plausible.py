"""Holds learnt ranges against what a few images really made of the FP32 ONNX: a check that trusts no step before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qtriton.compress.scales import Scales
from qtriton.errors import CompressionError
from qtriton.quantize.bounds import Bounds, Range
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import layer_result, match_layers
from qtriton.quantize.observe import Observation
from qtriton.recipe import Algorithm
from qtriton.target import Method

if TYPE_CHECKING:
    from onnx import NodeProto

#: The least part of the largest value seen that abs_max, which keeps the largest of all images, may give.
_LEAST_OF_LARGEST: Final = 0.95
#: The least part of the smallest of the images' largest values that any other algorithm may choose: Paddle's KL looks
#: at 128 of 2048 bins at least, its mse and emd at 0.3 of the largest value of one image.
_LEAST_OF_SMALLEST: Final = 1 / 20
#: How many times the largest value seen a threshold may be: other images can have larger ones.
_MOST: Final = 10.0
#: What rounding may do to a bound, of the size of the values.
_ROUNDING: Final = 1e-3
#: Values below this are rounding noise.
_NOISE: Final = 1e-6


def check_ranges(view: GraphView, scales: Scales, seen: Observation) -> None:
    """Refuse ranges that what was seen cannot explain.

    Raises:
        CompressionError: a layer's range, or what a tensor can be by its op, is not what was seen; it names the layer.
    """
    layers = match_layers(view, scales.layers)
    for layer in layers.values():
        learnt = layer.learnt
        _check_threshold(scales, layer.node, "reads", learnt.input_threshold, seen, layer.node.input[0])
        if learnt.output_threshold is not None:
            _check_threshold(scales, layer.node, "gives", learnt.output_threshold, seen, layer_result(view, layer.node))
    if scales.method is Method.PTQ:
        _check_bounds(Bounds(view, Range(*scales.image)), seen)


def _check_threshold(
    scales: Scales, node: NodeProto, verb: str, threshold: float, seen: Observation, tensor: str
) -> None:
    largest = seen.largest(tensor)
    if largest is None or max(float(largest.max()), threshold) < _NOISE:
        return
    least = float(largest.min()) * _LEAST_OF_SMALLEST
    if scales.method is Method.PTQ and scales.algorithm == Algorithm.ABS_MAX.value:
        least = float(largest.max()) * _LEAST_OF_LARGEST
    most = max(float(largest.max()), _NOISE) * _MOST
    if not least <= threshold <= most:
        raise CompressionError(
            f"{node.op_type} {node.name or node.output[0]}: its learnt range is +-{threshold:.4g}, but what it {verb} "
            f"reaches {largest.max():.4g} on the calibration images. INT8 would be wrong, so nothing was built. This "
            "is a bug of qtriton; --precision fp32 works."
        )


def _check_bounds(bounds: Bounds, seen: Observation) -> None:
    for tensor, extremes in seen.extremes.items():
        possible = bounds.of(tensor)
        low, high = float(extremes[:, 0].min()), float(extremes[:, 1].max())
        slack = _ROUNDING * max(abs(low), abs(high), _NOISE)
        if np.isfinite([low, high]).all() and (low < possible.low - slack or high > possible.high + slack):
            raise CompressionError(
                f"{tensor}: its values cannot leave {possible.low:.4g} to {possible.high:.4g} by its operation, but "
                f"they reach from {low:.4g} to {high:.4g}. This is a bug of qtriton; --precision fp32 works."
            )
