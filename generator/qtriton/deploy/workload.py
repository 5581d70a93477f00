"""What a repository asks of a pod that serves it: cores, memory, volumes, a GPU, and what there is to watch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.builder.choice import fastest
from qtriton.repository.engines import engine_folders
from qtriton.repository.manifest import Manifest, Speed
from qtriton.repository.naming import runtime_of
from qtriton.repository.read import Repository, count_instances
from qtriton.server import shm
from qtriton.server.requirements import gpu_models
from qtriton.server.shm import MIB

#: MiB of tritonserver, and of a process with Python, NumPy and OpenCV, or a runtime. The demo's have 45 and 75 resident
#: after 300 requests of one client; these are more than twice that.
_SERVER_MIB: Final = 128
_PROCESS_MIB: Final = 160
#: A runtime holds the weights it has read, and those that it has packed for its kernels.
_WEIGHT_COPIES: Final = 3
#: MiB in the host's memory for CUDA's context, TensorRT and Triton's pool of pinned memory (256). An estimate.
_GPU_MIB: Final = 3072
#: MiB of /tmp beside the engines: links to the repository, and what libraries write.
_TMP_MIB: Final = 256


@dataclass(frozen=True)
class Workload:
    """What follows from the configs, manifests and files of a repository."""

    #: What clients call: the models, the ensembles of them, and the steps of these, by name.
    models: tuple[str, ...]
    ensembles: tuple[str, ...]
    steps: tuple[str, ...]
    #: Every model of the repository that python runs or a runtime does: all of them are loaded.
    processes: int
    #: Cores that the steps of one variant of each model take when all of their instances work.
    cores: int
    memory_mib: int
    shm_mib: int
    tmp_mib: int
    #: The size of the repository, with room for the next one.
    models_mib: int
    gpu: bool
    #: The models whose engines TensorRT builds before the server starts.
    engines: tuple[str, ...]
    #: How long the slowest of the models computes, in microseconds; none where a model was not measured.
    computes_us: int | None

    @classmethod
    def of(cls, repository: Path, names: Iterable[str] = ()) -> Workload:
        """What a repository asks for.

        Args:
            repository: the folder.
            names: the models or ensembles that clients call; none means all.

        Raises:
            InputError: there is no such folder, or it has no such model.
            RepositoryError: qtriton built nothing in it, or another qtriton did.
        """
        opened = Repository.open(repository)
        ensembles = opened.ensembles(names)
        configs = dict(opened.configs())
        manifests = {name: opened.manifest(name) for name in ensembles}
        steps = {name: _steps(configs[name]) for name in ensembles}
        shared = shm.docker_bytes(repository) // MIB
        gpu = set(gpu_models(repository))
        cores = {name: _cores(name, steps[name], configs, manifests[name], gpu) for name in ensembles}
        models = sorted(set(ensembles.values()))
        variants = [[name for name, of in ensembles.items() if of == model] for model in models]
        engines = engine_folders(repository)
        return cls(
            models=tuple(models),
            ensembles=tuple(sorted(ensembles)),
            steps=tuple(sorted({step for each in steps.values() for step in each})),
            processes=_processes(configs.values()),
            # The variants of a model are alternatives: clients use one of them at a time.
            cores=sum(max(cores[name] for name in names) for names in variants),
            memory_mib=_memory_mib(opened, configs, shared, bool(gpu)),
            shm_mib=shared,
            # A plan has about the size of its ONNX; there is one in use, and one that is being written.
            tmp_mib=_TMP_MIB + 2 * sum(_mib(folder) for folder in engines),
            models_mib=_TMP_MIB + 2 * _mib(repository),
            gpu=bool(gpu),
            engines=tuple(folder.parent.name for folder in engines),
            computes_us=_slowest_us([fastest([manifests[name] for name in names]).speed for names in variants]),
        )


def _steps(config: Any) -> tuple[str, ...]:
    return tuple(step.model_name for step in config.ensemble_scheduling.step)


def _processes(configs: Iterable[Any]) -> int:
    return sum(count_instances(config) for config in configs if config is not None)


def _cores(ensemble: str, steps: tuple[str, ...], configs: dict[str, Any], manifest: Manifest, gpu: set[str]) -> int:
    """Instances times threads, over the steps; what feeds a GPU is a thread, too."""
    on_cpu = {runtime_of(ensemble)} - gpu
    return sum(count_instances(configs[step]) * (max(1, manifest.threads) if step in on_cpu else 1) for step in steps)


def _memory_mib(repository: Repository, configs: dict[str, Any], shared: int, gpu: bool) -> int:
    """Server, processes and weights, and the shared memory: what is in /dev/shm counts as the pod's memory.

    The tensors of a batch, which a region there has room for several times, are once more in the process that works on
    them.
    """
    weights = sum(
        count_instances(config) * _WEIGHT_COPIES * _mib(repository.version(name))
        for name, config in configs.items()
        if config is not None
    )
    tensors = shared + shared // shm.GROWTH_FACTOR
    mib = _SERVER_MIB + _PROCESS_MIB * _processes(configs.values()) + weights + tensors + _GPU_MIB * gpu
    return math.ceil(mib / 256) * 256


def _mib(folder: Path) -> int:
    """The size of a folder's files, rounded up."""
    return math.ceil(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MIB)


def _slowest_us(speeds: list[Speed | None]) -> int | None:
    """Of the variant of each model that is to be served, in whole milliseconds."""
    measured = [each for each in speeds if each is not None]
    return 1000 * math.ceil(max(each.compressed_ms for each in measured)) if len(measured) == len(speeds) else None
