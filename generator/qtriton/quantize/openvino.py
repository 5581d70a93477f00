"""Write learnt ranges into an FP32 ONNX graph as OpenVINO fuses them: Q/DQ before each layer and nothing behind it.

OpenVINO fuses what follows a convolution (SiLU, residual addition, requantisation) into it, unless a Q/DQ pair stands
between them: with ONNX Runtime's placement yolov5n takes 66 ms there, with this one 48, in FP32 70.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from qtriton.compress.scales import Scales
from qtriton.quantize.bounds import Range, passes_through
from qtriton.quantize.integers import signed_scale
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import EmitReport, Writer, write_quantized
from qtriton.target import Target


def emit_openvino(
    fp32: Path,
    scales: Scales,
    target: Target,
    out: Path,
    float_layers: frozenset[str] = frozenset(),
    pixels: tuple[float, float] | None = None,
) -> EmitReport:
    """Write the INT8 model of `fp32` to `out` for OpenVINO; see `emit` for what is raised.

    Args:
        fp32: an ONNX file.
        scales: what was learnt.
        target: the CPU that it is for.
        out: the ONNX file to write.
        float_layers: layers, as the scales name them, that are kept in floating point.
        pixels: see Policy.
    """
    policy = Policy(image_layer=True, between=False, float_layers=float_layers, pixels=pixels)
    return write_quantized(fp32, scales, out, policy, partial(OpenVinoWriter, vnni=target.vnni))


class OpenVinoWriter(Writer):
    """u8 activations, but symmetric s8 where a matrix product reads what a Concat joined.

    OpenVINO 2026.4 cannot compile a zero point there ("MatMulTransformation ... CALLBACK HAS THROWN"): it gives each
    row of the Concat one of its own, and every RT-DETR joins the levels of its memory so.
    """

    def _affine(self, tensor: str, bounds: Range) -> tuple[np.float32, np.generic]:
        scale, zero = super()._affine(tensor, bounds)
        if zero and self._is_joined(tensor) and self._is_read_by_product(tensor):
            return signed_scale(bounds), np.int8(0)
        return scale, zero

    def _is_joined(self, tensor: str) -> bool:
        node = self._view.producer.get(tensor)
        while node is not None and passes_through(node):
            node = self._view.producer.get(node.input[0])
        return node is not None and node.op_type == "Concat"

    def _is_read_by_product(self, tensor: str) -> bool:
        return any(node.op_type in ("MatMul", "Gemm") for node in self._view.readers(tensor))
