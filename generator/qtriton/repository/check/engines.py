"""Which TensorRT engines of a repository a server could not load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.backends.tensorrt import PLAN
from qtriton.backends.tensorrt.recipe import FACTS, FILE, EngineRecipe, PlanFacts
from qtriton.repository.check.model import Finding, Model
from qtriton.repository.engines import has_recipe, is_of
from qtriton.workspace import sha256_file

_BUILD: Final = "Run `qtriton engines build` on the GPU that serves it."


@dataclass(frozen=True)
class GpuServer:
    """The server that is to load the plans; "" where it is unknown."""

    tensorrt: str = ""
    gpu: str = ""


def engine_problems(model: Model, server: GpuServer) -> Iterator[Finding]:
    """Why a server would not load the plans of a model, or why they do not fit the files beside them."""
    for version in model.served if model.kind == "tensorrt" else ():
        folder = model.folder / str(version)
        yield from ((f"{version}/{where}", sentence) for where, sentence in _problems(folder, server))


def _problems(folder: Path, server: GpuServer) -> Iterator[Finding]:
    if has_recipe(folder):
        try:
            EngineRecipe.load(folder)
        except ValueError as error:
            yield FILE, f"is not the recipe of an engine ({str(error).splitlines()[0]}). Publish the model again."
            return
    if not (folder / PLAN).is_file() or not (folder / FACTS).exists():
        return  # the user's own plan has no facts
    try:
        facts = PlanFacts.load(folder)
    except (OSError, ValueError) as error:
        yield FACTS, f"cannot be read ({str(error).splitlines()[0]}). {_BUILD}"
        return
    if sha256_file(folder / PLAN) != facts.plan_sha256:
        yield PLAN, f"is not the plan that {FACTS} describes. {_BUILD}"
    if has_recipe(folder) and not is_of(facts, folder):
        yield PLAN, f"was built from another model or recipe than those beside it. {_BUILD}"
    if server.tensorrt and not facts.tensorrt.startswith(f"{server.tensorrt}."[: len(facts.tensorrt)]):
        yield PLAN, f"was built by TensorRT {facts.tensorrt}, the server has {server.tensorrt}: it refuses it. {_BUILD}"
    if server.gpu and server.gpu != facts.gpu:
        yield PLAN, f"was built on {facts.gpu}, the server has {server.gpu}: it may refuse it or be slow. {_BUILD}"
