"""ONNX Runtime on a CPU: Triton's own onnxruntime backend in docker, ours in the embedded server."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.backends.base import ArtifactSources, Moves, Serving
from qtriton.compress.scales import Scales
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import emit
from qtriton.target import Precision, Target

ENGINE: Final = Path(__file__).with_name("engine.py")
_FILES: Final = ("model.onnx",)
#: What a selection of rows takes in the graph, it saves where it keeps so many bytes from being copied twice.
MOVES: Final = Moves(least_saving=3 << 20, as_quantized=True, free_rows=True)


@dataclass(frozen=True)
class OnnxRuntime:
    """FP32 is the original model; INT8 is the same graph with Q/DQ where ONNX Runtime fuses it."""

    triton: str = "onnxruntime"
    title: str = "ONNX Runtime"
    precisions: frozenset[Precision] = frozenset({Precision.FP32, Precision.INT8})
    packages: tuple[str, ...] = ("onnxruntime",)
    engine: Path = ENGINE
    gpu: None = None
    moves: Moves = MOVES

    def files(self, target: Target) -> tuple[str, ...]:
        """One ONNX file."""
        del target
        return _FILES

    def serving(self, target: Target) -> Serving:
        """Triton's platform onnxruntime_onnx, with the threads of one instance."""

        threads = (("intra_op_thread_count", str(target.threads)), ("inter_op_thread_count", "1"))
        return Serving(platform="onnxruntime_onnx", parameters=threads)

    def emit(self, sources: ArtifactSources, target: Target, out: Path) -> Mapping[str, str]:
        """Write model.onnx."""
        if target.precision is Precision.FP32:
            shutil.copyfile(sources.export_onnx(), out / _FILES[0])
            return {}

        policy = Policy(float_layers=sources.float_layers, pixels=sources.pixels())
        report = emit(sources.export_onnx(), Scales.load(sources.learn_scales()), target, out / _FILES[0], policy)
        return report.float_reasons
