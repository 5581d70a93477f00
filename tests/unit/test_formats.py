"""WebP, BMP and TIFF decode to the right pixels, or are refused before OpenCV makes something of what is left."""

import struct
import zlib
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtriton.runtime.image import KINDS, SUFFIXES, ImageError, decode
from qtriton_client import images

Pixels = npt.NDArray[np.uint8]
RANDOM = np.random.default_rng(0)
SCENE: Pixels = RANDOM.integers(0, 256, (7, 10, 3), np.uint8).repeat(3, 0).repeat(3, 1)
LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)
#: TIFF 6.0, tag 274: what the eye should see of what is stored.
TURNS = {
    1: SCENE, 2: SCENE[:, ::-1], 3: SCENE[::-1, ::-1], 4: SCENE[::-1], 5: SCENE.swapaxes(0, 1),
    6: np.rot90(SCENE, -1), 7: SCENE.swapaxes(0, 1)[::-1, ::-1], 8: np.rot90(SCENE),
}  # fmt: skip


def encode(suffix: str, pixels: npt.NDArray[np.generic] = SCENE, *options: int) -> bytes:
    ok, data = cv2.imencode(suffix, pixels, list(options))
    assert ok
    return bytes(data.tobytes())


def tiff(
    pixels: npt.NDArray[np.generic] = SCENE,
    order: Literal["<", ">"] = "<",
    following: int = 0,
    rows: int = 8,
    **more: int,
) -> bytes:
    """A TIFF of strips, deflated where `compression` is 8; further tags by their numbers, as t274=6."""
    height, width, samples = pixels.shape
    kept = pixels[..., ::-1].astype(pixels.dtype.newbyteorder(order))
    deflated = more.get("t259") == 8
    strips = [kept[at : at + rows].tobytes() for at in range(0, height, rows)]
    strips = [zlib.compress(each) for each in strips] if deflated else strips
    starts = [8 + sum(map(len, strips[:place])) for place in range(len(strips))]
    body = b"".join(strips)
    tags: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [8 * pixels.itemsize] * samples, 259: [1], 262: [2], 273: starts,
        277: [samples], 278: [rows], 279: [len(each) for each in strips],
    }  # fmt: skip
    tags |= {int(name[1:]): [value] for name, value in more.items()}
    at = 8 + len(body)
    behind, entries = at + 2 + 12 * len(tags) + 4, b""
    extra = b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            extra, packed = extra + packed, struct.pack(order + "I", behind + len(extra))
        entries += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", at)
    return head + body + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", following) + extra


def webp(orientation: int = 1, flags: int = 0x08) -> bytes:
    """A lossless WebP in the extended form, with an EXIF that turns it."""
    picture = encode(".webp", SCENE, *LOSSLESS)[12:]
    exif = b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    height, width = SCENE.shape[:2]
    canvas = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + canvas + picture + b"EXIF" + struct.pack("<I", len(exif)) + exif
    return b"RIFF" + struct.pack("<I", len(body)) + body


WHOLE = {
    "webp": encode(".webp", SCENE, *LOSSLESS),
    "bmp": encode(".bmp"),
    "tiff": encode(".tiff", SCENE, cv2.IMWRITE_TIFF_COMPRESSION, 1),
    "lzw": encode(".tiff", SCENE, cv2.IMWRITE_TIFF_COMPRESSION, 5),
    "strips": tiff(),
    "deflated": tiff(t259=8),
    "big endian": tiff(order=">"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_loses_nothing_is_exact(kind: str) -> None:
    np.testing.assert_array_equal(decode(WHOLE[kind]), SCENE)


def test_a_lossy_webp_is_close() -> None:
    y, x = np.mgrid[0:48, 0:64]
    smooth = np.stack([x * 3, y * 4, 255 - x * 2], axis=-1).astype(np.uint8)
    pixels = decode(encode(".webp", smooth, cv2.IMWRITE_WEBP_QUALITY, 95))
    assert pixels.shape == smooth.shape and np.abs(pixels.astype(int) - smooth).mean() < 4


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_a_webp_and_a_tiff(orientation: int) -> None:
    np.testing.assert_array_equal(decode(webp(orientation)), TURNS[orientation])
    np.testing.assert_array_equal(decode(tiff(t274=orientation)), TURNS[orientation])


def test_an_orientation_that_is_none_turns_nothing() -> None:
    np.testing.assert_array_equal(decode(webp(9)), SCENE)


def test_grey_alpha_and_sixteen_bits_become_bgr() -> None:
    grey, alpha = SCENE[..., 0], np.dstack([SCENE, np.full(SCENE.shape[:2], 9, np.uint8)])
    for suffix in (".bmp", ".tiff"):
        np.testing.assert_array_equal(decode(encode(suffix, grey)), grey[..., None].repeat(3, 2))
    np.testing.assert_array_equal(decode(encode(".webp", alpha, *LOSSLESS))[..., :], SCENE)
    np.testing.assert_array_equal(decode(encode(".bmp", alpha)), SCENE)
    np.testing.assert_array_equal(decode(tiff(SCENE.astype(np.uint16) * 257)), SCENE)


@pytest.mark.parametrize("kind", WHOLE)
def test_every_truncation_is_refused(kind: str) -> None:
    whole = WHOLE[kind]
    for length in range(2, len(whole) - 2, 7):
        with pytest.raises(ImageError):
            decode(whole[:length])


@given(data=st.data(), kind=st.sampled_from([*WHOLE]))
def test_whatever_is_written_into_a_header_is_an_image_or_a_reason(data: st.DataObject, kind: str) -> None:
    broken = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.sampled_from([*range(60), *range(len(broken) - 130, len(broken))]))] = data.draw(
            st.integers(0, 255)
        )
    try:
        pixels = decode(bytes(broken), 1 << 20)
    except ImageError:
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3


def test_data_of_a_deflated_tiff_that_are_spoilt_are_refused() -> None:
    """OpenCV gives what it has decoded, and calls it an image."""
    spoilt = bytearray(tiff(t259=8))
    spoilt[60:68] = bytes(8)
    with pytest.raises(ImageError, match="strip 1 of 3 is not whole"):
        decode(bytes(spoilt))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (webp(flags=0x0A), "an animated WebP: send one picture"),
        (tiff(following=8), "several pages: send one of them"),
        (tiff(t259=7), "compression 7. Save it in strips"),
        (tiff(t322=16), "in tiles. Save it in strips"),
        (tiff(t257=21000), "not the strips"),
        (tiff(SCENE.astype(np.float32)), "of 32 bits"),
        (WHOLE["bmp"][:28] + b"\x08\x00\x01" + WHOLE["bmp"][31:], "BMP of 8 bits and compression 1"),
    ],
)
def test_what_is_not_taken_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        WHOLE["bmp"][:18] + struct.pack("<ii", 40000, 40000) + WHOLE["bmp"][26:],
        tiff(t256=60000, t257=60000),
        webp()[:24] + b"\xff" * 6 + webp()[30:],
    ],
    ids=["bmp", "tiff", "webp"],
)
def test_a_header_bomb_is_refused_before_decoding(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"pixels are more than|truncated BMP"):
        decode(data)


def test_the_client_sends_what_is_decoded() -> None:
    assert set(images._SUFFIXES) == SUFFIXES
    assert all(suffix.strip(".")[:3].lower() in KINDS.lower().replace("jpeg", "jpg jpeg") for suffix in SUFFIXES)
