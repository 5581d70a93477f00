"""Build the TensorRT engines of a repository on the GPU of this machine; what was built before is reused."""

from __future__ import annotations

import importlib
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from qtriton import console, machine
from qtriton.atomic import write_atomically
from qtriton.backends.tensorrt import PLAN
from qtriton.backends.tensorrt.builder import WAYS_OUT, Plan, build_plan, source_of
from qtriton.backends.tensorrt.recipe import FACTS, FILE, EngineRecipe, PlanFacts
from qtriton.errors import CompressionError, QtritonError, RepositoryError, SetupError
from qtriton.repository.engines import engine_folders, is_of
from qtriton.workspace import Workspace, sha256_file, sha256_json

#: The first with execute_async_v3 and named tensors as the engine uses them.
OLDEST: Final = (8, 5)


@dataclass(frozen=True)
class EngineBuild:
    """An engine in the repository, and whether this run put it there."""

    model: str
    facts: PlanFacts
    changed: bool


def build_engines(repository: Path, workspace: Workspace, force: bool = False) -> Iterator[EngineBuild]:
    """Build what is pending, or was built elsewhere or from something else; one at a time, as they are asked for.

    Raises:
        InputError: there is no such folder, or it cannot be read.
        SetupError: no TensorRT, too old a one, or no GPU.
        RepositoryError: a recipe cannot be read.
        CompressionError: TensorRT cannot build an engine.
    """
    folders = engine_folders(repository)
    if not folders:
        return
    place = _Place.here()
    for folder in folders:
        yield _build(folder, place, workspace, force)


def engine_of(folder: Path, label: str, workspace: Workspace) -> Path:
    """The folder with the plan of an artifact on this machine, and its facts; from the cache where it is there.

    Args:
        folder: has the ONNX and the recipe.
        label: what a person is told that it belongs to.
        workspace: the cache.

    Raises:
        SetupError: no TensorRT, too old a one, or no GPU.
        CompressionError: TensorRT cannot build the engine.
    """
    return _made(folder, label, _Place.here(), workspace)


def tensorrt() -> Any:
    """The module tensorrt.

    Raises:
        SetupError: it is not installed, cannot be loaded, or is too old.
    """
    cure = "On the machine with the GPU: pip install 'qtriton[tensorrt]', or run this in Triton's image."
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise SetupError(f"TensorRT is not installed here ({error}). {cure}") from error
    version = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if version < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise SetupError(f"TensorRT {trt.__version__} is too old, {least} is the oldest that works. {cure}")
    return trt


def gpu_here() -> machine.Gpu:
    """The GPU of this machine.

    Raises:
        SetupError: there is none.
    """
    found = machine.gpu()
    if found is None:
        raise SetupError(
            "There is no NVIDIA GPU here (nvidia-smi tells none), and an engine is built on the GPU that runs it. "
            "Copy the repository there and run the same command; docker run needs --gpus all."
        )
    return found


@dataclass(frozen=True)
class _Place:
    """Where an engine is built, and so where it loads."""

    trt: Any
    gpu: machine.Gpu

    @classmethod
    def here(cls) -> _Place:
        """This machine; raises SetupError where it has no TensorRT or no GPU."""
        return cls(tensorrt(), gpu_here())

    @property
    def key(self) -> tuple[str, str, str]:
        """What an engine must have in common with the machine that loads it."""
        return self.trt.__version__, self.gpu.name, self.gpu.compute_capability


def _build(folder: Path, place: _Place, workspace: Workspace, force: bool) -> EngineBuild:
    model = folder.parent.name
    if not force and (facts := _standing(folder, place.key)) is not None:
        return EngineBuild(model, facts, False)
    made = _made(folder, model, place, workspace)
    # In this order, a run that is ended between the two leaves facts that are not of this plan, and it is built again.
    for name in (PLAN, FACTS):
        write_atomically(folder / name, (made / name).read_bytes())
    return EngineBuild(model, PlanFacts.load(folder), True)


def _made(folder: Path, label: str, place: _Place, workspace: Workspace) -> Path:
    try:
        recipe = EngineRecipe.load(folder)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RepositoryError(f"{folder / FILE}: cannot be read ({reason}). Publish the model again.") from error
    source, recipe_sha256 = sha256_file(folder / source_of(place.trt, recipe)), sha256_file(folder / FILE)
    timings = workspace.folder("timings") / f"{sha256_json(place.key)[:24]}.bin"

    def produce(out: Path) -> None:
        with console.progress(f"{label}: TensorRT engine"):
            plan = apart(folder, recipe, timings.read_bytes() if timings.is_file() else b"")
        (out / PLAN).write_bytes(plan.data)
        PlanFacts(
            tensorrt=place.trt.__version__,
            gpu=place.gpu.name,
            compute_capability=place.gpu.compute_capability,
            driver=place.gpu.driver,
            onnx_sha256=source,
            recipe_sha256=recipe_sha256,
            plan_sha256=sha256_file(out / PLAN),
            seconds=round(plan.seconds, 1),
        ).save(out)
        write_atomically(timings, plan.timings)

    return workspace.stage("engine", sha256_json([source, recipe_sha256, place.key]), produce)


def apart(folder: Path, recipe: EngineRecipe, timings: bytes) -> Plan:
    """`build_plan` in a process of its own: TensorRT hears no Ctrl-C for minutes, and may crash.

    Raises:
        CompressionError: TensorRT cannot build the engine, or has crashed.
        SetupError: it does not start here.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, folder, recipe, timings), daemon=True)
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        process.join()
        raise CompressionError(
            f"{folder}: TensorRT crashed while it built the engine (exit status {process.exitcode}). {WAYS_OUT}"
        ) from None
    finally:
        ours.close()
        process.kill()
        process.join()
    if isinstance(answer, Exception):
        raise answer
    assert isinstance(answer, Plan)
    return answer


def _serve(pipe: Connection, folder: Path, recipe: EngineRecipe, timings: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent too, which ends this process
    try:
        pipe.send(build_plan(tensorrt(), folder, recipe, timings))
    except QtritonError as error:
        pipe.send(error)


def _standing(folder: Path, place: tuple[str, str, str]) -> PlanFacts | None:
    """The facts of the plan that is there, if it is what would be built."""
    try:
        facts = PlanFacts.load(folder)
        same = sha256_file(folder / PLAN) == facts.plan_sha256
    except (OSError, ValueError):
        return None
    stands = same and is_of(facts, folder) and place == (facts.tensorrt, facts.gpu, facts.compute_capability)
    return facts if stands else None
