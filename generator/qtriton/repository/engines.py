"""TensorRT engines in a repository: which wait to be built, and which a server could not load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from qtriton.backends.tensorrt import PLAN, TYPED
from qtriton.backends.tensorrt.recipe import FACTS, FILE, PlanFacts
from qtriton.errors import InputError
from qtriton.workspace import sha256_file

#: What is built on the machine that serves it, and may be built again there: no part of what was published.
ENGINE_FILES: Final = (PLAN, FACTS)


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


def is_of(facts: PlanFacts, folder: Path) -> bool:
    """Whether a plan was built from what lies in its folder."""
    sources = {sha256_file(path) for path in folder.glob(f"{Path(TYPED).stem}*.onnx")}
    return facts.onnx_sha256 in sources and facts.recipe_sha256 == sha256_file(folder / FILE)
