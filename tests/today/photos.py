"""Photos that packages bundle: what every pipeline is asked, and what random weights settle on."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from today.pictures import Pixels

if TYPE_CHECKING:
    from torch import Tensor

#: The folder of `write_four_to_three`, beside the rows.
FOUR_TO_THREE: Final = "photos-4-3"
#: What is cut out of the first: rows and columns.
CUT: Final = (slice(380, 920), slice(0, 810))


def write_photos(folder: Path) -> list[Path]:
    """Write the photos into a folder: upright and broad JPEG files, and a PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    upright, broad = (Path(shutil.copy(path, folder)) for path in _bundled())
    cut = folder / "people.png"
    cv2.imwrite(str(cut), cv2.imread(str(upright))[CUT])
    return [upright, broad, cut]


def write_four_to_three(folder: Path) -> None:
    """Write what Ultralytics 8.3 maps back exactly: photos whose borders in a square are whole pixels, PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    upright, broad = (cv2.imread(str(path)) for path in _bundled())
    for name, pixels in (("bus", upright), ("parkour", broad[:810, :1080]), ("people", upright[CUT][:, :720])):
        cv2.imwrite(str(folder / f"{name}.png"), pixels)


def _bundled() -> list[Path]:
    return [package("ultralytics") / "assets/bus.jpg", package("libreyolo") / "assets/parkour.jpg"]


def batch(height: int, width: int = 0) -> Tensor:
    """Each photo stretched and within borders, RGB in 0..1, [6, 3, height, width]; a square where no width is given."""
    import torch

    size = (height, width or height)
    upright, broad = (cv2.imread(str(path))[..., ::-1] for path in _bundled())
    pixels = [upright, broad, upright[CUT]]
    images = np.stack(
        [*(cv2.resize(each, size[::-1]) for each in pixels), *(letterbox(each, *size) for each in pixels)]
    )
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def letterbox(pixels: Pixels, height: int, width: int) -> Pixels:
    """An image inside grey borders, as YOLO detectors see it."""
    ratio = min(height / pixels.shape[0], width / pixels.shape[1])
    inner = cv2.resize(pixels, (round(pixels.shape[1] * ratio), round(pixels.shape[0] * ratio)))
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    framed = np.full((height, width, 3), 114, np.uint8)
    framed[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return framed


def package(name: str) -> Path:
    """Where an installed package lies."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, f"{name} is not in this environment"
    return Path(spec.origin).parent
