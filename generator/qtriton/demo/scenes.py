"""Scenes for the demo detector: real handwritten digits on procedural backgrounds, with their boxes."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from qtriton.errors import SetupError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]
    Image: TypeAlias = npt.NDArray[np.uint8]
    Rng: TypeAlias = np.random.Generator

Split = Literal["train", "calibration", "validation"]

#: The file with the labels of a folder of scenes.
LABELS: Final = "instances.json"
#: First and last + 1 of a split's digits in the shuffled 1797 of scikit-learn: no digit is in two splits.
SPLITS: Final[dict[Split, tuple[int, int]]] = {
    "train": (0, 1297),
    "calibration": (1297, 1497),
    "validation": (1497, 1797),
}
#: A pixel belongs to a digit, and so inside its box, where the ink covers at least this share of it.
INK: Final = 0.4
#: Pixels around a box into which the faint edge of the ink may run.
_MARGIN: Final = 4
_JPEG_QUALITY: Final = 92


@dataclass(frozen=True)
class Scene:
    """One image and all that is known of it, in pixels of the image.

    image: uint8 [H, W, 3], BGR. boxes: float32 [n, 4], x1, y1, x2, y2. classes: int64 [n], the digits.
    samples: the digits' indices in scikit-learn's data. ink: float32 [H, W], the share of ink in a pixel.
    """

    image: "Image"
    boxes: "Array"
    classes: "Array"
    samples: tuple[int, ...]
    ink: "Array"


def scene(seed: int, split: Split) -> "tuple[Image, Array, Array]":
    """Image uint8 BGR [H, W, 3], boxes float32 [n, 4] xyxy in pixels, classes int64 [n]."""
    drawn = draw(seed, split)
    return drawn.image, drawn.boxes, drawn.classes


def draw(seed: int, split: Split, most: int = 8) -> Scene:
    """Draw the scene of a seed, the same for the same seed: 3 to `most` digits whose boxes do not overlap.

    Images have 320x240 to 400x300 pixels; a digit that finds no free place is left out.
    """
    import numpy as np

    rng = np.random.default_rng((seed, SPLITS[split][0]))
    width, height = int(rng.integers(320, 401)), int(rng.integers(240, 301))
    canvas = _background(rng, height, width)
    ink = np.zeros((height, width), np.float32)
    boxes: list[tuple[int, int, int, int]] = []
    samples: list[int] = []
    for _ in range(int(rng.integers(3, most + 1))):
        sample = int(rng.choice(_indices(split)))
        glyph = _glyph(rng, sample)
        size = (glyph.shape[0] - 2 * _MARGIN, glyph.shape[1] - 2 * _MARGIN)
        box = _free_place(rng, size, (height, width), boxes)
        if box is None:
            continue
        _stamp(rng, canvas, ink, glyph, box)
        boxes.append(box)
        samples.append(sample)
    canvas += rng.normal(0, rng.uniform(0, 6), canvas.shape[:2]).astype(np.float32)[..., None]
    classes = _digits()[1][samples].astype(np.int64)
    image = canvas.clip(0, 255).astype(np.uint8)
    return Scene(image, np.asarray(boxes, np.float32).reshape(-1, 4), classes, tuple(samples), ink)


def write_dataset(folder: Path, count: int, seed: int, split: Split, labels: bool) -> None:
    """Write `count` scenes as 000000.jpg ... and, with labels, instances.json in COCO's format.

    The same arguments give the same bytes with the same version of OpenCV.
    """
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        # Folders of neighbouring seeds share no scene as long as none has more than 100000.
        image, boxes, classes = scene(seed * 100_000 + index, split)
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        name = f"{index:06d}.jpg"
        (folder / name).write_bytes(data.tobytes())
        images.append({"id": index + 1, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
        for box, digit in zip(boxes.tolist(), classes.tolist(), strict=True):
            annotations.append(_annotation(len(annotations) + 1, index + 1, box, digit))
    if labels:
        categories = [{"id": digit, "name": str(digit)} for digit in range(10)]
        coco = {"images": images, "annotations": annotations, "categories": categories}
        (folder / LABELS).write_text(json.dumps(coco), encoding="utf-8")


def _annotation(number: int, image: int, box: list[float], digit: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    size = (x2 - x1, y2 - y1)
    return {
        "id": number,
        "image_id": image,
        "category_id": digit,
        "bbox": [x1, y1, *size],
        "area": size[0] * size[1],
        "iscrowd": 0,
    }


@functools.cache
def _digits() -> "tuple[Array, Array]":
    """scikit-learn's 1797 handwritten digits: float32 [1797, 8, 8] from 0 to 1, and their values."""
    import numpy as np

    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SetupError(
            "the demo's scenes need scikit-learn's handwritten digits. Run `pip install scikit-learn`."
        ) from error
    data = load_digits()
    return data.images.astype(np.float32) / 16, data.target


@functools.cache
def _indices(split: Split) -> "Array":
    import numpy as np

    first, end = SPLITS[split]
    return np.random.default_rng(1797).permutation(len(_digits()[0]))[first:end]


def _glyph(rng: "Rng", sample: int) -> "Array":
    """One digit's ink, slanted and turned a little: float32 [h, w], 0 to 1, _MARGIN around what is >= INK."""
    import cv2
    import numpy as np

    height = rng.uniform(20, 72)
    cells = np.pad(_digits()[0][sample], 3)
    scale_y = height / 8
    scale_x = scale_y * rng.uniform(0.8, 1.15)
    side = round(14 * max(scale_x, scale_y) * 1.1)
    angle, shear = rng.uniform(-0.22, 0.22), rng.uniform(-0.25, 0.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[scale_x, shear * scale_x], [0, scale_y]])
    offset = side / 2 - matrix @ np.array([6.5, 6.5])
    # Enlarged first, since warpAffine's cubic kernel leaves the 8x8 grid visible.
    fine = cv2.resize(cells, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    matrix, offset = matrix / 8, offset - matrix @ np.array([0.4375, 0.4375])
    placed = np.column_stack([matrix, offset])
    warped = cv2.warpAffine(cv2.GaussianBlur(fine, (0, 0), 2.0), placed, (side, side))
    middle, slope = rng.uniform(0.3, 0.45), rng.uniform(2.5, 5)
    ink: Array = ((warped - middle) * slope + 0.5).clip(0, 1).astype(np.float32)
    rows, columns = np.nonzero((ink >= INK).any(1))[0], np.nonzero((ink >= INK).any(0))[0]
    ink = np.pad(ink, _MARGIN)
    return ink[rows[0] : rows[-1] + 1 + 2 * _MARGIN, columns[0] : columns[-1] + 1 + 2 * _MARGIN]


def _free_place(
    rng: "Rng", size: tuple[int, int], canvas: tuple[int, int], taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    """A box of that size (height, width) that at most touches the others, or None after 30 tries."""
    for _ in range(30):
        x1 = int(rng.integers(_MARGIN, canvas[1] - size[1] - _MARGIN))
        y1 = int(rng.integers(_MARGIN, canvas[0] - size[0] - _MARGIN))
        x2, y2 = x1 + size[1], y1 + size[0]
        if all(x1 >= other[2] or x2 <= other[0] or y1 >= other[3] or y2 <= other[1] for other in taken):
            return x1, y1, x2, y2
    return None


def _stamp(rng: "Rng", canvas: "Array", ink: "Array", glyph: "Array", box: tuple[int, int, int, int]) -> None:
    """Draw a glyph into the canvas in a colour that can be told from what is behind it."""
    import numpy as np

    x1, y1, x2, y2 = box
    place = slice(y1 - _MARGIN, y2 + _MARGIN), slice(x1 - _MARGIN, x2 + _MARGIN)
    behind = canvas[place]
    light = float(behind.mean())
    distance = rng.uniform(65, 150)
    # Away from the background's brightness, to the side that has room for it.
    lighter = light + distance < 245 and (light < 110 or rng.random() < 0.4)
    target = light + distance if lighter else light - distance
    colour = (target + rng.uniform(-40, 40, 3)).clip(0, 255)
    colour += (target - colour.mean()) * 0.8
    alpha = (glyph * rng.uniform(0.85, 1.0))[..., None]
    canvas[place] = behind * (1 - alpha) + colour.astype(np.float32) * alpha
    ink[place] = np.maximum(ink[place], glyph)


def _background(rng: "Rng", height: int, width: int) -> "Array":
    """A texture, float32 [height, width, 3]: a gradient, noise of several octaves, stripes and clutter."""
    import numpy as np

    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (float(np.cos(angle)) * x / width + float(np.sin(angle)) * y / height)[..., None]
    base = (rng.uniform(40, 215) + rng.uniform(-35, 35, 3)).astype(np.float32)
    canvas = base + ramp * rng.uniform(-60, 60, 3).astype(np.float32)
    canvas += _noise(rng, height, width) * np.float32(rng.uniform(5, 35))
    if rng.random() < 0.5:
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 50)
        wave = np.sin((float(np.cos(angle)) * x + float(np.sin(angle)) * y) * float(2 * np.pi / period))
        canvas += (wave * rng.uniform(4, 18))[..., None]
    return _clutter(rng, canvas)


def _noise(rng: "Rng", height: int, width: int) -> "Array":
    """Noise of four octaves, [height, width, 3], roughly from -1 to 1, a little coloured."""
    import cv2
    import numpy as np

    total = np.zeros((height, width, 3), np.float32)
    for octave, weight in zip((4, 9, 24, 70), (0.5, 0.3, 0.2, 0.15), strict=True):
        cells = rng.uniform(-1, 1, (octave, octave, 3)).astype(np.float32)
        cells = 0.7 * cells[..., :1] + 0.3 * cells
        total += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(weight)
    return total


def _clutter(rng: "Rng", canvas: "Array") -> "Array":
    """Lines, ellipses and rectangles, half transparent, behind the digits."""
    import cv2

    height, width = canvas.shape[:2]
    layer = canvas.copy()
    for _ in range(int(rng.integers(0, 9))):
        colour = (canvas.mean() + rng.uniform(-70, 70) + rng.uniform(-25, 25, 3)).tolist()
        x1, x2 = rng.integers(0, width, 2).tolist()
        y1, y2 = rng.integers(0, height, 2).tolist()
        thickness = int(rng.choice([1, 2, 3, 5]))
        match int(rng.integers(0, 3)):
            case 0:
                cv2.line(layer, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
            case 1:
                axes = (5 + abs(x2 - x1) // 4, 5 + abs(y2 - y1) // 4)
                cv2.ellipse(layer, (x1, y1), axes, float(rng.uniform(0, 180)), 0, 360, colour, thickness)
            case _:
                size = (8 + abs(x2 - x1) // 4, 8 + abs(y2 - y1) // 4)
                cv2.rectangle(layer, (x1, y1), (x1 + size[0], y1 + size[1]), colour, -1)
    share = float(rng.uniform(0.4, 0.9))
    return canvas * (1 - share) + layer * share
