"""What the headers of WebP, BMP and TIFF say: the size, before anything is decoded, and whether the file is whole.

OpenCV decodes what is left of a broken TIFF and calls it a success, so what it should have is checked here. Kinds that
hardly a photo has, and whose decoders are seldom looked at, are refused.
"""

import struct
import zlib
from typing import Final, NamedTuple

from .errors import ImageError

#: What EXIF begins with in a JPEG, and in some WebP files.
EXIF: Final = b"Exif\x00\x00"


class Header(NamedTuple):
    """The size in pixels, and how the image is turned, 1 to 8 as EXIF counts, where OpenCV does not see to that."""

    width: int
    height: int
    orientation: int = 1


# ---- WebP: RFC 9649 ------------------------------------------------------------------------------------------------

_VP8_START: Final = b"\x9d\x01\x2a"
_ANIMATED: Final = 0x02


def is_webp(data: bytes) -> bool:
    """Whether data begin as a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def read_webp(data: bytes) -> Header:
    """The header of a WebP.

    Raises:
        ImageError: it is cut short, corrupt or animated.
    """
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < 8 + length or length < 22:
        raise ImageError(f"a truncated WebP: {len(data)} bytes, its header tells of {8 + length}")
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        if body[0] & _ANIMATED:
            raise ImageError("an animated WebP: send one picture")
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
        return Header(width, height, _webp_orientation(data[: 8 + length]))
    if kind == b"VP8 " and body[3:6] == _VP8_START:
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", body, 6))
        return Header(width, height)
    if kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    raise ImageError("a corrupt WebP: it begins with no picture")


def _webp_orientation(data: bytes) -> int:
    """What the EXIF of a WebP says; 1 without one."""
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] == b"EXIF":
            return exif_orientation(data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return 1


# ---- BMP: Microsoft's BITMAPINFOHEADER -----------------------------------------------------------------------------

_CORE_HEADER: Final = 12
_BITFIELDS: Final = 3
_BGRA_MASKS: Final = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)


def read_bmp(data: bytes) -> Header:
    """The header of a BMP.

    Raises:
        ImageError: it is cut short, or compressed.
    """
    if len(data) < 26:
        raise ImageError(f"a truncated BMP: {len(data)} bytes")
    start, size = struct.unpack_from("<II", data, 10)
    if size == _CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    elif size >= 40 and len(data) >= 54:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    else:
        raise ImageError("a corrupt or truncated BMP: its header is none")
    plain = compression == 0 and bits in (1, 4, 8, 24, 32)
    if not plain and not (compression == _BITFIELDS and bits == 32 and data[54:66] == _BGRA_MASKS):
        raise ImageError(f"a BMP of {bits} bits and compression {compression}. Send it uncompressed, of 8 or 24 bits")
    height = abs(height)  # below 0: the first row is the top one
    needed = start + (width * bits + 31) // 32 * 4 * height
    if width > 0 and len(data) < needed:
        raise ImageError(f"a truncated BMP: {len(data)} bytes, its header tells of {needed}")
    return Header(max(width, 0), height)


# ---- TIFF 6.0 ------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _STARTS, _ORIENTATION, _ROWS, _COUNTS = 256, 257, 258, 259, 273, 274, 278, 279
_TILE_WIDTH, _SAMPLES, _PLANAR = 322, 277, 284
_NONE, _LZW, _DEFLATE, _OLD_DEFLATE = 1, 5, 8, 32946
#: The codes of the types of whole numbers that a tag may have: bytes, shorts and longs.
_NUMBERS: Final = {1: "B", 3: "H", 4: "I"}
#: More strips than that are no picture of this size.
_MOST_VALUES: Final = 1 << 17


def is_tiff(data: bytes) -> bool:
    """Whether data begin as a TIFF."""
    return data[:4] in (b"II*\x00", b"MM\x00*")


def read_tiff(data: bytes, max_pixels: int) -> Header:
    """The header of a TIFF of one page; OpenCV turns it as it says.

    Raises:
        ImageError: it is cut short, of several pages, or coded in a way that is not taken.
    """
    tags = _Tags(data)
    header = Header(tags.one(_WIDTH), tags.one(_HEIGHT))
    if tags.following:
        raise ImageError("a TIFF of several pages: send one of them")
    bits, compression = set(tags.all(_BITS, 1)), tags.one(_COMPRESSION, _NONE)
    if _TILE_WIDTH in tags or bits not in ({8}, {16}) or compression not in (_NONE, _LZW, _DEFLATE, _OLD_DEFLATE):
        raise ImageError(
            f"a TIFF of {max(bits)} bits and compression {compression}{', in tiles' * (_TILE_WIDTH in tags)}. Save it "
            "in strips, of 8 or 16 bits, uncompressed or with LZW or deflate"
        )
    if header.width * header.height <= max_pixels:  # else the caller refuses it
        _check_strips(data, tags, header, bits.pop() // 8)
    return header


def _check_strips(data: bytes, tags: "_Tags", header: Header, depth: int) -> None:
    """Raise ImageError where the pixels are not all there."""
    starts, counts = tags.all(_STARTS), tags.all(_COUNTS)
    samples, planes = tags.one(_SAMPLES, 1), 1
    if tags.one(_PLANAR, 1) == 2:
        samples, planes = 1, samples
    rows = max(min(tags.one(_ROWS, header.height), header.height), 1)
    strips = -(-header.height // rows)
    if len(starts) != strips * planes or len(counts) != len(starts):
        raise ImageError("a corrupt TIFF: it has not the strips that its size asks for")
    compression = tags.one(_COMPRESSION, _NONE)
    for number, (start, count) in enumerate(zip(starts, counts, strict=True)):
        left = min(rows, header.height - number % strips * rows)
        needed = left * header.width * samples * depth
        strip = data[start : start + count]
        short = len(strip) < count or not count or (compression == _NONE and count < needed)
        if short or (compression in (_DEFLATE, _OLD_DEFLATE) and not _inflates(strip, needed)):
            raise ImageError(f"a truncated or corrupt TIFF: strip {number + 1} of {len(starts)} is not whole")


def _inflates(strip: bytes, needed: int) -> bool:
    """Whether a strip holds so many bytes; zlib's checksum is behind them."""
    inflater = zlib.decompressobj()
    try:
        return len(inflater.decompress(strip, needed + 1)) == needed and inflater.eof
    except zlib.error:
        return False


def exif_orientation(exif: bytes) -> int:
    """How EXIF says that an image is turned, 1 to 8; 1 where it says nothing that one can read, as viewers do."""
    try:
        orientation = _Tags(exif.removeprefix(EXIF)).one(_ORIENTATION, 1)
    except ImageError:
        return 1
    return orientation if 1 <= orientation <= 8 else 1


class _Tags:
    """The first directory of a TIFF, which EXIF is, too."""

    def __init__(self, data: bytes) -> None:
        if not is_tiff(data):
            raise ImageError("a corrupt TIFF: it has no header")
        self._data, self._order = data, "<" if data[:1] == b"I" else ">"
        (at,) = self._unpack("I", 4)
        (count,) = self._unpack("H", at)
        entries = [(*self._unpack("HHI", at + 2 + 12 * place), at + 10 + 12 * place) for place in range(count)]
        self._entries = {tag: (kind, values, place) for tag, kind, values, place in entries}
        #: Where the next page is; 0 for none.
        (self.following,) = self._unpack("I", at + 2 + 12 * count)

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def all(self, tag: int, default: int | None = None) -> tuple[int, ...]:
        """The whole numbers of a tag."""
        if tag not in self._entries and default is not None:
            return (default,)
        kind, count, at = self._entries.get(tag, (0, 0, 0))
        if kind not in _NUMBERS or not 0 < count <= _MOST_VALUES:
            raise ImageError(f"a corrupt TIFF: its tag {tag} is missing or no number")
        code = f"{count}{_NUMBERS[kind]}"
        if struct.calcsize("=" + code) > 4:
            (at,) = self._unpack("I", at)
        return self._unpack(code, at)

    def one(self, tag: int, default: int | None = None) -> int:
        """The first of them."""
        return self.all(tag, default)[0]

    def _unpack(self, code: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + code, self._data, at)
        except struct.error:
            raise ImageError(f"a truncated TIFF: {len(self._data)} bytes") from None
