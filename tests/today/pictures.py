"""Pictures of what no photo at hand shows, for models that find text, parts of pages or pieces of puzzles."""

from __future__ import annotations

from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]

SENTENCE: Final = "the quick brown fox jumps over the lazy dog and runs away"


def page() -> Pixels:
    """A page with a title, paragraphs and a figure with its caption, [1000, 800, 3]."""
    pixels = np.full((1000, 800, 3), 255, np.uint8)
    write(pixels, "A Study of Foxes and Dogs", (110, 90), 1.3, 3)
    for row in range(24):
        top = 150 + 22 * row + (320 if row > 8 else 0)
        write(pixels, SENTENCE[row % 5 :], (70, top), 0.62)
    pixels[350:610, 200:600] = shades(260, 400)
    write(pixels, "Figure 1: a fox that jumps", (260, 640), 0.55)
    return pixels


def line() -> Pixels:
    """A line of text, [40, 250, 3], too long for PP-OCR's classifiers to keep its proportions."""
    pixels = np.full((40, 250, 3), 255, np.uint8)
    write(pixels, "Invoice 2026", (12, 29), 0.9, 2)
    return pixels


def short_line() -> Pixels:
    """A short line of text, [40, 100, 3], upside down."""
    pixels = np.full((40, 100, 3), (210, 235, 240), np.uint8)
    write(pixels, "Total", (10, 28), 0.8, 2)
    return np.ascontiguousarray(pixels[::-1, ::-1])


def signs() -> Pixels:
    """Single characters on a picture, as a captcha has them, [200, 360, 3]."""
    pixels = shades(200, 360)
    for index, sign in enumerate("K7QR"):
        write(pixels, sign, (30 + 85 * index, 80 + 60 * (index % 2)), 1.8, 4)
    return pixels


def slider() -> Pixels:
    """A picture with a piece of a puzzle and the place where it belongs, [320, 560, 3]."""
    pixels = shades(320, 560)
    for left, colour, opacity in ((40, 255, 0.25), (360, 0, 0.6)):
        shape = np.zeros(pixels.shape[:2], np.uint8)
        cv2.rectangle(shape, (left, 120), (left + 80, 200), 1, cv2.FILLED)
        cv2.circle(shape, (left + 40, 120), 16, 1, cv2.FILLED)
        cv2.circle(shape, (left + 80, 160), 16, 1, cv2.FILLED)
        pixels[shape > 0] = (pixels[shape > 0] * (1 - opacity) + colour * opacity).astype(np.uint8)
        outlines, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(pixels, outlines, -1, (250, 250, 250), 2, cv2.LINE_AA)
    return pixels


def write(pixels: Pixels, text: str, place: tuple[int, int], size: float, thickness: int = 1) -> None:
    """Write black text; `place` is the left end of its base line."""
    cv2.putText(pixels, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), thickness, cv2.LINE_AA)


def shades(height: int, width: int) -> Pixels:
    """Soft colours that change all over the picture."""
    coarse = np.random.default_rng(7).integers(60, 230, (5, 7, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
