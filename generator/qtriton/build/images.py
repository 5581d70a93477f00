"""Settle which images a build calibrates with and measures on, generating them where a spec says so."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qtriton.atomic import write_atomically
from qtriton.build.evaluate import read_frame
from qtriton.console import Report, warn
from qtriton.datasets import LabelledImages, enough, list_images, load_labelled
from qtriton.errors import InputError
from qtriton.plan import Request
from qtriton.runtime.image import decode
from qtriton.spec import GeneratedData, ModelSpec
from qtriton.target import Precision
from qtriton.workspace import Workspace, sha256_json

#: Levels of 255 that JPEG may put between the pixels of an image of one colour.
_ONE_COLOUR: Final = 4


@dataclass(frozen=True)
class Datasets:
    """Where the images are; none where the build needs none."""

    calibration: Path | None
    validation: Path | None
    labels: Path | None


def resolve_datasets(spec: ModelSpec, request: Request, workspace: Workspace) -> Datasets:
    """The user's folders, or scenes from the spec's seed where the user named none."""
    folders = Datasets(request.calibration, request.validation, request.labels)
    if spec.data is not None and (folders.calibration is None or folders.validation is None):
        made = generated(spec.data, workspace)
        own = folders.validation, folders.labels
        measured = own if folders.validation else (made / "validation", made / "validation" / "instances.json")
        folders = Datasets(folders.calibration or made / "calibration", *measured)
    if request.precision is Precision.FP32:
        return Datasets(None, folders.validation, folders.labels)
    return folders


def generated(data: GeneratedData, workspace: Workspace) -> Path:
    """The folder of generated scenes, made when it is missing."""

    def produce(folder: Path) -> None:
        from qtriton.demo.scenes import write_dataset

        write_dataset(folder / "calibration", data.calibration, data.seed, "calibration", labels=False)
        write_dataset(folder / "validation", data.validation, data.seed, "validation", labels=True)

    return workspace.stage(f"scenes-{data.scenes}", sha256_json(data.model_dump()), produce)


def labelled(spec: ModelSpec, folders: Datasets) -> LabelledImages | None:
    """The labelled validation images, if there are any."""
    if folders.validation is None or folders.labels is None:
        return None
    return load_labelled(spec.task, folders.validation, folders.labels)


def write_calibration(folder: Path, spec: ModelSpec, out: Path, few: bool, progress: Report) -> None:
    """Write the calibration images as the deployed preprocessing gives them: float32 [images, *input.dims].

    An image that cannot be decoded is named and skipped; images that say nothing, or nothing new, are warned about.

    Raises:
        InputError: fewer than CALIBRATION_LEAST images are left, and `few` are not allowed.
    """
    images = list_images(folder, "--calibration")
    good: list[Path] = []
    flat = 0
    for done, path in enumerate(images, 1):
        if is_readable(path, spec, "Calibration goes on without it."):
            flat += int(_is_flat(decode(path.read_bytes(), spec.max_pixels)))
            good.append(path)
        progress(done, 2 * len(images))
    enough(folder, len(good), few)
    # Read twice rather than held at once: a thousand frames of a detector are five gigabytes.
    shape = (len(good), *spec.input.dims)
    frames = np.lib.format.open_memmap(out, "w+", np.float32, shape)  # type: ignore[no-untyped-call]
    with out.open("r+b") as file:  # a page that a full disk has no room for would end the process with SIGBUS
        os.posix_fallocate(file.fileno(), 0, out.stat().st_size)
    seen: set[bytes] = set()
    for index, path in enumerate(good):
        frames[index] = read_frame(path, spec).pixels
        seen.add(sha256(frames[index]).digest())
        progress(len(images) + index + 1, 2 * len(images))
    frames.flush()
    if flat:
        warn(f"--calibration {folder}: {flat} of {len(good)} images are of one colour and teach INT8 nothing.")
    if len(seen) < len(good):
        warn(f"--calibration {folder}: only {len(seen)} of {len(good)} images differ. More different ones are better.")


def is_readable(path: Path, spec: ModelSpec, otherwise: str) -> bool:
    """Whether an image can be decoded; a warning names one that cannot, and says what happens `otherwise`."""
    try:
        read_frame(path, spec)
    except InputError as error:
        warn(f"{error} {otherwise}")
        return False
    return True


def _is_flat(pixels: NDArray[np.uint8]) -> bool:
    return bool((np.ptp(pixels.reshape(-1, pixels.shape[-1]), axis=0) <= _ONE_COLOUR).all())


def remember_images(workspace: Workspace, model: str, folder: Path) -> None:
    """Keep which folder a model was last measured on, so that bench needs no --images."""
    write_atomically(workspace.folder("images") / model, str(folder.resolve()).encode())


def remembered_images(workspace: Workspace, model: str) -> Path | None:
    """The folder that a model was last measured on, if it is still there."""
    note = workspace.root / "images" / model
    folder = Path(note.read_text(encoding="utf-8")) if note.is_file() else None
    return folder if folder is not None and folder.is_dir() else None
