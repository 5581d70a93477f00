"""Write the demo's scenes as Ultralytics trains on them: `python -m today.scenes FOLDER`, where scikit-learn is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import yaml

from qtriton.demo.scenes import Split, scene

SEED: Final = 7
#: Split and number of images by their folder. Photos are what the trained models are asked.
COUNTS: Final[dict[str, tuple[Split, int]]] = {
    "train": ("train", 1200),
    "val": ("calibration", 32),
    "photos": ("validation", 8),
}


def write_scenes(folder: Path) -> None:
    """Write images, labels (class, centre and size in parts of the image) and data.yaml."""
    for name, (split, count) in COUNTS.items():
        images, labels = folder / "images" / name, folder / "labels" / name
        for each in (images, labels):
            each.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, boxes, classes = scene(SEED * 100_000 + number, split)
            cv2.imwrite(str(images / f"{number:04}.png"), image)
            height, width = image.shape[:2]
            centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
            rows = np.column_stack([classes, centre / [width, height], sides / [width, height]])
            np.savetxt(labels / f"{number:04}.txt", rows, fmt=["%d", *["%.6f"] * 4])
    data = {"path": str(folder.resolve()), "train": "images/train", "val": "images/val"}
    (folder / "data.yaml").write_text(yaml.safe_dump({**data, "names": [str(digit) for digit in range(10)]}))


if __name__ == "__main__":
    write_scenes(Path(sys.argv[1]))
