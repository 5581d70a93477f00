"""What a client may send: each image gets its right result or an error of its own, and the server goes on."""

import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tritonclient.utils import InferenceServerException

from qtriton.server import Server
from qtriton.spec_files import load_spec

from .remote import ask, deployed

ENSEMBLE = "demo_digits_onnxruntime_int8"
NAMES = [output.name for output in load_spec("demo_digits").results]


def bomb(_: Image.Image) -> bytes:
    """A PNG header of 20000 x 20000 with next to no data."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated(image: Image.Image) -> bytes:
    """Pixels on their side, with the EXIF orientation that turns them upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)


def sixteen_bits(image: Image.Image) -> bytes:
    return bytes(cv2.imencode(".png", np.asarray(image.convert("RGB"))[..., ::-1].astype(np.uint16) * 257)[1])


REFUSED: dict[str, tuple[Callable[[Image.Image], bytes], str]] = {
    "truncated JPEG": (lambda image: saved(image, "JPEG")[:-300], "truncated JPEG"),
    "truncated PNG": (lambda image: saved(image, "PNG")[:-300], "truncated PNG"),
    "empty": (lambda _: b"", "0 bytes"),
    "text": (lambda _: b"this is a text file\n", "no JPEG, PNG, WebP, BMP or TIFF"),
    "header bomb": (bomb, "20000 x 20000"),
}
RIGHT: dict[str, Callable[[Image.Image], bytes]] = {
    "1x1": lambda _: saved(Image.new("RGB", (1, 1)), "PNG"),
    "grey": lambda image: saved(image.convert("L"), "JPEG"),
    "CMYK": lambda image: saved(image.convert("CMYK"), "JPEG", quality=95),
    "16-bit PNG": sixteen_bits,
    "alpha": lambda image: saved(image.convert("RGBA"), "PNG"),
    "palette": lambda image: saved(image.convert("P"), "PNG"),
    "progressive": lambda image: saved(image, "JPEG", progressive=True),
    "EXIF-rotated": rotated,
}


@pytest.fixture(scope="module")
def scene(demo_images: list[Path]) -> Image.Image:
    return Image.open(demo_images[0]).convert("RGB")


@pytest.fixture
def still_right(server: Server, demo_images: list[Path]) -> Callable[[], None]:
    """Ask for a good image and compare with what it gave before."""
    good = demo_images[1].read_bytes()
    before = ask(server.grpc_url, ENSEMBLE, [good], NAMES)

    def check() -> None:
        after = ask(server.grpc_url, ENSEMBLE, [good], NAMES)
        for name in NAMES:
            np.testing.assert_array_equal(after[name], before[name])

    return check


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_alone(kind: str, server: Server, scene: Image.Image, still_right: Callable[[], None]) -> None:
    make, reason = REFUSED[kind]
    with pytest.raises(InferenceServerException, match=reason) as refused:
        ask(server.grpc_url, ENSEMBLE, [make(scene)], NAMES)
    assert str(refused.value.status()) == "StatusCode.INVALID_ARGUMENT"  # the client's fault, not the server's
    still_right()


@pytest.mark.parametrize("kind", RIGHT)
def test_right_result(
    kind: str, server: Server, scene: Image.Image, demo_repository: Path, still_right: Callable[[], None]
) -> None:
    data = RIGHT[kind](scene)
    found = ask(server.grpc_url, ENSEMBLE, [data], NAMES)
    with deployed(demo_repository, ENSEMBLE) as predict:
        expected = predict(data)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name][0], array, rtol=1e-4, atol=1e-3)
    still_right()


@pytest.mark.parametrize("kind", ["16-bit PNG", "progressive", "EXIF-rotated", "CMYK", "alpha"])
def test_the_same_scene_gives_the_same_digits(kind: str, server: Server, scene: Image.Image) -> None:
    """However a scene is encoded, the detector sees the same thing: classes agree and boxes are close."""
    plain = ask(server.grpc_url, ENSEMBLE, [saved(scene, "PNG")], NAMES)
    other = ask(server.grpc_url, ENSEMBLE, [RIGHT[kind](scene)], NAMES)
    count = plain["num_detections"][0, 0]
    assert count > 0
    sure = plain["scores"][0, :count] > 0.6
    for box, index in zip(plain["boxes"][0, :count][sure], plain["classes"][0, :count][sure], strict=True):
        distance = np.abs(other["boxes"][0] - box).max(axis=1)
        assert index in other["classes"][0][distance < 8]


def test_in_a_batch_of_requests_only_the_bad_one_fails(server: Server, demo_images: list[Path]) -> None:
    good = demo_images[1].read_bytes()
    expected = ask(server.grpc_url, ENSEMBLE, [good], NAMES)

    def send(number: int) -> str:
        data = b"rubbish" if number % 4 == 0 else good
        try:
            found = ask(server.grpc_url, ENSEMBLE, [data], NAMES)
        except InferenceServerException as error:
            return str(error)
        same = all(np.allclose(found[name], expected[name], rtol=1e-4, atol=1e-3) for name in NAMES)
        return "right" if same else "wrong"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(32)))
    for number, said in enumerate(answers):
        assert ("no JPEG, PNG, WebP, BMP or TIFF" in said) if number % 4 == 0 else said == "right", (number, said)
