"""What a repository needs of the machine that serves it: a GPU, time to build engines, one model at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qtriton import machine
from qtriton.errors import RepositoryError
from qtriton.repository.read import Repository

#: Until every model is loaded; and where TensorRT first builds the engines of some.
USUAL_S: Final = 120.0
BUILDING_S: Final = 1800.0


def require_gpu(repository: Path) -> None:
    """Raises RepositoryError where models need a GPU and this machine has none."""
    names = gpu_models(repository)
    if names and machine.gpu() is None:
        raise RepositoryError(
            f"{repository}: {', '.join(names)} run on an NVIDIA GPU, and there is none here (nvidia-smi lists none). "
            "Serve it on a machine that has one, or serve a repository without them."
        )


def gpu_models(repository: Path) -> tuple[str, ...]:
    """The models that run on a GPU."""
    return tuple(name for name, _ in _on_gpu(repository))


def startup_s(repository: Path) -> float:
    """How long its models may take to load; plans are built before the server starts, other engines by the server."""
    return BUILDING_S if any(kind != "tensorrt_plan" for _, kind in _on_gpu(repository)) else USUAL_S


def graph_models(repository: Path) -> tuple[str, ...]:
    """The models whose runs are captured as CUDA graphs when they are loaded."""
    configs = Repository(repository).configs()
    return tuple(name for name, config in configs if config is not None and config.optimization.cuda.graphs)


def _on_gpu(repository: Path) -> Iterator[tuple[str, str]]:
    """The models with instances on a GPU, and their platform or backend."""
    for name, config in Repository.open(repository).configs():
        if config is not None and any(group.Kind.Name(group.kind) == "KIND_GPU" for group in config.instance_group):
            yield name, config.platform or config.backend
