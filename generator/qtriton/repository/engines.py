"""TensorRT engines in a repository: which are pending, and which a server could not load."""

from __future__ import annotations

from pathlib import Path

from qtriton.backends.tensorrt import PLAN, TYPED
from qtriton.backends.tensorrt.recipe import FILE, PlanFacts
from qtriton.repository.read import Repository
from qtriton.workspace import sha256_file


def engine_folders(repository: Path) -> tuple[Path, ...]:
    """The version folders that have the recipe of an engine, by name.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    return tuple(sorted(path.parent for path in Repository.open(repository).path.glob(f"*/[1-9]*/{FILE}")))


def has_recipe(folder: Path) -> bool:
    """Whether a version folder holds what an engine is built from."""
    return (folder / FILE).is_file()


def is_pending(folder: Path) -> bool:
    """Whether an engine has still to be built in a version folder."""
    return has_recipe(folder) and not (folder / PLAN).exists()


def pending(repository: Path) -> tuple[str, ...]:
    """The models whose engines have still to be built."""
    return tuple(folder.parent.name for folder in engine_folders(repository) if is_pending(folder))


def is_of(facts: PlanFacts, folder: Path) -> bool:
    """Whether a plan was built from what lies in its folder."""
    sources = {sha256_file(path) for path in folder.glob(f"{Path(TYPED).stem}*.onnx")}
    return facts.onnx_sha256 in sources and facts.recipe_sha256 == sha256_file(folder / FILE)
