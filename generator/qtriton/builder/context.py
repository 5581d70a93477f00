"""What every step of one build shares: the plan, where its inputs lie, and the cache. Nothing here works by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qtriton.builder.background import Background
from qtriton.builder.cache_key import StageKey
from qtriton.builder.feeding import FrameReader
from qtriton.builder.hashes import datasets_sha256, weights_sha256
from qtriton.builder.images import is_readable, labelled_images, write_frames
from qtriton.builder.inputs import Datasets
from qtriton.datasets import list_images
from qtriton.errors import InputError, QtritonError
from qtriton.labels import LabelledImages
from qtriton.options import BuildOptions
from qtriton.placement.placed import Placed
from qtriton.plan import Plan
from qtriton.progress import Reporter
from qtriton.quantize.observe import Observation
from qtriton.repository.steps import shipped_sha256
from qtriton.runtime.values import Results
from qtriton.spec import ModelSpec
from qtriton.target import Precision
from qtriton.workspace import Workspace, disk_full_told, sha256_file, sha256_json

if TYPE_CHECKING:
    from qtriton.builder.artifact import Artifact

#: On so many labelled images results are compared with FP32's besides.
_CONFIRMED_ON: Final = 64


@dataclass(frozen=True)
class BuildContext:
    """A plan with its inputs found."""

    plan: Plan
    workspace: Workspace
    #: An ONNX file, or a Paddle inference folder.
    weights: Path
    datasets: Datasets
    #: A folder that goes away with the build, for what is too large to keep.
    scratch: Path
    reporter: Reporter
    #: The stages that have failed in this build, by their keys: what one backend could not get, another cannot.
    failed: dict[str, QtritonError] = field(default_factory=dict)
    #: Where the operations are, by backend, as far as it was asked.
    placements: dict[str, Placed] = field(default_factory=dict)
    #: What calibration images make of the tensors of an FP32 ONNX file, as far as it was asked.
    observations: dict[Path, Observation] = field(default_factory=dict)
    #: The artifact whose answers are taken for those of an FP32 artifact, by the folder of that one.
    measured: dict[Path, Artifact] = field(default_factory=dict)
    #: What was warned about.
    warned: set[str] = field(default_factory=set)
    #: What is made while the build goes on.
    background: Background = field(default_factory=Background)
    #: What reads the images, each once.
    reader: FrameReader = field(default_factory=FrameReader)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.plan.spec

    @property
    def options(self) -> BuildOptions:
        """What was asked for."""
        return self.plan.request.options

    @cached_property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights, in hex."""
        return weights_sha256(self.weights)

    @cached_property
    def datasets_sha256(self) -> dict[str, str]:
        """The SHA-256 of calibration, validation and labels, of those that there are; read once for all variants."""
        return datasets_sha256(self.datasets)

    def parents(self, precision: Precision) -> dict[str, str]:
        """The SHA-256 of what an artifact was made from and measured on, the weights apart; FP32 is not calibrated."""
        hashes = self.datasets_sha256.items()
        return {name: sha256 for name, sha256 in hashes if name != "calibration" or precision is not Precision.FP32}

    @cached_property
    def spec_key(self) -> str:
        """What all variants of a model share: the spec, the weights, and the code that is shipped with them."""
        return sha256_json([self.spec.model_dump(mode="json"), self.weights_sha256, shipped_sha256()])

    @cached_property
    def ground_truth(self) -> tuple[LabelledImages, str] | None:
        """The labelled validation images with the hash of all of it, read once for all that is measured; if any."""
        data = labelled_images(self.spec, self.datasets.validation, self.datasets.labels, self.reporter)
        if data is None:
            return None
        files = [*map(sha256_file, (*data.images, *data.masks))]
        return data, sha256_json([repr(data.boxes), data.classes, data.white, files])

    @cached_property
    def unlabelled(self) -> tuple[Path, ...]:
        """The validation images, or the calibration images where there are none, without those that cannot be read."""
        folder = self.datasets.validation or self.datasets.calibration
        assert folder is not None
        otherwise = "It is left out of the comparison."
        images = list_images(folder, "--validation" if self.datasets.validation else "--calibration")
        readable = tuple(path for path in images if is_readable(path, self.spec, otherwise, self.reader, self.reporter))
        if not readable:
            raise InputError(f"{folder}: none of its {len(images)} images can be read. Give others.")
        return readable

    @cached_property
    def compared(self) -> tuple[Path, ...]:
        """The images that results are compared with FP32's on: a part of those with labels, where it only confirms."""
        return self.unlabelled if self.ground_truth is None else self.ground_truth[0].images[:_CONFIRMED_ON]

    @cached_property
    def compared_sha256(self) -> list[str]:
        """The SHA-256 of each of those images."""
        return [sha256_file(path) for path in self.compared]

    @cached_property
    def results(self) -> dict[Path, list[Results]]:
        """What artifacts report on the images that INT8 is compared on, by their folders, as long as it is needed."""
        return {}

    @cached_property
    def frames_key(self) -> StageKey:
        """What the calibration frames depend on: the images, and how one becomes the model's input."""
        assert self.datasets.calibration is not None  # the plan saw to it
        before = self.spec.model_dump(mode="json", include={"input", "preprocess", "max_pixels"})
        return StageKey(f"{self.spec.name}-frames", (before, self.datasets_sha256["calibration"]), write_frames)

    def stage(self, key: StageKey, produce: Callable[[Path], None]) -> Path:
        """The folder of a stage's results, from the cache where its key is the same.

        Raises:
            QtritonError: as `produce` raises it, the first time and again whenever it is asked for in this build.
        """
        digest = key.digest
        if digest in self.failed:
            raise self.failed[digest]
        try:
            return self.workspace.stage(key.name, digest, produce)
        except QtritonError as error:
            self.failed[digest] = error
            raise

    def timed_stage(self, key: StageKey, produce: Callable[[Path], None]) -> Path:
        """The same of a stage that measures times, so nothing of this build runs beside it."""

        def produce_alone(folder: Path) -> None:
            self.background.stop()
            produce(folder)

        return self.stage(key, produce_alone)

    def warn_once(self, message: str) -> None:
        """Warn of what several backends meet."""
        if message not in self.warned:
            self.warned.add(message)
            self.reporter.warn(message)

    def frames(self) -> Path:
        """The calibration images as the model takes them: an .npy file, float32 [images, *input.dims]."""
        frames = self.scratch / "calibration.npy"
        if not frames.exists():
            assert self.datasets.calibration is not None
            staged, few = frames.with_name(".calibration.npy"), self.options.few_images
            with self.workspace.timings.part(self.frames_key.name), disk_full_told(staged):
                write_frames(self.datasets.calibration, self.spec, staged, few, self.reader, self.reporter)
            staged.rename(frames)
        return frames
