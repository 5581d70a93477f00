"""The numbers that a PNG of one channel holds: OpenCV spreads 2 bits over 0 to 255, and makes colours of a palette."""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
#: More pixels than that are no mask of an image that is accepted.
_MAX_PIXELS: Final = 89_478_485


class PngError(ValueError):
    """Not a PNG of one channel; the message says why."""


def stored_numbers(data: bytes) -> npt.NDArray[np.uint8]:
    """The numbers of a grey or palette PNG of 1, 2, 4, 8 or 16 bits, uint8 [height, width].

    Raises:
        PngError: it is no such file, it is broken, or has numbers above 255.
    """
    if not data.startswith(_SIGNATURE):
        raise PngError("not a PNG")
    chunks = list(_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13 or chunks[-1][0] != b"IEND":
        raise PngError("a PNG that is cut short or broken")
    width, height, bits, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour not in (_GREY, _PALETTE):
        raise PngError("a PNG of several channels, that is of colours")
    if not 0 < width * height <= _MAX_PIXELS:
        raise PngError(f"a PNG of {width} x {height} pixels")
    header = struct.pack(">IIBBBBB", width, height, bits, _GREY, *rest)
    body = [(b"IHDR", header), *(each for each in chunks if each[0] == b"IDAT"), (b"IEND", b"")]
    return _unscaled(_decoded(_SIGNATURE + b"".join(_chunk(*each) for each in body)), bits)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk up to IEND or where the data end."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if at + 12 + length > len(data):
            raise PngError("a PNG that is cut short")
        if struct.unpack_from(">I", data, at + 8 + length)[0] != zlib.crc32(kind + content):
            raise PngError("a PNG with a wrong checksum")
        yield kind, content
        if kind == b"IEND":
            return
        at += 12 + length


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _decoded(data: bytes) -> npt.NDArray[np.generic]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise PngError(f"a PNG that OpenCV cannot decode: {error.err}") from error
    if pixels is None or pixels.ndim != 2:
        raise PngError("a PNG that is broken")
    return np.asarray(pixels)


def _unscaled(pixels: npt.NDArray[np.generic], bits: int) -> npt.NDArray[np.uint8]:
    """OpenCV makes 255 of the largest number that fewer than 8 bits can hold."""
    if bits < 8:
        return np.asarray(np.asarray(pixels, np.uint8) // (255 // (2**bits - 1)), np.uint8)
    if bits == 16 and int(np.asarray(pixels).astype(np.int64).max()) > 255:
        raise PngError("a PNG with numbers above 255")
    return np.asarray(pixels).astype(np.uint8)
