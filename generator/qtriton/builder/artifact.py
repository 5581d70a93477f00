"""An artifact: the files of one variant that its runtime opens, written by a backend and loaded once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qtriton.backends import backend_for
from qtriton.backends.runner import Signature, running
from qtriton.builder.cache_key import StageKey
from qtriton.builder.engine import build_engine
from qtriton.builder.fp32 import read_signature
from qtriton.builder.placing import placed
from qtriton.builder.sources import Sources
from qtriton.errors import ArtifactLoadError, CompressionError
from qtriton.recipe import Recipe
from qtriton.repository.manifest import File
from qtriton.target import Precision, Target
from qtriton.workspace import sha256_file

#: Which layers of an artifact are kept in floating point and why, beside it.
_FLOAT_LAYERS_FILE: Final = "floats.json"
_ONNX: Final = ".onnx"


@dataclass(frozen=True)
class Artifact:
    """What for, in which folder, and for INT8 how."""

    target: Target
    folder: Path
    recipe: Recipe | None = None
    #: The folder of the engine that was built of it on the GPU of this machine; none where the main file is run.
    engine: Path | None = None

    @property
    def opened(self) -> Path:
        """What its runtime opens."""
        backend = backend_for(self.target)
        if self.engine is not None and backend.gpu is not None:
            return self.engine / backend.gpu.plan
        return self.folder / backend.files(self.target)[0]

    def files(self) -> tuple[File, ...]:
        """Its files by their content, the main file first."""
        names = backend_for(self.target).files(self.target)
        return tuple(File(name=name, sha256=sha256_file(self.folder / name)) for name in names)

    def signature(self) -> Signature:
        """Its tensors."""
        return Signature.load(self.folder)

    def float_layers(self) -> dict[str, str]:
        """The layers that are kept in floating point, and why."""
        layers: dict[str, str] = json.loads((self.folder / _FLOAT_LAYERS_FILE).read_text())
        return layers

    def __str__(self) -> str:
        """The artifact in a few words."""
        return f"{self.target.backend} {self.target.precision.value}" + (f" ({self.recipe})" if self.recipe else "")


def make_artifact(sources: Sources, target: Target) -> Artifact:
    """The artifact of a target by the sources' recipe; its runtime has loaded it once.

    Raises:
        ArtifactLoadError: the runtime refuses it, or TensorRT builds no engine of it on this machine's GPU.
    """
    context, recipe = sources.context, None if target.precision is Precision.FP32 else sources.recipe
    label = f"{context.spec.name}: {target.backend} {target.precision.value}"

    def produce(folder: Path) -> None:
        with context.reporter.progress(f"{label}{f' ({recipe})' if recipe else ''} artifact"):
            write_artifact(sources, target, folder)

    name = f"{context.spec.name}-{target.backend}-{target.precision.value}"
    folder = context.stage(StageKey(name, _inputs(sources, target), write_artifact), produce)
    return Artifact(target, folder, recipe, _engine(sources, target, folder, label))


def write_artifact(sources: Sources, target: Target, folder: Path) -> None:
    """Write the files of an artifact, load it once, and note its tensors and the layers kept in floating point.

    Raises:
        ArtifactLoadError: the runtime refuses it, or it gives other outputs than the FP32 model.
    """
    backend, spec, where = backend_for(target), sources.spec, placed(sources, target)
    float_layers: Mapping[str, str] = backend.emit(sources, target, folder)
    for name in backend.files(target):
        if backend.moves is not None and name.endswith(_ONNX):
            where.write(folder / name)
    with running(replace(target, device=""), folder / backend.files(target)[0]) as run:
        signature = Signature(run.inputs, run.outputs)
    original = where.outputs(read_signature(sources.export_onnx(), spec))
    if not signature.answers_like(original):
        raise ArtifactLoadError(
            f"{spec.name}: {backend.title} gives {signature.describe_outputs()}, the FP32 ONNX model "
            f"{original.describe_outputs()}. Choose another --backend."
        )
    signature.save(folder)
    (folder / _FLOAT_LAYERS_FILE).write_text(json.dumps(dict(float_layers)))


def _inputs(sources: Sources, target: Target) -> tuple[object, ...]:
    """What an artifact is made from, beside code."""
    inputs: list[object] = [sources.context.spec_key, target.backend, target.precision.value]
    inputs.append(placed(sources, target).key)
    if target.precision.quantized:
        inputs += [target.vnni, sources.scales_key.digest, sorted(sources.float_layers)]
    if target.precision.half:
        inputs += [sources.context.frames_key.digest]
    gpu = backend_for(target).gpu
    return (*inputs, *([target.optimization_level] if gpu is not None and gpu.plan else []))


def _engine(sources: Sources, target: Target, folder: Path, label: str) -> Path | None:
    """The folder of the engine that an artifact becomes on this machine's GPU; none where the main file is run."""
    gpu = backend_for(target).gpu
    if not target.device or gpu is None or not gpu.plan:
        return None
    try:
        return build_engine(folder, label, sources.context.workspace, sources.context.reporter)
    except CompressionError as error:
        raise ArtifactLoadError(str(error)) from error


def on_all_cores(target: Target) -> Target:
    """The target with every core of this process: for work whose time is not measured."""
    return replace(target, threads=len(os.sched_getaffinity(0)))
