"""Images with the statistics of photos, from a seed: what calibrates and measures models without data of their own."""

from pathlib import Path

import cv2
import numpy as np

SEED = 7
HEIGHT, WIDTH = 480, 640


def write_photos(folder: Path, count: int) -> None:
    """Write so many JPEG files; the same pixels every time."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(SEED)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03d}.jpg"), photo(random))


def photo(random: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One image: detail at every scale, half as strong at twice the frequency, as in natural images, and hard edges."""
    pixels = np.full((HEIGHT, WIDTH, 3), random.uniform(60, 190), np.float32)
    for octave in range(8):
        coarse = random.normal(0, 60 / 2**octave, (3 * 2**octave, 4 * 2**octave, 3)).astype(np.float32)
        pixels += cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):
        corner, size = random.integers(0, (WIDTH, HEIGHT)), random.integers(20, 240, 2)
        colour = random.uniform(0, 255, 3)
        cv2.rectangle(pixels, corner.tolist(), (corner + size).tolist(), colour.tolist(), cv2.FILLED)
    return pixels.clip(0, 255).astype(np.uint8)
