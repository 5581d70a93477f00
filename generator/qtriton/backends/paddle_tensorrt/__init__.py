"""Paddle Inference with TensorRT on an NVIDIA GPU, in the python-based backend of Paddle Inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.backends import paddle
from qtriton.backends.base import ArtifactSources, CpuFallback, GpuRuntime, Serving
from qtriton.target import Precision, Target

#: Where the server keeps its engines; a container that mounts a volume there builds them once.
CACHE: Final = "/tmp/qtriton/paddle-tensorrt"


@dataclass(frozen=True)
class PaddleTensorRt:
    """The artifacts are those of Paddle Inference; Paddle builds the engine when the server loads the model.

    INT8 alone does not exist: where Paddle lets TensorRT use INT8, it lets it use FP16, too.
    """

    triton: str = "paddle"
    title: str = "Paddle-TensorRT"
    precisions: frozenset[Precision] = frozenset({Precision.FP32, Precision.FP16, Precision.INT8_FP16})
    packages: tuple[str, ...] = ("paddlepaddle-gpu", *paddle.UNDECLARED_DEPENDENCIES)
    engine: Path = paddle.ENGINE
    moves: None = None

    @property
    def gpu(self) -> GpuRuntime:
        """The build of Paddle for GPUs; without it, the same model in oneDNN."""

        def cpu_fallback(target: Target) -> CpuFallback:
            return CpuFallback("Paddle Inference on the CPU", paddle.ENGINE, paddle.int8_parameters(target))

        return GpuRuntime(self.packages[:1], cpu_fallback)

    def files(self, target: Target) -> tuple[str, ...]:
        """A program and its weights."""
        del target
        return paddle.FILES

    def emit(self, sources: ArtifactSources, target: Target, out: Path) -> Mapping[str, str]:
        """Write model.pdmodel and model.pdiparams."""
        return paddle.write_paddle(sources, target, out)

    def serving(self, target: Target) -> Serving:
        """The backend paddle, with TensorRT in a precision."""

        mode = {Precision.FP16: "FP16", Precision.INT8_FP16: "INT8"}.get(target.precision, "FP32")
        parameters = (("tensorrt", mode), ("tensorrt_cache", CACHE))
        return Serving(backend="paddle", parameters=parameters, gpu=True, pinned_memory=target.pinned)
