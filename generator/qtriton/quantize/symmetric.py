"""Write ACT's learnt ranges into an FP32 ONNX graph as TensorRT needs them: symmetric s8, bias in floating point.

The rules are those of "Working with Quantized Types" in TensorRT's developer guide: scales without zero points, weights
per output channel as a Q/DQ pair on floats (which every version since 8.0 reads), a bias that TensorRT adds in its
accumulator, Q/DQ on what additions and concatenations join, and nothing behind a layer: its reader has the Q.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qtriton.compress.scales import Scales
from qtriton.quantize.bounds import Range
from qtriton.quantize.integers import signed_scale
from qtriton.quantize.match import Layer
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import EmitReport, Writer, write_quantized

if TYPE_CHECKING:
    from onnx import NodeProto

_LIMIT: Final = 127
_TINY: Final = 1e-8


def emit_symmetric(fp32: Path, scales: Scales, out: Path, float_layers: frozenset[str] = frozenset()) -> EmitReport:
    """Write the INT8 model of `fp32` to `out` for TensorRT; the same inputs give the same bytes.

    Args:
        fp32: an ONNX file.
        scales: what ACT learnt.
        out: the ONNX file to write.
        float_layers: layers, as the scales name them, that are kept in floating point.

    Raises:
        ModelError: the FP32 ONNX cannot be read.
        CompressionError: a layer has no counterpart in `scales`, or nothing can be quantized.
    """
    policy = Policy(image_layer=True, between=False, joins=True, float_layers=float_layers)
    return write_quantized(fp32, scales, out, policy, SymmetricWriter)


class SymmetricWriter(Writer):
    """Symmetric s8 activations and weights, a Q/DQ pair on both, and a bias in floating point."""

    def _affine(self, tensor: str, bounds: Range) -> tuple[np.float32, np.generic]:
        del tensor
        return signed_scale(bounds), np.int8(0)

    def _fold_weights(self, node: NodeProto, layer: Layer) -> None:
        base = layer.node.output[0]
        rows = np.moveaxis(layer.weight, layer.channel, 0)
        largest = np.abs(rows).reshape(len(rows), -1).max(axis=1)
        scales = (np.maximum(largest, _TINY) / _LIMIT).astype(np.float32)
        scale = self._constant(f"{base}_weight_scale", scales)
        zero = self._constant(f"{base}_weight_zero", np.zeros(len(scales), np.int8))
        weight = self._constant(f"{base}_weight_float", layer.weight)
        quantized, output = (self._names.fresh(f"{base}_{suffix}") for suffix in ("weight_q", "weight"))
        self._node("QuantizeLinear", [weight, scale, zero], quantized, axis=layer.channel)
        node.input[1] = self._node("DequantizeLinear", [quantized, scale, zero], output, axis=layer.channel)
