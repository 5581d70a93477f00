"""Which TensorRT engines of a repository a server could not load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qtriton.backends.tensorrt import PLAN
from qtriton.backends.tensorrt.recipe import FACTS, FILE, EngineRecipe, PlanFacts
from qtriton.repository.check.model import Model
from qtriton.repository.check.rules import Finding, Rule, error
from qtriton.repository.engines import has_recipe, is_of
from qtriton.workspace import sha256_file

_BUILD: Final = "Run `qtriton engines build` on the GPU that serves it"
RECIPE: Final = error("engine-recipe", "is not the recipe of an engine ({reason})", "Publish the model again")
PLAN_FACTS: Final = error("engine-facts", "cannot be read ({reason})", _BUILD)
OTHER: Final = error("engine-other", "does not fit {what} beside it", _BUILD)
TENSORRT: Final = error(
    "engine-tensorrt", "was built by TensorRT {built}, the server has {server}: it refuses it", _BUILD
)
GPU: Final = error("engine-gpu", "was built on {built}, the server has {server}: it may refuse it or be slow", _BUILD)
ENGINE_RULES: Final[tuple[Rule, ...]] = (RECIPE, PLAN_FACTS, OTHER, TENSORRT, GPU)


@dataclass(frozen=True)
class GpuServer:
    """The server that is to load the plans; "" where it is unknown."""

    tensorrt: str = ""
    gpu: str = ""


def engine_problems(model: Model, server: GpuServer) -> Iterator[Finding]:
    """Why a server would not load the plans of a model, or why they do not fit the files beside them."""
    for version in model.served if model.kind == "tensorrt" else ():
        folder = model.folder / str(version)
        yield from (replace(each, where=f"{version}/{each.where}") for each in _problems(folder, server))


def _problems(folder: Path, server: GpuServer) -> Iterator[Finding]:
    if has_recipe(folder):
        try:
            EngineRecipe.load(folder)
        except ValueError as problem:
            yield RECIPE.found(where=FILE, reason=str(problem).splitlines()[0])
            return
    if not (folder / PLAN).is_file() or not (folder / FACTS).exists():
        return  # the user's own plan has no facts
    try:
        facts = PlanFacts.load(folder)
    except (OSError, ValueError) as problem:
        yield PLAN_FACTS.found(where=FACTS, reason=str(problem).splitlines()[0])
        return
    if sha256_file(folder / PLAN) != facts.plan_sha256:
        yield OTHER.found(where=PLAN, what=FACTS)
    if has_recipe(folder) and not is_of(facts, folder):
        yield OTHER.found(where=PLAN, what="the model and recipe")
    if server.tensorrt and not facts.tensorrt.startswith(f"{server.tensorrt}."[: len(facts.tensorrt)]):
        yield TENSORRT.found(where=PLAN, built=facts.tensorrt, server=server.tensorrt)
    if server.gpu and server.gpu != facts.gpu:
        yield GPU.found(where=PLAN, built=facts.gpu, server=server.gpu)
