"""Decode an encoded image into pixels, or say why it cannot be done."""

import re
import struct
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from .errors import ImageError
from .formats import Header, is_tiff, is_webp, read_bmp, read_tiff, read_webp

__all__ = ["KINDS", "MAX_PIXELS", "SUFFIXES", "ImageError", "decode"]

#: What is decoded, in words, and how such files end.
KINDS = "JPEG, PNG, WebP, BMP or TIFF"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
#: The default of Pillow's decompression bomb warning: a quarter of a GiB of 3-byte pixels.
MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
_BMP = b"BM"
#: OpenCV turns a JPEG and a TIFF as they say, a WebP in some versions only.
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
# A marker that ends entropy-coded data: 0xFF00 is a stuffed byte, 0xFFD0-D7 are restarts and
# 0xFFFF is padding before a marker (ITU-T T.81, B.1.1.2 and B.1.1.5).
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Start-of-frame markers carry the size; C4, C8 and CC in this range are no frames (T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EOI, _SOS = 0xD9, 0xDA
#: A frame whose coefficients come in several scans, bit by bit.
_PROGRESSIVE = 0xC2
#: Frames in Huffman codes. An arithmetic coder leaves out the zeros at the end of a scan, so there a decoder that waits
#: for more is no sign of a cut (T.81, D.1.8).
_HUFFMAN = frozenset({0xC0, 0xC1, _PROGRESSIVE})
#: What a marker begins with; 0xFF00 and a row of 0xFF are none. libjpeg skips whatever is before it (T.81, B.1.1.2).
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
#: Read as data of a scan, they change what is decoded, ones more than zeros; behind a whole one, libjpeg skips them.
_PROBE = bytes(range(253, 0, -3)) * 2
_GREY = 128


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode one encoded image.

    EXIF orientation is applied; grey, CMYK, palette and 16-bit images become 8-bit BGR; alpha is dropped.

    Args:
        data: a whole file, JPEG, PNG, WebP (not animated), BMP or TIFF (one page; uncompressed, LZW or deflate).
        max_pixels: the largest width x height that is decoded, checked in the header.

    Returns:
        uint8 [height, width, 3], BGR.

    Raises:
        ImageError: the data is none of these, is cut short, is corrupt, or is too large.
    """
    if not data:
        raise ImageError("the image is empty: 0 bytes")
    jpeg = _read_jpeg(data) if data.startswith(_JPEG) else None
    width, height, orientation = (jpeg.width, jpeg.height, 1) if jpeg else _read_header(data, max_pixels)
    if width == 0 or height == 0:
        raise ImageError(f"the image has no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(f"{width} x {height} pixels are more than the {max_pixels} that are accepted")
    pixels = _pixels(data) if orientation == 1 else _turned(_pixels(data, _AS_STORED), orientation)
    if jpeg is not None and _may_be_short(jpeg, pixels) and _is_short(data, jpeg, pixels):
        raise ImageError("a truncated JPEG: its end is there, but what comes before it is cut short")
    return pixels


def _read_header(data: bytes, max_pixels: int) -> Header:
    """What a file that is no JPEG says of itself."""
    if data.startswith(_PNG):
        return Header(*_png_size(data))
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


def _pixels(data: bytes, flags: int = cv2.IMREAD_COLOR) -> npt.NDArray[np.uint8]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot decode the image: {error.err}") from error
    if pixels is None:
        raise ImageError("OpenCV cannot decode the image: it is corrupt")
    return np.asarray(pixels, np.uint8)


class _Jpeg(NamedTuple):
    """What the markers of a JPEG say."""

    width: int
    height: int
    components: int
    #: The marker of the frame: how the data are coded.
    coding: int
    #: How many scans there are, and where the data of the last one begin and end.
    scans: int
    begin: int
    end: int


def _read_jpeg(data: bytes) -> _Jpeg:
    """Walk the markers to the end-of-image.

    libjpeg fills what a truncated file lacks with grey and calls it a success, so the walk to the end is the first
    that tells a whole file; searching for the end marker alone would find an embedded thumbnail's.
    """
    frame: tuple[int, int, int, int] | None = None
    scans = begin = end = 0
    at = len(_JPEG)
    while (found := _MARKER.search(data, at)) is not None:
        at = found.end()
        marker = data[at - 1]
        if marker == _EOI:
            if frame is None:
                raise ImageError("a corrupt JPEG: it ends before it states its size")
            return _Jpeg(*frame, scans, begin, end)
        if at + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _FRAMES and length >= 8 and at + 8 <= len(data):
            height, width, components = struct.unpack_from(">HHB", data, at + 3)
            frame = (width, height, components, marker)
        at += length
        if marker == _SOS:
            scans, begin = scans + 1, at
            stop = _END_OF_SCAN.search(data, at)
            if stop is None:
                break
            at = end = stop.start()
    raise ImageError(f"a truncated JPEG: {len(data)} bytes without an end-of-image marker")


def _may_be_short(jpeg: _Jpeg, pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether a look at what was decoded leaves a doubt that it is whole; it costs microseconds.

    One scan that is cut short ends in the grey of coefficients that are all 0, in a corner of the image. Of several,
    the last is cut, and what is lost are bits or colours of some blocks, which need not show.
    """
    if jpeg.coding not in _HUFFMAN:
        return False
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    return jpeg.scans > 1 or jpeg.components > 3 or bool((abs(corners - _GREY) <= 1).all(axis=-1).any())


def _is_short(data: bytes, jpeg: _Jpeg, pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether more data at the end of the last scan change the image: then the decoder was still waiting for them.

    Restart markers are among them, from that which would come next, as it may wait for one.
    """
    restarts = _RESTART.findall(data, jpeg.begin, jpeg.end)
    last = restarts[-1][0] - 0xD0 if restarts else -1
    probe = b"".join((_PROBE, *(bytes([0xFF, 0xD0 + (last + count) % 8]) + _PROBE[count:] for count in range(1, 9))))
    return not np.array_equal(_pixels(data[: jpeg.end] + probe + data[jpeg.end :]), pixels)


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
