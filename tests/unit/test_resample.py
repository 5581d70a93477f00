"""Scaling as Pillow does it, to the last bit, and the sizes and crops of torchvision."""

from typing import Any

import numpy as np
import pytest

from qtriton.runtime.pre import CenterCrop, Frame, Geometry, ResizeShort
from qtriton.runtime.resample import Filter, resample

Image: Any = pytest.importorskip("PIL.Image", reason="Pillow is not in this environment")
FILTERS: dict[Filter, int] = {"pillow_linear": Image.BILINEAR, "pillow_cubic": Image.BICUBIC}


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("sharp", [False, True])
def test_the_numbers_are_pillows(kind: Filter, sharp: bool) -> None:
    rng = np.random.default_rng(sharp)
    for _ in range(60):
        height, width, new_height, new_width = map(int, rng.integers(1, 90, 4))
        noise = rng.integers(0, 256, (height, width, 3))
        pixels = np.where(noise > 127, 255, 0).astype(np.uint8) if sharp else noise.astype(np.uint8)
        # One side after the other: which is first where both change differs among releases of Pillow.
        wider = Image.fromarray(pixels).resize((new_width, height), FILTERS[kind])
        expected = np.asarray(wider.resize((new_width, new_height), FILTERS[kind]))
        np.testing.assert_array_equal(resample(pixels, new_height, new_width, kind), expected)


def test_one_channel_stays_one() -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert resample(pixels, 4, 5, "pillow_cubic").shape == (4, 5, 1)


@pytest.mark.parametrize(("height", "width"), [(480, 641), (333, 500), (57, 199), (256, 301)])
def test_sizes_and_crops_are_torchvisions(height: int, width: int) -> None:
    """Resize(size) gives int(size * long / short), CenterCrop begins at round(spare / 2): transforms/functional.py."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    frame = ResizeShort(37, interpolation="pillow_linear", rounding="down")(Frame(pixels, Geometry(height, width)))
    long = int(37 * max(height, width) / min(height, width))
    assert frame.pixels.shape[:2] == ((37, long) if height <= width else (long, 37))
    cut = CenterCrop((32, 32), rounding="even")(frame)
    top, left = round((frame.pixels.shape[0] - 32) / 2), round((frame.pixels.shape[1] - 32) / 2)
    np.testing.assert_array_equal(cut.pixels, frame.pixels[top : top + 32, left : left + 32])
    assert (cut.geometry.pad_x, cut.geometry.pad_y) == (-left, -top)
