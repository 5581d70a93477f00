"""Labels of rotated boxes: a text file an image, as DOTA or Ultralytics writes them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.errors import InputError
from qtriton.labels.categories import normal_name
from qtriton.labels.paths import Folder, printable
from qtriton.labels.rows import LabelledImages, Points, Rotated
from qtriton.labels.text import read_text
from qtriton.progress import Reporter

_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
#: What DOTA writes above the objects.
_HEADER: Final = re.compile(r"(imagesource|gsd)\s*:", re.IGNORECASE)
_HARD: Final = {"0": False, "1": True, "2": True}
#: Rounding may take a part of the image a little out of 0 to 1.
_SLACK: Final = 0.05
_LARGEST: Final = 1e6


@dataclass(frozen=True)
class _Line:
    """An object as it is written: its class by name (DOTA) or number (Ultralytics)."""

    where: str
    name: str
    points: Points
    hard: bool = False
    parts: bool = False


def read_rotated(labels: Path, images: Folder, classes: Sequence[str], reporter: Reporter) -> LabelledImages:
    """The rotated boxes of each image.

    DOTA's lines are `x1 y1 x2 y2 x3 y3 x4 y4 category difficult` in pixels, Ultralytics' `class x1 y1 ... x4 y4` in
    parts of the image. An image without a file does not count, one with an empty file has no objects.

    Raises:
        InputError: a line is neither, or its class is none of the model's.
    """
    if not labels.is_dir():
        raise InputError(f"--labels {labels}: no such folder. Give the folder of text files, one an image.")
    files = {path.relative_to(labels).with_suffix(""): path for path in labels.rglob("*.txt") if path.is_file()}
    paths = [path for path in images.paths if path.relative_to(images.root).with_suffix("") in files]
    boxes, left_out = [], set[str]()
    for image, path in enumerate(paths):
        for line in _lines(files[path.relative_to(images.root).with_suffix("")]):
            label = _label(line, classes)
            if label is None:
                left_out.add(line.name)
            else:
                boxes.append(Rotated.of(image, label, line.points, hard=line.hard, parts=line.parts))
    if all(box.crowd for box in boxes):
        raise InputError(
            f"--labels {labels}: no object of a class of the spec in a file of one of the {len(images.paths)} images. "
            "Files are called as their images, with .txt; look at `classes` in the spec, too."
        )
    if left_out:
        names = ", ".join(sorted(map(printable, left_out))[:6])
        reporter.warn(f"--labels {labels}: objects that are no classes of the spec are left out: {names}.")
    return LabelledImages(tuple(paths), boxes=tuple(boxes), categories=max(box.label for box in boxes) + 1)


def _lines(path: Path) -> Iterator[_Line]:
    text = read_text(path, "a text file of rotated boxes")
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if line.strip() and not _HEADER.match(line.strip()):
            yield _line(line.split(), f"--labels {path}: line {number}")


def _line(fields: Sequence[str], where: str) -> _Line:
    numeric = [bool(_NUMBER.fullmatch(each)) for each in fields]
    if len(fields) == 9 and all(numeric):
        line = _Line(where, fields[0], _points(fields[1:], where), parts=True)
        if not all(-_SLACK <= each <= 1 + _SLACK for point in line.points for each in point):
            raise InputError(
                f"{where} is not in parts of the image, 0 to 1, as `class x1 y1 ... x4 y4` is. Correct it."
            )
        return line
    if len(fields) in (9, 10) and all(numeric[:8]) and not numeric[8] and fields[9:] in ([], *([key] for key in _HARD)):
        hard = _HARD[fields[9]] if len(fields) == 10 else False
        return _Line(where, fields[8], _points(fields[:8], where), hard=hard)
    raise InputError(
        f"{where} is neither DOTA's `x1 y1 x2 y2 x3 y3 x4 y4 category difficult` nor Ultralytics' "
        f"`class x1 y1 x2 y2 x3 y3 x4 y4`: {printable(' '.join(fields))!r}. Correct it."
    )


def _points(fields: Sequence[str], where: str) -> Points:
    numbers = [float(each) for each in fields]
    points = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    following = (*points[1:], points[0])
    area = sum(x * below - beside * y for (x, y), (beside, below) in zip(points, following, strict=True)) / 2
    if max(map(abs, numbers)) > _LARGEST or area == 0:
        raise InputError(f"{where} encloses nothing, or is not in pixels. Correct it, or take it out.")
    return points


def _label(line: _Line, classes: Sequence[str]) -> int | None:
    """The class of an object; None where DOTA's category is none of the model's."""
    if not line.parts:
        if not classes:
            raise InputError(f"{line.where} has a category by name. Write `classes` into the spec.")
        names = [normal_name(name) for name in classes]
        return names.index(normal_name(line.name)) if normal_name(line.name) in names else None
    if not line.name.isdecimal() or (classes and int(line.name) >= len(classes)):
        known = f"0 to {len(classes) - 1}" if classes else "whole numbers from 0"
        raise InputError(f"{line.where} has class {printable(line.name)}, but classes are {known}. Correct it.")
    return int(line.name)
