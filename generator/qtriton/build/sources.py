"""A plan with its inputs found, and what every artifact of it is made from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qtriton import console
from qtriton.backends import backend_for
from qtriton.build import cache_key as keys
from qtriton.build.fp32 import check_conversion
from qtriton.build.images import Datasets, is_readable, labelled, write_calibration
from qtriton.compress.scales import QUANTIZED
from qtriton.compress.scales import SCALES_FILE as SCALES
from qtriton.datasets import LabelledImages, list_images
from qtriton.plan import Plan
from qtriton.recipe import Recipe
from qtriton.repository.manifest import File
from qtriton.repository.record import PublishRecord
from qtriton.spec import ModelSpec
from qtriton.target import Target
from qtriton.workspace import Workspace, sha256_file, sha256_json

if TYPE_CHECKING:
    from qtriton.quantize.sensitivity import LayerCost

_FRAMES = "calibration.npy"
_COSTS = "layers.json"
_LARGE = "fp16.json"


@dataclass(frozen=True)
class Job:
    """What every stage of one build shares, and the origin of its artifacts."""

    plan: Plan
    workspace: Workspace
    weights: Path
    folders: Datasets
    spec_key: str
    #: A folder that goes away with the build, for what is too large to keep.
    scratch: Path
    #: How INT8 is made; FP32 does not ask.
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.plan.spec

    @cached_property
    def truth(self) -> tuple[LabelledImages, str] | None:
        """The labelled validation images with the hash of all of it, read once for all that is measured; if any."""
        data = labelled(self.spec, self.folders)
        if data is None:
            return None
        return data, sha256_json([data.coco, data.classes, [*map(sha256_file, (*data.images, *data.masks))]])

    @cached_property
    def unlabelled(self) -> tuple[Path, ...]:
        """The validation images, or the calibration images where there are none, without those that cannot be read."""
        folder = self.folders.validation or self.folders.calibration
        assert folder is not None
        images = list_images(folder, "--validation")
        return tuple(path for path in images if is_readable(path, self.spec, "It is left out of the comparison."))

    def by(self, recipe: Recipe) -> Job:
        """The same job with another recipe."""
        return replace(self, recipe=recipe)

    def stage(self, what: str, made_from: object, produce: Callable[[Path], None]) -> Path:
        """The folder of a stage's results, from the cache where they were made from the same by the same packages."""
        key = sha256_json([made_from, keys.versions()])
        return self.workspace.stage(f"{self.spec.name}-{what}", key, produce)

    def record(self, target: Target) -> PublishRecord:
        """What the variant of a target is built from."""
        key = keys.build_key(target, self.plan.request, self.spec_key, self.folders)
        return PublishRecord(self.spec.name, self.spec_key, key)

    def onnx(self) -> Path:
        """The FP32 model as an ONNX file that fits the spec."""
        from qtriton.build.fp32 import fp32_onnx

        def produce(folder: Path) -> None:
            with console.progress(f"{self.spec.name}: FP32 as ONNX"):
                fp32_onnx(self.weights, self.spec, folder / "model.onnx")

        return self.stage("fp32", [self.spec_key, keys.code("build"), keys.code("compress")], produce) / "model.onnx"

    def paddle(self) -> Path:
        """The FP32 model as a Paddle inference folder: as it came, or converted with a batch of 1."""
        if self.weights.is_dir():
            return self.weights
        onnx = self.onnx()

        def produce(folder: Path) -> None:
            from qtriton.compress.act import import_onnx

            with console.progress(f"{self.spec.name}: FP32 as a Paddle model"):
                made = import_onnx(onnx, (1, *self.spec.input.dims), folder / "paddle")
                check_conversion(onnx, made, self.spec)

        made_from = [sha256_file(onnx), self.spec.input.dims, keys.code("compress")]
        return self.stage("paddle", made_from, produce) / "paddle"

    def scales(self) -> Path:
        """The file of the ranges that ACT learnt."""
        return self._learnt() / SCALES

    def floats(self) -> frozenset[str]:
        """The layers, as the scales name them, that stay in floating point."""
        return self.recipe.floats

    def overflowing(self) -> frozenset[str]:
        """The outputs of the nodes of the FP32 ONNX that FP16 cannot hold on the calibration images."""

        def produce(folder: Path) -> None:
            import numpy as np

            from qtriton.quantize.fp16 import overflowing
            from qtriton.quantize.qdq import prepared

            extras = dict(self.spec.inputs[1:])
            with console.progress(f"{self.spec.name}: what FP16 can hold") as progress:
                found = overflowing(prepared(self.onnx()), np.load(self.frames(), mmap_mode="r"), extras, progress)
            (folder / _LARGE).write_text(json.dumps(sorted(found)))

        assert self.folders.calibration is not None  # the plan saw to it
        made_from = [self.spec_key, keys.images_sha256(self.folders.calibration), keys.code("quantize")]
        return frozenset(json.loads((self.stage("fp16", made_from, produce) / _LARGE).read_text()))

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all that the model takes, without the batch, under the names of the ONNX."""
        from qtriton.build.evaluate import own_inputs
        from qtriton.build.fp32 import signature

        own = own_inputs(self.spec, tuple(port.name for port in signature(self.onnx(), self.spec).inputs))
        return {own[name]: dims for name, dims in self.spec.inputs}

    def batch(self) -> int:
        """The largest batch; 0 where the ONNX has a fixed shape."""
        from qtriton.build.fp32 import signature

        free = signature(self.onnx(), self.spec).inputs[0].shape[0] == -1
        return self.spec.max_batch_size if free else 0

    def quantized_paddle(self) -> Path:
        """The INT8 model that ACT wrote, without integers in the layers of the recipe."""
        if not self.recipe.floats:
            return self._learnt() / QUANTIZED

        def produce(folder: Path) -> None:
            from qtriton.compress.act import restore_float

            restore_float(self._learnt() / QUANTIZED, self.paddle(), sorted(self.recipe.floats), folder / QUANTIZED)

        return self.stage("mixed", [self.learnt_from(), sorted(self.recipe.floats)], produce) / QUANTIZED

    def learnt_from(self) -> list[object]:
        """What the scales of the recipe depend on."""
        assert self.folders.calibration is not None  # the plan saw to it
        return keys.learnt_from(self.recipe, self.spec, self.weights, self.folders.calibration)

    def frames(self) -> Path:
        """The calibration images as the model takes them, in one file."""
        frames = self.scratch / _FRAMES
        if not frames.exists():
            assert self.folders.calibration is not None
            staged = frames.with_name(f".{_FRAMES}")
            with console.progress(f"{self.spec.name}: calibration images") as progress:
                write_calibration(self.folders.calibration, self.spec, staged, self.plan.request.few_images, progress)
            staged.rename(frames)
        return frames

    def sensitivity(self, target: Target) -> tuple[LayerCost, ...]:
        """What each layer's integers, as the target has them, do to the outputs by the recipe's scales."""
        from qtriton.build.sensitivity import load, measure, save
        from qtriton.compress.scales import Scales
        from qtriton.quantize.qdq import x86_writer
        from qtriton.quantize.symmetric import SymmetricWriter

        on_gpu = backend_for(target).gpu is not None

        def produce(folder: Path) -> None:
            writer = SymmetricWriter if on_gpu else x86_writer(target)
            scales, label = Scales.load(self.scales()), f"{self.spec.name}: sensitivity of each layer"
            with console.progress(label) as progress:
                save(measure(self.spec, self.onnx(), scales, self.frames(), writer, progress), folder / _COSTS)

        made_from = [
            self.learnt_from(),
            self.spec_key,
            "GPU" if on_gpu else target.vnni,
            keys.code("quantize"),
            keys.code("metrics"),
        ]
        return load(self.stage("sensitivity", made_from, produce) / _COSTS)

    def _trained(self) -> Path | None:
        """What training made of the FP32 model; none where the recipe has no training."""
        options = self.recipe.training
        if options is None:
            return None
        untrained = self.by(Recipe())
        made_from = [untrained.learnt_from(), asdict(options)]
        # Not in the stage's own folder, which is made anew after a failure: training goes on where it was.
        checkpoints = self.workspace.root / "checkpoints" / sha256_json([made_from, keys.versions()])[:24]

        def produce(folder: Path) -> None:
            from qtriton.compress.act import train

            model, frames = self.paddle(), self.frames()
            with console.progress(f"{self.spec.name}: training, FP32 as teacher (PaddleSlim ACT)") as progress:
                train(
                    model,
                    calibration=frames,
                    work=folder,
                    options=options,
                    checkpoints=checkpoints,
                    out=folder / "paddle",
                    extras=tuple(self.spec.extra_inputs),
                    progress=progress,
                )

        made = self.stage("trained", made_from, produce) / "paddle"
        shutil.rmtree(checkpoints, ignore_errors=True)
        return made

    def _learnt(self) -> Path:
        recipe = self.recipe

        def produce(folder: Path) -> None:
            from qtriton.compress.act import compress
            from qtriton.compress.scales import PtqOptions

            model, frames, trained = self.paddle(), self.frames(), self._trained()
            with console.progress(f"{self.spec.name}: ranges by {recipe.learning} with PaddleSlim ACT") as progress:
                compress(
                    model,
                    calibration=frames,
                    work=folder,
                    options=PtqOptions(recipe.algorithm),
                    trained=trained,
                    extras=tuple(self.spec.extra_inputs),
                    progress=progress,
                )

        return self.stage("scales", self.learnt_from(), produce)


@dataclass(frozen=True)
class Artifact:
    """An artifact: what for, in which folder, and for INT8 how."""

    target: Target
    folder: Path
    recipe: Recipe | None = None
    #: The folder of the plan that was built of it on the GPU of this machine; none where its first file is run.
    engine: Path | None = None

    @property
    def opened(self) -> Path:
        """What its runtime opens."""
        backend = backend_for(self.target)
        if self.engine is not None and backend.gpu is not None:
            return self.engine / backend.gpu.plan
        return self.folder / backend.files(self.target)[0]

    def files(self) -> tuple[File, ...]:
        """Its files by their content."""
        names = backend_for(self.target).files(self.target)
        return tuple(File(name=name, sha256=sha256_file(self.folder / name)) for name in names)

    def __str__(self) -> str:
        """The artifact in a few words."""
        return f"{self.target.backend} {self.target.precision.value}" + (f" ({self.recipe})" if self.recipe else "")


def all_cores(target: Target) -> Target:
    """The target with every core of this process: for work whose time is not measured."""
    return replace(target, threads=len(os.sched_getaffinity(0)))
