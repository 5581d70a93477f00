"""PNG files as tools write them that OpenCV does not: few bits, palettes, interlaced."""

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(ids: npt.NDArray[Any], colour: int, bits: int, interlaced: bool = False, scale: int = 1) -> bytes:
    """A PNG that stores the ids: grey (colour 0) or with a palette (3) of a colour an id, in so many bits."""
    passes = [ids[top::down, left::right] for top, left, down, right in _ADAM7] if interlaced else [ids]
    rows = [b"\x00" + _packed(row.astype(np.uint16) * scale, bits) for each in passes for row in each if row.size]
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, colour, 0, 0, int(interlaced))
    palette = bytes((7 * index) % 256 for index in range(3 * 2**bits)) if colour == 3 else b""
    chunks = [(b"IHDR", header), *([(b"PLTE", palette), (b"tRNS", b"\x00")] if palette else [])]
    chunks += [(b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _packed(row: npt.NDArray[np.uint16], bits: int) -> bytes:
    if bits == 16:
        return row.astype(">u2").tobytes()
    unpacked = (row[:, np.newaxis] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(unpacked.astype(np.uint8).reshape(-1)).tobytes()
