"""Build the TensorRT engine of an artifact on the GPU of this machine; what was built before is reused."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton import isolated, machine
from qtriton.atomic import write_atomically
from qtriton.backends.tensorrt import PLAN
from qtriton.backends.tensorrt.builder import WAYS_OUT, Plan, build_plan, source_of
from qtriton.backends.tensorrt.recipe import FILE, EngineRecipe, PlanFacts
from qtriton.builder.cache_key import StageKey
from qtriton.errors import CompressionError, RepositoryError, SetupError
from qtriton.machine import Gpu
from qtriton.progress import Reporter
from qtriton.workspace import Workspace, sha256_file, sha256_json

#: The first with execute_async_v3 and named tensors as the engine uses them.
OLDEST: Final = (8, 5)


@dataclass(frozen=True)
class BuildHost:
    """Where an engine is built, and so where it loads."""

    trt: Any
    gpu: Gpu

    @classmethod
    def here(cls) -> BuildHost:
        """This machine.

        Raises:
            SetupError: no TensorRT, too old a one, or no GPU.
        """
        return cls(load_tensorrt(), require_gpu())

    @property
    def key(self) -> tuple[str, str, str]:
        """What an engine must have in common with the machine that loads it."""
        return self.trt.__version__, self.gpu.name, self.gpu.compute_capability


def build_engine(
    folder: Path, label: str, workspace: Workspace, reporter: Reporter, host: BuildHost | None = None
) -> Path:
    """The folder with the plan of an artifact on this machine, and its facts; from the cache where it is there.

    Args:
        folder: has the ONNX and the recipe.
        label: what a person is told that it belongs to.
        workspace: the cache.
        reporter: who is told.
        host: this machine, where it was asked for already.

    Raises:
        SetupError: no TensorRT, too old a one, or no GPU.
        RepositoryError: the recipe cannot be read.
        CompressionError: TensorRT cannot build the engine.
    """
    host = host or BuildHost.here()
    try:
        recipe = EngineRecipe.load(folder)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RepositoryError(f"{folder / FILE}: cannot be read ({reason}). Publish the model again.") from error
    source_sha256, recipe_sha256 = sha256_file(folder / source_of(host.trt, recipe)), sha256_file(folder / FILE)
    timings = workspace.folder("timings") / f"{sha256_json(host.key)[:24]}.bin"

    def produce(out: Path) -> None:
        with reporter.progress(f"{label}: TensorRT engine"):
            plan = build_isolated(folder, recipe, timings.read_bytes() if timings.is_file() else b"")
        (out / PLAN).write_bytes(plan.data)
        PlanFacts(
            tensorrt=host.trt.__version__,
            gpu=host.gpu.name,
            compute_capability=host.gpu.compute_capability,
            driver=host.gpu.driver,
            onnx_sha256=source_sha256,
            recipe_sha256=recipe_sha256,
            plan_sha256=sha256_file(out / PLAN),
            seconds=round(plan.seconds, 1),
        ).save(out)
        write_atomically(timings, plan.timings)

    key = StageKey("engine", (source_sha256, recipe_sha256, host.key), build_plan)
    return workspace.stage(key.name, key.digest, produce)


def build_isolated(folder: Path, recipe: EngineRecipe, timings: bytes) -> Plan:
    """`build_plan` in a process of its own: TensorRT hears no Ctrl-C for minutes, and may crash.

    Raises:
        CompressionError: TensorRT cannot build the engine, or has crashed.
        SetupError: it does not start here.
    """
    try:
        plan = isolated.run(_build, folder.absolute(), recipe, timings)
    except isolated.CrashError as error:
        words = f"{folder}: TensorRT crashed while it built the engine: it {error}. {WAYS_OUT}"
        raise CompressionError(words) from error
    except isolated.RemoteError as error:
        raise CompressionError(f"{folder}: TensorRT built no engine ({error}). {WAYS_OUT}") from error
    assert isinstance(plan, Plan)
    return plan


def _build(folder: Path, recipe: EngineRecipe, timings: bytes) -> Plan:
    return build_plan(load_tensorrt(), folder, recipe, timings)


def load_tensorrt() -> Any:
    """The module tensorrt.

    Raises:
        SetupError: it is not installed, cannot be loaded, or is too old.
    """
    fix = "On the machine with the GPU: pip install 'qtriton[tensorrt]', or run this in Triton's image."
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise SetupError(f"TensorRT is not installed here ({error}). {fix}") from error
    version = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise SetupError(f"TensorRT {trt.__version__} is too old, {oldest} is the oldest that works. {fix}")
    return trt


def require_gpu() -> Gpu:
    """The GPU of this machine.

    Raises:
        SetupError: there is none.
    """
    gpu = machine.gpu()
    if gpu is None:
        raise SetupError(
            "There is no NVIDIA GPU here (nvidia-smi lists none), and an engine is built on the GPU that runs it. "
            "Copy the repository there and run the same command; docker run needs --gpus all."
        )
    return gpu
