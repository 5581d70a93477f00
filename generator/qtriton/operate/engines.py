"""Build the TensorRT engines of a repository on the GPU of this machine; what was built before is reused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qtriton.atomic import write_atomically
from qtriton.backends.tensorrt import PLAN
from qtriton.backends.tensorrt.recipe import FACTS, PlanFacts
from qtriton.builder.engine import BuildHost, build_engine
from qtriton.progress import Reporter
from qtriton.repository.engines import engine_folders, is_of
from qtriton.workspace import Workspace, sha256_file


@dataclass(frozen=True)
class EngineBuild:
    """An engine in the repository, and whether this run put it there."""

    model: str
    facts: PlanFacts
    changed: bool


def build_engines(
    repository: Path, workspace: Workspace, reporter: Reporter, force: bool = False
) -> Iterator[EngineBuild]:
    """Build what is pending, or was built elsewhere or from something else; one at a time, as they are asked for.

    Raises:
        InputError: there is no such folder, or it cannot be read.
        SetupError: no TensorRT, too old a one, or no GPU.
        RepositoryError: a recipe cannot be read.
        CompressionError: TensorRT cannot build an engine.
    """
    folders = engine_folders(repository)
    host = BuildHost.here() if folders else None
    for folder in folders:
        assert host is not None
        facts = None if force else _current_facts(folder, host.key)
        yield EngineBuild(folder.parent.name, facts or _install(folder, workspace, reporter, host), facts is None)


def _install(folder: Path, workspace: Workspace, reporter: Reporter, host: BuildHost) -> PlanFacts:
    built = build_engine(folder, folder.parent.name, workspace, reporter, host)
    # In this order, a run that is ended between the two leaves facts that are not of this plan, and it is built again.
    for name in (PLAN, FACTS):
        write_atomically(folder / name, (built / name).read_bytes())
    return PlanFacts.load(folder)


def _current_facts(folder: Path, host: tuple[str, str, str]) -> PlanFacts | None:
    """The facts of the plan that is there, if it is what would be built."""
    try:
        facts = PlanFacts.load(folder)
        same = sha256_file(folder / PLAN) == facts.plan_sha256
    except (OSError, ValueError):
        return None
    current = same and is_of(facts, folder) and host == (facts.tensorrt, facts.gpu, facts.compute_capability)
    return facts if current else None
