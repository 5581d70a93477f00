"""What a row of the matrix is, and the files that stand for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np

from today.pictures import Pixels

#: What a home project makes of one photo, by the names of the results.
Results: TypeAlias = dict[str, Any]
Pipeline: TypeAlias = Callable[[Path], Results]


@dataclass(frozen=True)
class Row:
    """One model.

    `make` writes the ONNX file as the home project does, or a folder called the same without .onnx, and gives that
    project's own way from a photo to results:
    detection: boxes [n, 4] (x1, y1, x2, y2 in pixels of the photo), scores [n], classes [n];
    segmentation inside boxes: the same and masks bool [n, height, width], the photo at any scale;
    pose: the same and keypoints [n, k, 2 or 3];
    rotated boxes: polygons [n, 4, 2], scores, classes; text: polygons [n, 4, 2]; classification: scores [classes];
    segmentation: class_map [height, width].
    """

    name: str
    family: str
    task: str
    make: Callable[[Path], Pipeline]
    #: What a user must say beside `name:`, as YAML; none where the file says all.
    spec: str = ""
    #: Whether the weights are trained.
    real: bool = False
    #: The score from which the home project reports.
    threshold: float = 0.25
    #: What draws pictures of what the photos do not show.
    drawn: tuple[Callable[[], Pixels], ...] = ()
    #: The folder of the photos beside the rows.
    photos: str = "photos"


def write(row: Row, folder: Path) -> None:
    """Write `NAME/best.onnx` or `NAME/best`, `NAME/facts.json` and `NAME/expected.npz`."""
    photos = [*sorted((folder / row.photos).iterdir()), *(draw(each, folder / "drawn") for each in row.drawn)]
    own = folder / row.name
    own.mkdir(parents=True, exist_ok=True)
    pipeline = row.make(own / "best.onnx")
    arrays = {f"{photo.name}/{name}": np.array(array) for photo in photos for name, array in pipeline(photo).items()}
    assert not row.real or any(array.size for array in arrays.values()), f"{row.name} finds nothing"
    np.savez_compressed(own / "expected.npz", **arrays)
    facts = {name: getattr(row, name) for name in ("family", "task", "spec", "real", "threshold")}
    facts["photos"] = [str(photo.relative_to(folder)) for photo in photos]
    (own / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


def draw(picture: Callable[[], Pixels], folder: Path) -> Path:
    """Write a picture, called after what draws it, as PNG."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{picture.__name__}.png"
    cv2.imwrite(str(path), picture())
    return path
