"""Read a build's images as the model takes them, and say which cannot be read or teach nothing."""

import os
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qtriton.builder.feeding import FrameReader
from qtriton.datasets import check_count, list_images
from qtriton.errors import InputError
from qtriton.labels import LabelledImages, load_labelled
from qtriton.progress import Reporter
from qtriton.runtime.image import decode
from qtriton.spec import ModelSpec
from qtriton.spec_files import classes as class_names

#: Levels of 255 that JPEG may put between the pixels of an image of one colour.
_ONE_COLOUR: Final = 4


def labelled_images(
    spec: ModelSpec, validation: Path | None, labels: Path | None, reporter: Reporter
) -> LabelledImages | None:
    """The labelled validation images, if there are any."""
    if validation is None or labels is None:
        return None
    return load_labelled(spec.task, validation, labels, class_names(spec), spec.ignored_label, reporter)


def write_frames(folder: Path, spec: ModelSpec, out: Path, few: bool, reader: FrameReader, reporter: Reporter) -> None:
    """Write the calibration images as the deployed preprocessing gives them: float32 [images, *input.dims].

    An image that cannot be decoded is named and skipped; images that say nothing, or nothing new, are warned about.

    Raises:
        InputError: fewer than MIN_CALIBRATION_IMAGES images are left, and `few` are not allowed.
    """
    images = list_images(folder, "--calibration")
    good: list[Path] = []
    flat = 0
    with reporter.progress(f"{spec.name}: calibration images") as progress:
        for done, path in enumerate(images, 1):
            if is_readable(path, spec, "Calibration goes on without it.", reader, reporter):
                flat += int(_is_flat(decode(path.read_bytes(), spec.max_pixels)))
                good.append(path)
            progress(done, 2 * len(images))
        check_count(folder, len(good), few)
        frames = _open_frames(out, (len(good), *spec.input.dims))
        seen: set[bytes] = set()
        # Read twice rather than held at once: a thousand frames of a detector are five gigabytes.
        for index, path in enumerate(good):
            frames[index] = reader.read(path, spec).pixels
            seen.add(sha256(frames[index]).digest())
            progress(len(images) + index + 1, 2 * len(images))
        frames.flush()
    if flat:
        reporter.warn(f"--calibration {folder}: {flat} of {len(good)} images are of one colour and teach INT8 nothing.")
    if len(seen) < len(good):
        reporter.warn(
            f"--calibration {folder}: only {len(seen)} of {len(good)} images differ. More different ones are better."
        )


def _open_frames(out: Path, shape: tuple[int, ...]) -> "np.memmap[tuple[int, ...], np.dtype[np.float32]]":
    frames: np.memmap[tuple[int, ...], np.dtype[np.float32]]
    frames = np.lib.format.open_memmap(out, "w+", np.float32, shape)  # type: ignore[no-untyped-call]
    with out.open("r+b") as file:  # a page that a full disk has no room for would end the process with SIGBUS
        os.posix_fallocate(file.fileno(), 0, out.stat().st_size)
    return frames


def is_readable(path: Path, spec: ModelSpec, otherwise: str, reader: FrameReader, reporter: Reporter) -> bool:
    """Whether an image can be decoded; a warning names one that cannot, and says what happens `otherwise`."""
    try:
        reader.read(path, spec)
    except InputError as error:
        reporter.warn(f"{error} {otherwise}")
        return False
    return True


def _is_flat(pixels: NDArray[np.uint8]) -> bool:
    return bool((np.ptp(pixels.reshape(-1, pixels.shape[-1]), axis=0) <= _ONE_COLOUR).all())
