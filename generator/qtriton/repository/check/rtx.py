"""What a current TensorRT makes of the typed ONNX files of a repository, on any machine: TensorRT-RTX needs no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton import isolated
from qtriton.backends.tensorrt import TYPED
from qtriton.backends.tensorrt.builder import WAYS_OUT
from qtriton.backends.tensorrt.recipe import EngineRecipe
from qtriton.backends.tensorrt.rtx import RtxEngine, build_rtx, require_rtx
from qtriton.errors import CompressionError
from qtriton.progress import Reporter
from qtriton.repository.check.rules import Problem, Rule, error
from qtriton.repository.engines import engine_folders

#: With --tensorrt-rtx alone: TensorRT's own words, which say what to do.
REFUSED: Final = error("tensorrt-rtx", "has no engine by TensorRT-RTX: {reason}", "")
RTX_RULES: Final[tuple[Rule, ...]] = (REFUSED,)


@dataclass(frozen=True)
class RtxResult:
    """A model with the engine that TensorRT-RTX has built of it, or with the problem in its words."""

    model: str
    engine: RtxEngine | None
    problem: Problem | None = None

    def as_json(self) -> dict[str, Any]:
        """Counts; the kernels that only convert or move; beside integers, the nodes that multiply in floating point."""
        if self.engine is None:
            return {"model": self.model, "built": False}
        engine = self.engine
        multiplications = engine.multiplications
        floats = [kernel for kernel in engine.kernels if kernel.multiplies and kernel.datatype != "INT8"]
        return {
            "model": self.model,
            "built": True,
            "tensorrt_rtx": engine.tensorrt_rtx,
            "compute_capability": engine.compute_capability,
            "seconds": engine.seconds,
            "layers": engine.layers,
            "kernels": len(engine.kernels),
            "multiplications": multiplications,
            "float_multiplications": [kernel.nodes for kernel in floats] if "INT8" in multiplications else [],
            "moves": [
                {"kernel": kernel.name, "outputs": kernel.outputs, "nodes": kernel.nodes}
                for kernel in engine.kernels
                if kernel.moves
            ],
            "unfused": engine.unfused,
            "warnings": engine.warnings,
        }


def build_with_rtx(repository: Path, reporter: Reporter) -> Iterator[RtxResult]:
    """Build the engine of each typed ONNX, each in a process of its own; one at a time, as they are asked for.

    What has no recipe that can be read is passed over: `check` tells of it.

    Raises:
        InputError: there is no such folder, or it cannot be read.
        SetupError: TensorRT-RTX is not installed, or cannot be loaded.
    """
    require_rtx()
    for folder in engine_folders(repository):
        try:
            recipe = EngineRecipe.load(folder)
        except (OSError, ValueError):
            continue
        with reporter.progress(f"{folder.parent.name}: TensorRT-RTX"):
            yield _build(folder, recipe)


def _build(folder: Path, recipe: EngineRecipe) -> RtxResult:
    model, path = folder.parent.name, folder.absolute() / TYPED
    try:
        return RtxResult(model, isolated.run(build_rtx, path.parent, recipe))
    except CompressionError as error:
        sentence = str(error).removeprefix(f"{path}: ")
    except isolated.CrashError as error:
        sentence = f"TensorRT-RTX crashed while it built the engine: it {error}. {WAYS_OUT}"
    except isolated.RemoteError as error:
        sentence = f"TensorRT-RTX built no engine ({error}). {WAYS_OUT}"
    return RtxResult(model, None, Problem.of(model, REFUSED.found(where=f"{folder.name}/{TYPED}", reason=sentence)))
