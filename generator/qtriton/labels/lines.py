"""Labels of classification: lines of `file class-index`, or of several class indices an image."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qtriton.errors import InputError
from qtriton.labels.paths import Folder, printable
from qtriton.labels.rows import LabelledImages
from qtriton.labels.text import read_text

_ONE: Final = "file class-index"
_SEVERAL: Final = "file class-index class-index ..."
_ROWS: Final = {
    _ONE: re.compile(r"\s*(?P<file>\S.*?)(?P<labels>\s+[0-9]{1,9})\s*"),
    _SEVERAL: re.compile(r"\s*(?P<file>\S.*?)(?P<labels>(\s+[0-9]{1,9})*)\s*"),
}


def read_classes(labels: Path, images: Folder, classes: Sequence[str]) -> LabelledImages:
    """The class of each image.

    Raises:
        InputError: a line is none, an image has two, or the model does not know a class.
    """
    rows = _read(labels, classes, _ONE)
    return LabelledImages(images.find_all([*rows], labels), classes=tuple(label for (label,) in rows.values()))


def read_several(labels: Path, images: Folder, classes: Sequence[str]) -> LabelledImages:
    """The classes of each image; a line with a file alone is an image that has none.

    Raises:
        InputError: an image has two lines, no image has a class, or the model does not know one.
    """
    rows = _read(labels, classes, _SEVERAL)
    if not any(rows.values()):
        raise InputError(f"--labels {labels}: no image has a class; each line is `{_SEVERAL}`.")
    return LabelledImages(images.find_all([*rows], labels), labels=tuple(rows.values()))


def _read(labels: Path, classes: Sequence[str], form: str) -> dict[str, tuple[int, ...]]:
    rows: dict[str, tuple[int, ...]] = {}
    text = read_text(labels, f"a file of `{form}` lines")
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if line.strip():
            name, found = _row(line, number, labels, classes, form)
            if name in rows:
                raise InputError(_twice(labels, number, name, rows[name], found))
            rows[name] = found
    if not rows:
        raise InputError(f"--labels {labels}: no labels in it; each line is `{form}`.")
    return rows


def _row(line: str, number: int, labels: Path, classes: Sequence[str], form: str) -> tuple[str, tuple[int, ...]]:
    match = _ROWS[form].fullmatch(line)
    if match is None:
        raise InputError(
            f"--labels {labels}: line {number} is not `{form}`: {printable(line.strip())!r}. "
            "Write the file and the number of its class, counted from 0, with a space between."
        )
    found = tuple(map(int, match["labels"].split()))
    if classes and max(found, default=0) >= len(classes):
        raise InputError(
            f"--labels {labels}: line {number} has class index {max(found)}, but the spec has the classes 0 to "
            f"{len(classes) - 1}. Give the labels of the data that the model was trained on."
        )
    return match["file"], found


def _twice(labels: Path, number: int, name: str, before: tuple[int, ...], found: tuple[int, ...]) -> str:
    now, then = (" ".join(map(str, each)) or "none" for each in (found, before))
    other = "" if found == before else f", as class {now} and as class {then}"
    return (
        f"--labels {labels}: line {number} labels {printable(name)} again{other}. Take one out: it would count twice."
    )
