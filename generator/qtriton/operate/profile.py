"""Run the published variants of a model on this machine, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from qtriton import console, machine
from qtriton.backends import backend_for
from qtriton.backends.base import Backend
from qtriton.backends.runner import running
from qtriton.backends.tensorrt.recipe import PlanFacts
from qtriton.build.timing import random_feed
from qtriton.errors import QtritonError, RepositoryError, UnsupportedError
from qtriton.operate.engines import gpu_here, tensorrt
from qtriton.report.layers import VariantProfile
from qtriton.repository.engines import is_pending
from qtriton.repository.manifest import Manifest
from qtriton.target import Target

REPEATS: Final = 50


def run_layers(
    repository: Path, manifests: Mapping[str, Manifest]
) -> tuple[tuple[VariantProfile, ...], Mapping[str, QtritonError]]:
    """What the layers of each variant took, and why others cannot be run here.

    Raises:
        QtritonError: none of them can; the first reason.
    """
    ran, refused = [], {}
    for ensemble, manifest in manifests.items():
        try:
            ran.append(_run(repository, ensemble, manifest))
        except QtritonError as error:
            refused[ensemble] = error
    if not ran:
        raise next(iter(refused.values()))
    return tuple(ran), refused


def _run(repository: Path, ensemble: str, manifest: Manifest) -> VariantProfile:
    target = Target(manifest.backend, manifest.precision, manifest.threads)
    backend = backend_for(target)
    folder = repository / f"{ensemble}_runtime" / "1"
    if backend.gpu is None:
        file, where = _artifact(backend, target, folder), _cpu(target)
    elif backend.gpu.plan:
        file, where = folder / backend.gpu.plan, _gpu(repository, folder)
    else:
        raise UnsupportedError(
            f"{backend.title} tells of what TensorRT runs as one layer. --backend tensorrt tells of each."
        )
    target = replace(target, device=where if backend.gpu else "")
    with console.progress(f"{ensemble}: layers"), running(target, file) as run:
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
    trt, here = tensorrt(), gpu_here()
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
