"""Every kind of image that a client may send decodes to the right pixels or is refused with a reason."""

import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg

from qtriton.runtime.image import ImageError, decode

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def scene() -> Pixels:
    """A smooth uint8 [48, 64, 3] picture, which JPEG keeps to within a few levels."""
    y, x = np.mgrid[0:48, 0:64]
    pixels: Pixels = np.stack([x * 3, y * 4, 255 - x * 2], axis=-1).astype(np.uint8)
    return pixels


def encode(suffix: str, pixels: npt.NDArray[np.generic], *options: int) -> bytes:
    ok, data = cv2.imencode(suffix, pixels, list(options))
    assert ok
    return bytes(data.tobytes())


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and whose data is one empty block."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment that states how it is rotated."""
    tiff = b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_png_is_exact(scene: Pixels) -> None:
    np.testing.assert_array_equal(decode(encode(".png", scene)), scene)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("grey", [False, True])
def test_rgb_is_bgr_the_other_way_round(scene: Pixels, suffix: str, grey: bool) -> None:
    data = encode(suffix, scene[:, :, 1] if grey else scene)
    np.testing.assert_array_equal(decode(data, rgb=True), decode(data)[:, :, ::-1])


def test_a_turned_jpeg_can_be_rgb_too(scene: Pixels) -> None:
    data = with_orientation(encode(".jpg", scene), 6)
    np.testing.assert_array_equal(decode(data, rgb=True), decode(data)[:, :, ::-1])


def test_inks_can_be_rgb_too() -> None:
    inks = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    data = simplejpeg.encode_jpeg(inks, colorspace="CMYK", colorsubsampling="444")
    np.testing.assert_array_equal(decode(data, rgb=True), decode(data)[:, :, ::-1])


JPEG_CODINGS = [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)]


@pytest.mark.parametrize("options", JPEG_CODINGS)
def test_jpeg_in_every_coding(scene: Pixels, options: tuple[int, ...]) -> None:
    pixels = decode(encode(".jpg", scene, *options))
    assert pixels.shape == scene.shape
    assert np.abs(pixels.astype(int) - scene).mean() < 4


def test_grey_becomes_three_equal_channels(scene: Pixels) -> None:
    pixels = decode(encode(".png", scene[..., 0]))
    np.testing.assert_array_equal(pixels, np.repeat(scene[..., :1], 3, axis=-1))


def test_sixteen_bits_become_eight(scene: Pixels) -> None:
    np.testing.assert_array_equal(decode(encode(".png", scene.astype(np.uint16) * 256)), scene)


def test_alpha_is_dropped(scene: Pixels) -> None:
    with_alpha = np.dstack([scene, np.full(scene.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(decode(encode(".png", with_alpha)), scene)


def test_exif_rotation_is_applied(scene: Pixels) -> None:
    jpeg = encode(".jpg", scene)
    turned = np.rot90(decode(jpeg), -1)
    np.testing.assert_array_equal(decode(with_orientation(jpeg, 6)), turned)


def test_one_pixel() -> None:
    assert decode(encode(".png", np.full((1, 1, 3), 9, np.uint8))).tolist() == [[[9, 9, 9]]]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_every_truncation_is_refused(scene: Pixels, suffix: str) -> None:
    whole = encode(suffix, scene)
    # A PNG may lose its last four bytes, the checksum of an empty chunk, and no pixel with them.
    for length in range(len(whole) - 4):
        with pytest.raises(ImageError):
            decode(whole[:length])


def test_a_thumbnail_inside_does_not_hide_truncation(scene: Pixels) -> None:
    whole = encode(".jpg", scene)
    thumbnail = encode(".jpg", scene[:8, :8])
    nested = whole[:2] + b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + whole[2:]
    np.testing.assert_array_equal(decode(nested), decode(whole))
    with pytest.raises(ImageError, match="truncated JPEG"):
        decode(nested[:-40])


@pytest.mark.parametrize("options", JPEG_CODINGS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_cut_with_an_end_marker_glued_on_is_refused(scene: Pixels, options: tuple[int, ...], grey: bool) -> None:
    """libjpeg fills what is missing with grey and only warns."""
    large = cv2.resize(scene, (320, 240))
    whole = encode(".jpg", large[..., 0] if grey else large, *options)
    decode(whole)
    for share in (0.4, 0.5, 0.6):
        with pytest.raises(ImageError, match="truncated JPEG"):
            decode(whole[: int(len(whole) * share)].rstrip(b"\xff") + b"\xff\xd9")


@pytest.mark.parametrize("quality", [30, 90])
@pytest.mark.parametrize("interval", [0, 1, 3])
def test_a_progressive_cut_in_its_last_scan_is_refused(quality: int, interval: int) -> None:
    """What is lost there are bits of some coefficients: it hardly shows, but it is not what was sent."""
    noise = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, interval)
    whole = encode(".jpg", cv2.resize(noise, (160, 120)), cv2.IMWRITE_JPEG_PROGRESSIVE, 1, *options)
    pixels = decode(whole)
    begin = whole.rindex(b"\xff\xda")
    refused = 0
    for length in range(begin + 10, len(whole) - 2):
        cut = whole[:length].rstrip(b"\xff") + b"\xff\xd9"
        try:
            np.testing.assert_array_equal(decode(cut), pixels)
        except ImageError:
            refused += 1
    assert refused > 0.9 * (len(whole) - 2 - begin - 10)


#: A whole JPEG of 24 x 24 pixels that ends in grey, in arithmetic codes. `cjpeg -arithmetic` of libjpeg-turbo.
ARITHMETIC = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb00430050373c463c32504641465a55505f78c882786e6e78f5afb991c8ffffffffff"
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffc9000b080018001801011100ffcc0006"
    "00101005ffda0008010100003f00ac104c7df18da52ffd1421d0226327744f3c83f1122ce9748449dd9eebf29f2a82cf07416382018ae84d"
    "ed3341c665c6a8c0c60b63edfbe25966fa069d226f223b4bf0012d508fffd9"
)


def test_arithmetic_codes_may_end_early() -> None:
    """Their coder leaves out the zeros at the end of a scan, so the decoder of a whole file waits for more."""
    pixels = decode(ARITHMETIC)
    assert pixels.shape == (24, 24, 3) and (pixels[16:] == 128).all()


@pytest.mark.parametrize("options", JPEG_CODINGS)
def test_grey_in_a_corner_is_no_sign_of_a_cut(options: tuple[int, ...]) -> None:
    pixels = np.full((48, 64, 3), 128, np.uint8)
    np.testing.assert_array_equal(decode(encode(".jpg", pixels, *options)), pixels)


@pytest.mark.parametrize("stray", [b"\x00\x11", b"\x00" * 40, b"\xff\xff\x00\x07", b"\xff"])
def test_stray_bytes_before_a_marker_are_skipped_as_opencv_does(scene: Pixels, stray: bytes) -> None:
    whole = encode(".jpg", scene)
    (length,) = struct.unpack_from(">H", whole, 4)
    odd = whole[: 4 + length] + stray + whole[4 + length :]
    np.testing.assert_array_equal(decode(odd), decode(whole))


def test_stray_bytes_do_not_hide_a_cut(scene: Pixels) -> None:
    """libjpeg tells its first warning only."""
    whole = encode(".jpg", cv2.resize(scene, (320, 240)))
    (length,) = struct.unpack_from(">H", whole, 4)
    odd = whole[: 4 + length] + b"\x00\x11" + whole[4 + length :]
    with pytest.raises(ImageError, match=r"truncated JPEG: .* premature end of data segment"):
        decode(odd[: len(odd) * 6 // 10].rstrip(b"\xff") + b"\xff\xd9")


def test_damage_in_the_middle_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole = encode(".jpg", noise, cv2.IMWRITE_JPEG_RST_INTERVAL, 1)
    decode(whole)
    at = whole.index(b"\xff\xd3")
    with pytest.raises(ImageError, match="bad Huffman code"):
        decode(whole[: at - 40] + b"\xff\x00" * 20 + whole[at:])


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440", "411", "Gray"])
@pytest.mark.parametrize("size", [(1, 1), (7, 33), (61, 40)])
def test_jpegs_have_the_pixels_of_opencv(subsampling: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, 4, 3), np.uint8)
    pixels = cv2.resize(noise, size).reshape(*size[::-1], 3)
    data = (
        simplejpeg.encode_jpeg(pixels, 90, "BGR", subsampling)
        if subsampling != "Gray"
        else encode(".jpg", pixels[..., 0])
    )
    np.testing.assert_array_equal(decode(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_opencvs(scene: Pixels, orientation: int) -> None:
    data = with_orientation(encode(".jpg", scene), orientation)
    np.testing.assert_array_equal(decode(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def test_trailing_bytes_are_skipped(scene: Pixels) -> None:
    whole = encode(".jpg", scene)
    np.testing.assert_array_equal(decode(whole + bytes(100)), decode(whole))


def test_a_png_without_its_last_data_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    first, *rest = encode(".png", noise).split(b"IDAT")
    assert len(rest) > 2
    cut = b"IDAT".join([first, *rest[:-1]])[:-4] + struct.pack(">I", 0) + b"IEND" + b"\xaeB`\x82"
    with pytest.raises(ImageError):
        decode(cut)


def test_a_header_bomb_is_refused_before_decoding() -> None:
    with pytest.raises(ImageError, match="20000 x 20000 pixels are more than"):
        decode(png_header(20000, 20000))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"hello, this is text", "no JPEG, PNG, WebP, BMP or TIFF"),
        (b"GIF89a" + bytes(20), "no JPEG, PNG, WebP, BMP or TIFF"),
        (b"\xff\xd8\xff\xd9", "before it states its size"),
        (png_header(0, 5), "no pixels"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


def make_png(depth: int, colour: int, between: bytes = b"") -> bytes:
    """A PNG of 13 x 9 pixels of noise, in all five filters, with chunks between its header and the rest."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    noise = np.random.default_rng(depth + colour).integers(0, 256, (9, (13 * channels * depth + 7) // 8), np.uint8)
    rows = b"".join(bytes([number % 5]) + row.tobytes() for number, row in enumerate(noise))
    palette = chunk(b"PLTE", bytes(range(3 << depth)) if depth < 7 else bytes(768)) if colour == 3 else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 9, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + between + palette + body


PNG_KINDS = [
    *((depth, 0) for depth in (1, 2, 4, 8, 16)),
    *((depth, 3) for depth in (1, 2, 4, 8)),
    *((depth, colour) for depth in (8, 16) for colour in (2, 4, 6)),
]


@pytest.mark.parametrize(("depth", "colour"), PNG_KINDS)
def test_pngs_have_the_pixels_of_opencv(depth: int, colour: int) -> None:
    data = make_png(depth, colour)
    np.testing.assert_array_equal(decode(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    np.testing.assert_array_equal(decode(data, rgb=True), decode(data)[:, :, ::-1])


@pytest.mark.parametrize("colour", [0, 2, 6])
@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"gAMA", struct.pack(">I", 22000)),
        chunk(b"sBIT", b"\x05\x05\x05\x05"),
        chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)),
        chunk(b"eXIf", b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)),
        chunk(b"acTL", struct.pack(">II", 1, 0)),
        chunk(b"teXt", b"whatever"),
        chunk(b"tEXt", b"a\x00b")[:-1] + b"?",
    ],
    ids=["gamma", "significant bits", "transparent", "orientation", "animation", "unknown", "wrong checksum"],
)
def test_other_chunks_of_a_png_do_what_they_do_in_opencv(colour: int, extra: bytes) -> None:
    data = make_png(8, colour, extra)
    np.testing.assert_array_equal(decode(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("colour", [0, 2, 6])
def test_a_flipped_bit_in_a_png_is_refused(colour: int) -> None:
    whole = make_png(8, colour)
    for at in range(whole.index(b"IDAT"), len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 16
        with pytest.raises(ImageError):
            decode(bytes(damaged))
