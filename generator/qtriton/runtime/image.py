"""Decode an encoded image into pixels, or say why it cannot be done."""

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import ImageError
from .formats import Header, is_tiff, is_webp, read_bmp, read_tiff, read_webp
from .jpeg import decode_jpeg, is_jpeg, read_jpeg
from .png import Png, decode_png, is_png, read_png

__all__ = ["KINDS", "MAX_PIXELS", "SUFFIXES", "ImageError", "decode"]

#: What is decoded, in words, and how such files end.
KINDS = "JPEG, PNG, WebP, BMP or TIFF"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
#: The default of Pillow's decompression bomb warning: a quarter of a GiB of 3-byte pixels.
MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3

_BMP = b"BM"
#: Of so many channels libjpeg-turbo knows the inks, and OpenCV what they look like.
_CMYK = 4
#: OpenCV turns a JPEG and a TIFF as they say, a WebP in some versions only.
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def decode(data: bytes, max_pixels: int = MAX_PIXELS, *, rgb: bool = False) -> npt.NDArray[np.uint8]:
    """Decode one encoded image.

    EXIF orientation is applied; grey, CMYK, palette and 16-bit images become 8-bit colours; alpha is dropped.

    Args:
        data: a whole file, JPEG, PNG, WebP (not animated), BMP or TIFF (one page; uncompressed, LZW or deflate).
        max_pixels: the largest width x height that is decoded, checked in the header.
        rgb: the order of the channels, which costs a JPEG or a PNG nothing here.

    Returns:
        uint8 [height, width, 3], BGR or RGB.

    Raises:
        ImageError: the data is none of these, is cut short, is corrupt, or is too large.
    """
    if not data:
        raise ImageError("the image is empty: 0 bytes")
    channels, png = 0, None
    if is_jpeg(data):
        header, channels = read_jpeg(data)
    elif is_png(data):
        png = read_png(data)
        header = png.header
    else:
        header = _read_header(data, max_pixels)
    width, height, orientation = header
    if width == 0 or height == 0:
        raise ImageError(f"the image has no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(f"{width} x {height} pixels are more than the {max_pixels} that are accepted")
    flags = _AS_STORED if channels or orientation != 1 else cv2.IMREAD_COLOR
    pixels = _pixels(data, channels, png, flags, rgb=rgb)
    return pixels if orientation == 1 else _turned(pixels, orientation)


def _read_header(data: bytes, max_pixels: int) -> Header:
    """What a file that is no JPEG and no PNG says of itself."""
    if is_webp(data):
        return read_webp(data)
    if data.startswith(_BMP):
        return read_bmp(data)
    if is_tiff(data):
        return read_tiff(data, max_pixels)
    raise ImageError(f"no {KINDS}: {len(data)} bytes that begin with {data[:8]!r}")


def _turned(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Pixels as EXIF's orientation wants them seen (TIFF 6.0, tag 274)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _pixels(data: bytes, channels: int, png: Png | None, flags: int, *, rgb: bool) -> npt.NDArray[np.uint8]:
    """By whatever reads this file fastest; the channels are a JPEG's, 0 for what is none."""
    if channels:
        colours = "RGB" if rgb else "BGR"
        decoded = decode_jpeg(data, "CMYK" if channels == _CMYK else colours)
        if decoded is not None and channels != _CMYK:
            return decoded
    if png is not None:
        decoded = decode_png(data, png, rgb=rgb)
        if decoded is not None:
            return decoded
    pixels = _webp_pixels(data) if is_webp(data) else _opencv_pixels(data, flags)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8) if rgb else pixels


def _opencv_pixels(data: bytes, flags: int) -> npt.NDArray[np.uint8]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot decode the image: {error.err}") from error
    if pixels is None:
        raise ImageError("OpenCV cannot decode the image: it is corrupt")
    return np.asarray(pixels, np.uint8)


def _webp_pixels(data: bytes) -> npt.NDArray[np.uint8]:
    """By Pillow: the libwebp of OpenCV before 4.8.1 writes beyond its memory for some files (CVE-2023-4863)."""
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            return np.asarray(image.convert("RGB"))[..., ::-1].copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"Pillow cannot decode the image: {error}") from error
