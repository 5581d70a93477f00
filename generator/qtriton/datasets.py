"""Folders of images, listed and counted."""

from pathlib import Path, PurePath
from typing import Final

from qtriton.errors import InputError
from qtriton.runtime.image import KINDS, SUFFIXES

#: Fewer images than this do not show a model the range of its activations.
MIN_CALIBRATION_IMAGES: Final = 32


def list_images(folder: Path, option: str) -> tuple[Path, ...]:
    """The images of a folder and its sub-folders, sorted; `option` is named in errors.

    Names that begin with a dot are left out: what systems and tools keep beside images is not the user's.
    """
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: no such folder. Give a folder of images: {KINDS}.")
    found = (path for path in folder.rglob("*") if is_image(path.relative_to(folder)) and path.is_file())
    images = tuple(sorted(found))
    if not images:
        raise InputError(f"{option} {folder}: no {KINDS} in it. Give a folder of images.")
    return images


def is_image(path: PurePath) -> bool:
    """Whether a file in a folder, or in an archive, is an image by its name, and not hidden."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def calibration_images(folder: Path, few: bool = False) -> tuple[Path, ...]:
    """The images of a calibration folder, at least MIN_CALIBRATION_IMAGES unless `few` are allowed."""
    images = list_images(folder, "--calibration")
    check_count(folder, len(images), few)
    return images


def check_count(folder: Path, count: int, few: bool) -> None:
    """Refuse too few calibration images.

    Raises:
        InputError: there are fewer than MIN_CALIBRATION_IMAGES.
    """
    if count < MIN_CALIBRATION_IMAGES and not few:
        raise InputError(
            f"--calibration {folder}: {count} images that can be read, INT8 needs {MIN_CALIBRATION_IMAGES}. "
            "Add images, pass --few-images to go on with these, or --precision fp32."
        )


def images_text(count: int) -> str:
    """A number of images, in words."""
    return "1 image" if count == 1 else f"{count} images"


def one_of(count: int) -> str:
    """An image of so many, at the beginning of a sentence."""
    return "The only image" if count == 1 else f"One of {count} images"
