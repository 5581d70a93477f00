"""TensorRT on an NVIDIA GPU: Triton's own tensorrt backend in docker, ours in the embedded server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.backends.base import ArtifactSources, CpuFallback, GpuRuntime, Moves, Serving
from qtriton.backends.tensorrt.recipe import FACTS, FILE, engine_recipe
from qtriton.backends.tensorrt.typed import write_flagged, write_typed
from qtriton.target import Precision, Target

ENGINE: Final = Path(__file__).with_name("engine.py")
CPU_FALLBACK: Final = Path(__file__).with_name("cpu_fallback.py")
#: The bindings are enough where the libraries of TensorRT are installed in another way, as in Triton's image.
PACKAGES: Final = (
    "tensorrt",
    *(f"tensorrt-{cuda}{part}" for part in ("", "-bindings") for cuda in ("cu13", "cu12", "cu11")),
    "tensorrt-bindings",
)
#: What the engine is built from where networks are strongly typed, and what runs in its place without a GPU.
TYPED: Final = "model.onnx"
#: The same in FP32, for TensorRT 8, which reads no FP16 Q/DQ and takes FP16 as a flag.
FLAGGED: Final = "model.fp32.onnx"
PLAN: Final = "model.plan"
#: A GPU selects rows in no time, and copies them over a bus.
MOVES: Final = Moves(least_saving=1 << 18, cast_first=True)
#: What is built on the machine that serves it, and may be built again there: not part of what is published.
ENGINE_FILES: Final = (PLAN, FACTS)


@dataclass(frozen=True)
class TensorRt:
    """The artifact is a typed ONNX and a recipe; an engine (a "plan") can only be built on the GPU that runs it.

    A precision is a model of its own, since strongly typed TensorRT (10 and 11) takes the types from the graph: INT8 is
    Q/DQ over FP32, INT8+FP16 is Q/DQ over FP16.
    """

    triton: str = "tensorrt"
    title: str = "TensorRT"
    precisions: frozenset[Precision] = frozenset(Precision)
    packages: tuple[str, ...] = ("tensorrt", "cuda-python")
    engine: Path = ENGINE
    moves: Moves = MOVES

    @property
    def gpu(self) -> GpuRuntime:
        """TensorRT's packages, under all the names that NVIDIA has given them."""

        return GpuRuntime(PACKAGES, lambda target: CpuFallback("ONNX Runtime", CPU_FALLBACK), PLAN)

    def files(self, target: Target) -> tuple[str, ...]:
        """The ONNX, the recipe of the engine, and where FP16 takes part the ONNX for TensorRT 8."""

        return (TYPED, FILE, *((FLAGGED,) if target.precision.half else ()))

    def serving(self, target: Target) -> Serving:
        """Triton's platform tensorrt_plan on a GPU."""

        return Serving(platform="tensorrt_plan", gpu=True, pinned_memory=target.pinned, cuda_graphs=target.cuda_graphs)

    def emit(self, sources: ArtifactSources, target: Target, out: Path) -> Mapping[str, str]:
        """Write the typed ONNX and the recipe of its engine."""

        level = target.optimization_level
        engine_recipe(sources.input_shapes(target), sources.max_batch(), target.precision, level).save(out)
        if not target.precision.half:
            return write_flagged(sources, target.precision, out / TYPED)
        float_reasons = write_flagged(sources, target.precision, out / FLAGGED)
        return {**float_reasons, **write_typed(sources, out / FLAGGED, out / TYPED)}
