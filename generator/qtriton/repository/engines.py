"""TensorRT engines in a repository: which wait to be built, and which a server could not load."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.backends.tensorrt import PLAN, TYPED
from qtriton.backends.tensorrt.recipe import FACTS, FILE, EngineRecipe, PlanFacts
from qtriton.errors import InputError
from qtriton.repository.check.model import Finding, Model
from qtriton.workspace import sha256_file

#: What is built on the machine that serves it, and may be built again there: no part of what was published.
ENGINE_FILES: Final = (PLAN, FACTS)
_BUILD: Final = "Run `qtriton engines build` on the GPU that serves it."


@dataclass(frozen=True)
class GpuServer:
    """What is known of the server that is to load the plans; "" where nothing is."""

    tensorrt: str = ""
    gpu: str = ""


def engine_folders(repository: Path) -> tuple[Path, ...]:
    """The version folders that have the recipe of an engine, by name.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    if not repository.is_dir():
        raise InputError(f"{repository}: no such folder. Name the model repository.")
    if not os.access(repository, os.R_OK | os.X_OK):
        raise InputError(f"{repository}: Permission denied. User {os.getuid()} needs the right to it.")
    return tuple(sorted(path.parent for path in repository.glob(f"*/[1-9]*/{FILE}")))


def has_recipe(folder: Path) -> bool:
    """Whether a version folder holds what an engine is built from."""
    return (folder / FILE).is_file()


def is_pending(folder: Path) -> bool:
    """Whether an engine has still to be built in a version folder."""
    return has_recipe(folder) and not (folder / PLAN).exists()


def pending(repository: Path) -> tuple[str, ...]:
    """The models whose engines have still to be built."""
    return tuple(folder.parent.name for folder in engine_folders(repository) if is_pending(folder))


def engine_problems(model: Model, server: GpuServer) -> Iterator[Finding]:
    """Why a server would not load the plans of a model, or why they are not of what lies beside them."""
    for version in model.served if model.kind == "tensorrt" else ():
        folder = model.folder / str(version)
        yield from ((f"{version}/{where}", sentence) for where, sentence in _problems(folder, server))


def _problems(folder: Path, server: GpuServer) -> Iterator[Finding]:
    if has_recipe(folder):
        try:
            EngineRecipe.load(folder)
        except ValueError as error:
            yield FILE, f"is no recipe of an engine ({str(error).splitlines()[0]}). Publish the model again."
            return
    if not (folder / PLAN).is_file() or not (folder / FACTS).exists():
        return  # a plan of the user's own says nothing of itself
    try:
        facts = PlanFacts.load(folder)
    except (OSError, ValueError) as error:
        yield FACTS, f"cannot be read ({str(error).splitlines()[0]}). {_BUILD}"
        return
    if sha256_file(folder / PLAN) != facts.plan_sha256:
        yield PLAN, f"is not the plan that {FACTS} tells of. {_BUILD}"
    if has_recipe(folder) and not is_of(facts, folder):
        yield PLAN, f"was built from another model or recipe than lie beside it. {_BUILD}"
    if server.tensorrt and not facts.tensorrt.startswith(f"{server.tensorrt}."[: len(facts.tensorrt)]):
        yield PLAN, f"was built by TensorRT {facts.tensorrt}, the server has {server.tensorrt}: it refuses it. {_BUILD}"
    if server.gpu and server.gpu != facts.gpu:
        yield PLAN, f"was built on {facts.gpu}, the server has {server.gpu}: it may refuse it or be slow. {_BUILD}"


def is_of(facts: PlanFacts, folder: Path) -> bool:
    """Whether a plan was built from what lies in its folder."""
    sources = {sha256_file(path) for path in folder.glob(f"{Path(TYPED).stem}*.onnx")}
    return facts.onnx_sha256 in sources and facts.recipe_sha256 == sha256_file(folder / FILE)
