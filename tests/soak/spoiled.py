"""Images that no server can read, each with what its error must say."""

import struct
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Spoiled:
    """What is sent, and a part of the error that must come back."""

    kind: str
    data: bytes
    reason: str


def spoiled(good: bytes) -> tuple[Spoiled, ...]:
    """One of each kind, made from a whole JPEG where they need one."""
    text = b"this is a text file\n"
    whole = png(64, 64, rows=64)
    return (
        Spoiled("empty", b"", "0 bytes"),
        Spoiled("text", text, f"no JPEG, PNG, WebP, BMP or TIFF: {len(text)} bytes"),
        Spoiled("GIF", b"GIF89a" + bytes(64), "no JPEG, PNG, WebP, BMP or TIFF: 70 bytes"),
        Spoiled("JPEG without its end", good[:-2], f"truncated JPEG: {len(good) - 2} bytes"),
        Spoiled("half a JPEG", good[: len(good) // 2], "truncated JPEG"),
        Spoiled("JPEG of zeros", good[:2] + bytes(300), "truncated JPEG: 302 bytes"),
        Spoiled("PNG without its end", whole[:-12], "truncated PNG"),
        Spoiled("PNG of another size than it says", png(64, 64, rows=32), "OpenCV cannot decode the image"),
        Spoiled("PNG that says it is too large", png(20000, 20000, rows=0), "20000 x 20000 pixels"),
        # Large, but not too large: 48 MB are taken for it before the data ends.
        Spoiled("PNG with half of its 4000 x 4000", png(4000, 4000, rows=2000), "OpenCV cannot decode the image"),
    )


def png(width: int, height: int, rows: int) -> bytes:
    """A black PNG that says width x height and holds so many rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows * (3 * width + 1)))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
