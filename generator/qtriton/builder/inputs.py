"""Which images a build calibrates with and measures on: the user's, or those that the spec names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qtriton.builder.cache_key import StageKey
from qtriton.builder.download import Download
from qtriton.builder.downloaded_images import TO_COMPARE, TO_LEARN, images_download
from qtriton.builder.fetch import weights_download
from qtriton.datasets import list_images
from qtriton.demo.scenes import LABELS, Split, write_dataset
from qtriton.errors import InputError
from qtriton.options import BuildOptions
from qtriton.progress import Reporter
from qtriton.repository.manifest import ImagesSource
from qtriton.request import images_in_common
from qtriton.spec import DownloadedImages, GeneratedImages, ModelSpec
from qtriton.spec_files import default_data
from qtriton.target import Precision
from qtriton.workspace import Workspace


@dataclass(frozen=True)
class Datasets:
    """Where the images are; none where the build needs none."""

    calibration: Path | None
    validation: Path | None
    labels: Path | None
    #: Where calibration and validation come from, of those that were downloaded.
    sources: Mapping[str, ImagesSource] = field(default_factory=dict)


def images_to_download(spec: ModelSpec, options: BuildOptions, workspace: Workspace) -> dict[str, Download]:
    """The images that a build downloads, or has downloaded before, by what they are for.

    For FP32 there are none: without labels, images say nothing of it.
    """
    data = default_data(spec)
    named = {"calibration": data.calibration, "validation": data.validation}
    given = {"calibration": options.calibration, "validation": options.validation}
    return {
        name: images_download(spec.name, name, images, workspace)
        for name, images in named.items()
        if isinstance(images, DownloadedImages) and given[name] is None and options.precision is not Precision.FP32
    }


def downloads_told(spec: ModelSpec, options: BuildOptions, workspace: Workspace) -> tuple[str, ...]:
    """What a build will download, with the licences: a line each."""
    weights = None if options.weights else weights_download(spec, workspace)
    downloads = [*([weights] if weights else []), *images_to_download(spec, options, workspace).values()]
    return tuple(each.describe() for each in downloads if not each.at_hand)


def resolve_datasets(spec: ModelSpec, options: BuildOptions, workspace: Workspace, reporter: Reporter) -> Datasets:
    """The user's folders, or the images that the spec names where the user named none.

    Raises:
        SetupError: a download failed, or the disk is full.
        ModelError: a download is not what the spec promises, or not what it was the first time.
        InputError: a download holds no images, or some of --validation.
    """
    data, downloads = default_data(spec), images_to_download(spec, options, workspace)
    calibration, validation, labels = options.calibration, options.validation, options.labels
    folders: dict[str, Path] = {}
    for name, download in downloads.items():
        with reporter.progress(f"{spec.name}: {download.what}") as progress:
            folders[name] = download.get(workspace, progress)
    sources = {}
    if "calibration" in folders:
        calibration = folders["calibration"] / TO_LEARN
        sources["calibration"] = _source(downloads["calibration"], calibration)
    elif calibration is None and isinstance(data.calibration, GeneratedImages):
        calibration = generate_scenes(data.calibration, "calibration", workspace)
    if "validation" in folders:
        validation = folders["validation"]
        sources["validation"] = _source(downloads["validation"], validation)
    elif validation is None and isinstance(data.validation, GeneratedImages):
        validation = generate_scenes(data.validation, "validation", workspace)
        labels = validation / LABELS
    elif validation is None and "calibration" in folders:
        validation = folders["calibration"] / TO_COMPARE
        sources["validation"] = _source(downloads["calibration"], validation)
    if calibration is not None and validation is not None and "calibration" in folders:
        _refuse_common(calibration, validation, downloads["calibration"])
    return Datasets(None if options.precision is Precision.FP32 else calibration, validation, labels, sources)


def _source(download: Download, folder: Path) -> ImagesSource:
    return ImagesSource(
        url=download.url,
        sha256=download.recorded_sha256,
        licence=download.licence,
        images=len(list_images(folder, download.replacement)),
    )


def _refuse_common(calibration: Path, validation: Path, download: Download) -> None:
    if both := images_in_common(calibration, validation):
        raise InputError(
            f"--validation {validation}: {len(both)} of its images, first {both[0].name}, are among those that INT8 "
            f"learns from, of {download.url}: accuracy on these says nothing. Pass {download.replacement} with others."
        )


def generate_scenes(images: GeneratedImages, split: Split, workspace: Workspace) -> Path:
    """The folder of generated scenes, made when it is missing; those for validation have LABELS beside them."""

    def produce(folder: Path) -> None:
        write_dataset(folder, images.images, images.seed, split, labels=split == "validation")

    key = StageKey(f"scenes-{images.scenes}-{split}", (images.model_dump(), split), write_dataset)
    return workspace.stage(key.name, key.digest, produce)
