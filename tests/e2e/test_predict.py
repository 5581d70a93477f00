"""qtriton predict, against the running server of the demo."""

import json
from pathlib import Path

import cv2
import numpy as np

from qtriton.server import Server

from .conftest import qtriton

ENSEMBLE = "demo_digits_onnxruntime_int8"


def test_what_is_found_is_told_and_drawn(server: Server, demo_images: list[Path], tmp_path: Path) -> None:
    image = demo_images[0]
    done = qtriton("predict", ENSEMBLE, image, "--url", server.grpc_url, "--output", tmp_path / "found", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)[str(image)]
    assert told.keys() == {"found", "release"} and told["release"] is None
    found = told["found"]
    assert found and all(each["name"] in "0123456789" and each["score"] > 0.25 for each in found)
    picture = cv2.imread(str(tmp_path / "found" / f"{image.stem}.png"))
    scene = cv2.imread(str(image))
    assert picture is not None and scene is not None and picture.shape == scene.shape
    x1, y1, x2, _ = (round(corner) for corner in found[0]["box"])
    assert (picture[y1, x1:x2] != scene[y1, x1:x2]).any(axis=-1).mean() > 0.9
    assert np.mean(picture == scene) > 0.5


def test_for_a_person(server: Server, demo_images: list[Path]) -> None:
    done = qtriton("predict", ENSEMBLE, *demo_images[:2], "--url", server.grpc_url)
    assert done.returncode == 0, done.stderr
    assert str(demo_images[1]) in done.stdout and "box" in done.stdout


def test_what_cannot_be_is_refused(server: Server, demo_images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "rubbish.jpg").write_bytes(b"not an image")
    for arguments, code, words in (
        ((ENSEMBLE, tmp_path / "no.jpg"), 2, "no such file"),
        ((ENSEMBLE, tmp_path / "rubbish.jpg"), 9, "rubbish.jpg: [INVALID_ARGUMENT]"),
        (("demo_digits", demo_images[0]), 2, "Name one of demo_digits_onnxruntime_fp32, demo_digits_onnxruntime_int8"),
        ((ENSEMBLE, demo_images[0], demo_images[0], "--output", tmp_path), 2, "have the same name"),
        (("demo_digit", demo_images[0]), 2, "has no such model"),
    ):
        done = qtriton("predict", *arguments, "--url", server.grpc_url)
        assert (done.returncode, done.stdout) == (code, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_an_image_is_not_overwritten_by_its_own_drawing(
    server: Server, demo_images: list[Path], tmp_path: Path
) -> None:
    image = tmp_path / "scene.png"
    image.write_bytes(bytes(cv2.imencode(".png", cv2.imread(str(demo_images[0])))[1]))
    before = image.read_bytes()
    done = qtriton("predict", ENSEMBLE, image, "--url", server.grpc_url, "--output", tmp_path)
    assert done.returncode == 2
    assert "would be overwritten" in done.stderr
    assert image.read_bytes() == before
