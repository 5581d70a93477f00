"""Decode an encoded JPEG or PNG into pixels, or say why it cannot be done."""

import re
import struct

import cv2
import numpy as np
import numpy.typing as npt

#: The default of Pillow's decompression bomb warning: a quarter of a GiB of 3-byte pixels.
MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
# A marker that ends entropy-coded data: 0xFF00 is a stuffed byte, 0xFFD0-D7 are restarts and
# 0xFFFF is padding before a marker (ITU-T T.81, B.1.1.2 and B.1.1.5).
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Start-of-frame markers carry the size; C4, C8 and CC in this range are no frames (T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EOI, _SOS = 0xD9, 0xDA


class ImageError(ValueError):
    """An image that cannot be decoded; the message says why."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode one encoded image.

    EXIF orientation is applied; grey, CMYK, palette and 16-bit images become 8-bit BGR; alpha is dropped.

    Args:
        data: a whole JPEG or PNG file.
        max_pixels: the largest width x height that is decoded, checked in the header.

    Returns:
        uint8 [height, width, 3], BGR.

    Raises:
        ImageError: the data is neither JPEG nor PNG, is cut short, is corrupt, or is too large.
    """
    if not data:
        raise ImageError("the image is empty: 0 bytes")
    if data.startswith(_JPEG):
        width, height = _jpeg_size(data)
    elif data.startswith(_PNG):
        width, height = _png_size(data)
    else:
        raise ImageError(f"neither a JPEG nor a PNG: {len(data)} bytes that begin with {data[:8]!r}")
    if width == 0 or height == 0:
        raise ImageError(f"the image has no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(f"{width} x {height} pixels are more than the {max_pixels} that are accepted")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot decode the image: {error.err}") from error
    if pixels is None:
        raise ImageError("OpenCV cannot decode the image: it is corrupt")
    return np.asarray(pixels, np.uint8)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk the markers to the end-of-image and return (width, height).

    libjpeg fills what a truncated file lacks with grey and calls it a success, so the walk to the end
    is what tells a whole file; searching for the end marker alone would find an embedded thumbnail's.
    """
    size: tuple[int, int] | None = None
    at = len(_JPEG)
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            raise ImageError(f"a corrupt JPEG: no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _EOI:
            if size is None:
                raise ImageError("a corrupt JPEG: it ends before it states its size")
            return size
        if at + 4 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _FRAMES and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = (width, height)
        at += 2 + length
        if marker == _SOS:
            end = _END_OF_SCAN.search(data, at)
            if end is None:
                break
            at = end.start()
    raise ImageError(f"a truncated JPEG: {len(data)} bytes without an end-of-image marker")


def _png_size(data: bytes) -> tuple[int, int]:
    """Walk the chunks to IEND and return (width, height)."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        raise ImageError("a corrupt PNG: it does not begin with an IHDR chunk")
    width, height = struct.unpack_from(">II", data, 16)
    at = len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"IEND":
            return width, height
        at += 12 + length
    raise ImageError(f"a truncated PNG: {len(data)} bytes without an IEND chunk")
