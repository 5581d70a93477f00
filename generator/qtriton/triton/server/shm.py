"""How much of /dev/shm the python backends of a server take."""

import os
from dataclasses import dataclass
from pathlib import Path

from qtriton.errors import EnvironmentProblem, RepositoryError
from qtriton.triton.render import parse_config

MIB = 2**20


@dataclass(frozen=True)
class ShmPlan:
    """Bytes of each stub's region at the start, and by how many it grows when tensors need more."""

    start: int
    growth: int


def plan(repository: Path, free: int) -> ShmPlan:
    """Raises EnvironmentProblem where the stubs of this repository could not even start."""
    stubs = sum(stubs_of(path.read_text(errors="replace")) for path in repository.glob("*/config.pbtxt"))
    # Large steps save remapping in the first requests; docker's default of 64 MiB asks for small ones.
    step = 16 * MIB if free >= 1024 * MIB else 1 * MIB
    needed = 2 * step * stubs
    if free < needed:
        raise EnvironmentProblem(
            f"/dev/shm has {free / MIB:.0f} MiB free, {stubs} model instances need {needed / MIB:.0f}: "
            "enlarge it (docker run --shm-size=1g; Kubernetes: an emptyDir with medium Memory on /dev/shm) "
            "or remove what fills it"
        )
    return ShmPlan(step, step)


def free_bytes(folder: str = "/dev/shm") -> int:
    try:
        found = os.statvfs(folder)
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: {error.strerror}; Triton's python backend needs it") from error
    return found.f_bavail * found.f_frsize


def stubs_of(config: str) -> int:
    """Instances that a config.pbtxt asks for: two on a CPU where it does not say how many."""
    try:
        model = parse_config(config, "")
    except RepositoryError:
        return 2  # Triton says why it does not load
    if model.platform == "ensemble" or model.HasField("ensemble_scheduling"):
        return 0
    return sum(group.count or 2 for group in model.instance_group) or 2
