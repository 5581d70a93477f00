"""Writes the ONNX files that TensorRT builds from: one whose types say the precision, and one in FP32 for flags."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from qtriton.backends.base import ArtifactSources
from qtriton.compress.scales import Scales
from qtriton.quantize.fp16 import to_half
from qtriton.quantize.qdq import load_simplified
from qtriton.quantize.symmetric import emit_symmetric
from qtriton.target import Precision


def write_flagged(sources: ArtifactSources, precision: Precision, out: Path) -> Mapping[str, str]:
    """Write the model in FP32, with symmetric Q/DQ where it is quantized; returns the layers kept in floating point."""
    import onnx

    if precision.quantized:
        return emit_symmetric(
            sources.export_onnx(), Scales.load(sources.learn_scales()), out, sources.float_layers
        ).float_reasons
    if precision.half:
        onnx.save(load_simplified(sources.export_onnx()), str(out))
    else:
        shutil.copyfile(sources.export_onnx(), out)
    return {}


def write_typed(sources: ArtifactSources, flagged: Path, out: Path) -> Mapping[str, str]:
    """Write what `write_flagged` wrote, with FP16 for what is not quantized; returns the nodes kept in FP32."""
    import onnx

    overflowing = sources.find_overflowing()
    half_model = to_half(onnx.load(str(flagged)), overflowing)
    out.write_bytes(half_model.SerializeToString(deterministic=True))
    return dict.fromkeys(sorted(overflowing), "leaves the range of FP16, so it is kept in FP32")
