"""Labels of classification: lines of `file class-index`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qtriton.errors import InputError
from qtriton.labels.paths import Folder, printable
from qtriton.labels.rows import LabelledImages
from qtriton.labels.text import read_text

_ROW: Final = re.compile(r"\s*(?P<file>\S.*?)\s+(?P<label>[0-9]{1,9})\s*")


def read_classes(labels: Path, images: Folder, classes: Sequence[str]) -> LabelledImages:
    """The class of each image.

    Raises:
        InputError: a line is none, an image has two, or the model does not know a class.
    """
    rows: dict[str, int] = {}
    text = read_text(labels, "a file of `file class-index` lines")
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if line.strip():
            name, label = _row(line, number, labels, classes)
            if name in rows:
                raise InputError(_twice(labels, number, name, rows[name], label))
            rows[name] = label
    if not rows:
        raise InputError(f"--labels {labels}: no labels in it; each line is `file class-index`.")
    return LabelledImages(images.find_all([*rows], labels), classes=tuple(rows.values()))


def _row(line: str, number: int, labels: Path, classes: Sequence[str]) -> tuple[str, int]:
    match = _ROW.fullmatch(line)
    if match is None:
        raise InputError(
            f"--labels {labels}: line {number} is not `file class-index`: {printable(line.strip())!r}. "
            "Write the file and the number of its class, counted from 0, with a space between."
        )
    label = int(match["label"])
    if classes and label >= len(classes):
        raise InputError(
            f"--labels {labels}: line {number} has class index {label}, but the spec has the classes 0 to "
            f"{len(classes) - 1}. Give the labels of the data that the model was trained on."
        )
    return match["file"], label


def _twice(labels: Path, number: int, name: str, before: int, label: int) -> str:
    other = "" if label == before else f", as class {label} and as class {before}"
    return (
        f"--labels {labels}: line {number} labels {printable(name)} again{other}. Take one out: it would count twice."
    )
