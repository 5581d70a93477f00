"""Folders of images and their labels, read and checked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.errors import InputError

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})
#: Fewer images than this do not show a model the range of its activations.
MIN_CALIBRATION_IMAGES: Final = 32


@dataclass(frozen=True)
class LabelledImages:
    """Images in the order of the labels, and the labels: COCO ground truth, a class index or a mask an image."""

    images: tuple[Path, ...]
    coco: dict[str, Any] | None = None
    classes: tuple[int, ...] = ()
    masks: tuple[Path, ...] = ()


def list_images(folder: Path, option: str) -> tuple[Path, ...]:
    """The JPEG and PNG files of a folder, sorted by name; `option` is named in errors."""
    if not folder.is_dir():
        raise InputError(f"{option} {folder}: no such folder. Give a folder of JPEG or PNG images.")
    images = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()))
    if not images:
        raise InputError(f"{option} {folder}: no JPEG or PNG image in it. Give a folder of images.")
    return images


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


def load_labelled(task: str, folder: Path, labels: Path) -> LabelledImages:
    """Images and labels for measuring accuracy.

    Detection: COCO JSON. Classification: `file class-index` lines. Segmentation: a folder of PNG masks that are named
    as the images and hold a class id a pixel.
    """
    present = {path.name: path for path in list_images(folder, "--validation")}
    if task == "segmentation":
        return _masks(labels, present)
    try:
        text = labels.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--labels {labels}: cannot be read ({error}).") from error
    return _coco(text, labels, present) if task == "detection" else _lines(text, labels, present)


def _coco(text: str, labels: Path, present: dict[str, Path]) -> LabelledImages:
    try:
        coco = json.loads(text)
        names = [image["file_name"] for image in coco["images"]]
        assert isinstance(coco["annotations"], list) and isinstance(coco["categories"], list)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(
            f"--labels {labels}: not a COCO file with images, annotations and categories ({error!r})."
        ) from error
    return LabelledImages(_all_present(names, labels, present), coco=coco)


def _lines(text: str, labels: Path, present: dict[str, Path]) -> LabelledImages:
    rows = [line.rsplit(maxsplit=1) for line in text.splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or not row[1].isdigit():
            raise InputError(f"--labels {labels}: entry {number} is not `file class-index`: {' '.join(row)!r}.")
    if not rows:
        raise InputError(f"--labels {labels}: no labels in it; each line is `file class-index`.")
    names = [row[0] for row in rows]
    return LabelledImages(_all_present(names, labels, present), classes=tuple(int(row[1]) for row in rows))


def _masks(folder: Path, present: dict[str, Path]) -> LabelledImages:
    if not folder.is_dir():
        raise InputError(f"--labels {folder}: no such folder. Give the folder of masks, one PNG an image.")
    images = tuple(present.values())
    masks = tuple(folder / f"{image.stem}.png" for image in images)
    if missing := [mask.name for mask in masks if not mask.is_file()]:
        raise InputError(
            f"--labels {folder}: {len(missing)} of the {len(images)} images have no mask in it, first {missing[0]}."
        )
    return LabelledImages(images, masks=masks)


def _all_present(names: Sequence[str], labels: Path, present: dict[str, Path]) -> tuple[Path, ...]:
    missing = [name for name in names if Path(name).name not in present]
    if missing:
        raise InputError(
            f"--labels {labels}: {len(missing)} of its {len(names)} images are not in the --validation folder, "
            f"first {missing[0]}."
        )
    return tuple(present[Path(name).name] for name in names)
