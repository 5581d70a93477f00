"""ONNX Runtime with TensorRT as its execution provider: Triton's execution accelerator "tensorrt"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from qtriton.backends import onnxruntime, tensorrt
from qtriton.backends.base import ArtifactSources, CpuFallback, GpuRuntime, Serving
from qtriton.backends.tensorrt.typed import write_flagged, write_typed
from qtriton.target import Precision, Target

#: Where the server keeps its engines; a container that mounts a volume there builds them once.
CACHE: Final = "/tmp/qtriton/onnxruntime-tensorrt"
_FILES: Final = ("model.onnx",)


@dataclass(frozen=True)
class OnnxRuntimeTensorRt:
    """The artifacts are TensorRT's typed ONNX files; ONNX Runtime builds the engine when the server loads the model.

    INT8+FP16 does not exist: Triton's accelerator takes one precision_mode.
    """

    triton: str = "onnxruntime"
    title: str = "ONNX Runtime with TensorRT"
    precisions: frozenset[Precision] = frozenset({Precision.FP32, Precision.FP16, Precision.INT8})
    packages: tuple[str, ...] = ("onnxruntime-gpu",)
    engine: Path = onnxruntime.ENGINE
    #: Not measured, so nothing moves.
    moves: None = None

    @property
    def gpu(self) -> GpuRuntime:
        """The build of ONNX Runtime that carries the provider."""

        return GpuRuntime(self.packages, lambda target: CpuFallback("ONNX Runtime on the CPU", tensorrt.CPU_FALLBACK))

    def files(self, target: Target) -> tuple[str, ...]:
        """One ONNX file."""
        del target
        return _FILES

    def serving(self, target: Target) -> Serving:
        """Triton's platform onnxruntime_onnx with the accelerator, whose engines are kept."""

        mode = {Precision.FP16: "FP16", Precision.INT8: "INT8"}.get(target.precision, "FP32")
        parameters = (("precision_mode", mode), ("trt_engine_cache_enable", "true"), ("trt_engine_cache_path", CACHE))
        return Serving(
            platform="onnxruntime_onnx",
            accelerator="tensorrt",
            accelerator_parameters=parameters,
            gpu=True,
            pinned_memory=target.pinned,
        )

    def emit(self, sources: ArtifactSources, target: Target, out: Path) -> Mapping[str, str]:
        """Write model.onnx."""

        if not target.precision.half:
            return write_flagged(sources, target.precision, out / _FILES[0])
        with TemporaryDirectory(dir=out) as work:
            flagged = Path(work) / "flagged.onnx"
            float_reasons = write_flagged(sources, target.precision, flagged)
            return {**float_reasons, **write_typed(sources, flagged, out / _FILES[0])}
