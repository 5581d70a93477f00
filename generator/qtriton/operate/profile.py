"""Run the published variants of a model on this machine, layer by layer."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qtriton import machine
from qtriton.backends import backend_for
from qtriton.backends.base import Backend
from qtriton.backends.runner import LayerTiming, running
from qtriton.backends.tensorrt.recipe import PlanFacts
from qtriton.builder.engine import load_tensorrt, require_gpu
from qtriton.builder.timing import random_feed
from qtriton.errors import QtritonError, RepositoryError, UnsupportedError
from qtriton.progress import Reporter
from qtriton.repository.engines import is_pending
from qtriton.repository.manifest import Manifest
from qtriton.repository.naming import runtime_of
from qtriton.repository.read import Repository
from qtriton.target import Target

REPEATS: Final = 50
_INT8: Final = "INT8"


@dataclass(frozen=True)
class VariantProfile:
    """A variant that was run layer by layer."""

    ensemble: str
    #: The processor and what belongs to it, such as threads.
    where: str
    #: Runs of each layer.
    repeats: int
    layers: tuple[LayerTiming, ...]

    @property
    def total_ms(self) -> float:
        """The sum of what the layers took."""
        return sum(map(milliseconds, self.layers))

    @property
    def integer_percent(self) -> float:
        """How much of that was computed in 8-bit integers."""
        return self.percent(sum(milliseconds(each) for each in self.layers if each.datatype == _INT8))

    def percent(self, part_ms: float) -> float:
        """A part of the total."""
        return 100 * part_ms / self.total_ms if self.total_ms else 0.0


def milliseconds(layer: LayerTiming) -> float:
    """The median."""
    return statistics.median(layer.times_ns) / 1e6


def profile_layers(
    repository: Repository, manifests: Mapping[str, Manifest], reporter: Reporter
) -> tuple[tuple[VariantProfile, ...], Mapping[str, QtritonError]]:
    """What the layers of each variant took, and why others cannot be run here.

    Raises:
        QtritonError: none of them can; the first reason.
    """
    profiles, refused = [], {}
    for ensemble, manifest in manifests.items():
        try:
            profiles.append(_profile(repository, ensemble, manifest, reporter))
        except QtritonError as error:
            refused[ensemble] = error
    if not profiles:
        raise next(iter(refused.values()))
    return tuple(profiles), refused


def _profile(repository: Repository, ensemble: str, manifest: Manifest, reporter: Reporter) -> VariantProfile:
    target = Target(manifest.backend, manifest.precision, manifest.threads)
    backend = backend_for(target)
    folder = repository.version(runtime_of(ensemble))
    if backend.gpu is None:
        file, where = _artifact(backend, target, folder), _cpu(target)
    elif backend.gpu.plan:
        file, where = folder / backend.gpu.plan, _gpu(repository.path, folder)
    else:
        raise UnsupportedError(
            f"{backend.title} tells of what TensorRT runs as one layer. --backend tensorrt tells of each."
        )
    target = replace(target, device=where if backend.gpu else "")
    with reporter.progress(f"{ensemble}: layers"), running(target, file) as run:
        return VariantProfile(ensemble, where, REPEATS, run.layers(random_feed(run), REPEATS))


def _artifact(backend: Backend, target: Target, folder: Path) -> Path:
    for name in backend.files(target):
        if not (folder / name).is_file():
            raise RepositoryError(f"{folder / name}: is missing. Publish the model again with `qtriton build`.")
    return folder / backend.files(target)[0]


def _cpu(target: Target) -> str:
    return f"{machine.cpu().model}, {target.threads} thread{'s' * (target.threads > 1)}"


def _gpu(repository: Path, folder: Path) -> str:
    """The place that a plan was built for, where that is here."""
    build = f"Run `qtriton engines build {repository}` on the GPU that serves it."
    if is_pending(folder):
        raise RepositoryError(f"{folder}: its engine is pending. {build}")
    trt, here = load_tensorrt(), require_gpu()
    try:
        facts = PlanFacts.load(folder)
    except (OSError, ValueError) as error:
        raise RepositoryError(f"{folder}: nothing tells where its engine was built ({error}). {build}") from error
    if (facts.tensorrt, facts.gpu) != (trt.__version__, here.name):
        raise RepositoryError(
            f"{folder}: its engine was built by TensorRT {facts.tensorrt} on {facts.gpu}, here are "
            f"TensorRT {trt.__version__} and {here.name}. Run `qtriton engines build {repository}` here."
        )
    return f"{here.name}, TensorRT {trt.__version__}"
