"""The command that the project is known by, as it is typed; weights and images come from a mirror on this machine.

The literal command against the internet is not tried here.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from archives import tar_gz
from qtriton.builder.downloaded_images import images_download
from qtriton.repository.manifest import Manifest
from qtriton.server import ServerOptions, serve
from qtriton.spec import DownloadedImages
from qtriton.spec_files import default_data, load_spec
from qtriton.workspace import Workspace

from .conftest import qtriton
from .file_server import file_server
from .yolov6s import bright_squares, yolov6s

COMMAND = "qtriton build yolov6s --precision int8-fp16"
#: The fewest that leave 32 to learn from.
IMAGES = 43


def mirror_path(url: str) -> str:
    """As `wget -x` names the file of a URL."""
    parts = urlsplit(url)
    return f"/{parts.netloc}{parts.path}"


@pytest.fixture(scope="module")
def images() -> DownloadedImages:
    """What the spec says of its calibration images."""
    named = default_data(load_spec("yolov6s")).calibration
    assert isinstance(named, DownloadedImages)
    return named


@pytest.fixture(scope="module")
def mirror(images: DownloadedImages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the environment says of a server with YOLOv6s' graph and FastDeploy's archive, both with other contents."""
    weights = load_spec("yolov6s").source.url
    assert weights is not None
    photos = {f"COCO_val_320/{index:012d}.jpg": bright_squares(index) for index in range(IMAGES)}
    with file_server() as served:
        served.files[mirror_path(weights)] = yolov6s(tmp_path_factory.mktemp("weights") / "yolov6s.onnx").read_bytes()
        served.files[mirror_path(images.url)] = tar_gz(photos)
        yield {"QTRITON_MIRROR": served.url, "QTRITON_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def built(mirror: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[str]":
    """The command, in an empty folder."""
    folder = tmp_path_factory.mktemp("here")
    done = qtriton(*shlex.split(COMMAND)[1:], cwd=folder, **mirror)
    assert done.returncode == 0, done.stderr
    return subprocess.CompletedProcess([str(folder)], 0, done.stdout, done.stderr)


def folder_of(built: "subprocess.CompletedProcess[str]") -> Path:
    return Path(built.args[0])


def printed(built: "subprocess.CompletedProcess[str]", command: str) -> list[str]:
    """The words of a command that the summary names."""
    (line,) = re.findall(rf"{command} [^,\n]*", built.stderr)
    return shlex.split(line)[1:]


def test_it_says_what_it_downloads_and_what_it_did(
    built: "subprocess.CompletedProcess[str]", images: DownloadedImages
) -> None:
    source = load_spec("yolov6s").source
    assert f"weights will be downloaded from {source.url}; licence: {source.licence}" in built.stderr
    what = f"{images.url} ({images.note}); licence: {images.licence}"
    assert f"calibration images will be downloaded from {what}" in built.stderr
    assert f"Calibrated with 33 of {images.url} (licence: {images.licence})." in built.stderr
    assert f"Compared with FP32 on 10 of {images.url}" in built.stderr
    told = "points of mAP50-95 against FP32's detections on 10 images without labels"
    assert told in " ".join(built.stderr.split()), "whose lines are wrapped"
    assert "Engine pending: yolov6s_tensorrt_fp32, yolov6s_tensorrt_int8_fp16" in built.stderr
    manifest = Manifest.read(folder_of(built) / "model_repository" / "yolov6s_tensorrt_int8_fp16_runtime" / "1")
    assert {name: each.images for name, each in manifest.downloaded.items()} == {"calibration": 33, "validation": 10}
    assert manifest.gate is not None and not manifest.gate.labelled and not manifest.gate.accepted
    explained = qtriton("explain", "yolov6s", cwd=folder_of(built)).stdout
    assert f"The calibration images: 33 of {images.url}" in " ".join(explained.split())


def test_the_second_time_nothing_is_done(
    built: "subprocess.CompletedProcess[str]", mirror: dict[str, str], images: DownloadedImages
) -> None:
    again = qtriton(
        *shlex.split(COMMAND)[1:], cwd=folder_of(built), **{**mirror, "QTRITON_MIRROR": "http://127.0.0.1:9"}
    )
    assert again.returncode == 0 and "nothing was done" in again.stderr, again.stderr
    assert "will be downloaded" not in again.stderr
    listed = json.loads(qtriton("cache", "list", "--json", cwd=None, **mirror).stdout)
    kept = images_download("", "", images, Workspace(Path(mirror["QTRITON_CACHE"]))).path.name
    assert ("data", kept) in {(entry["kind"], entry["name"]) for entry in listed}


def test_the_command_of_docker_is_printed(built: "subprocess.CompletedProcess[str]") -> None:
    serve_command = printed(built, "qtriton serve")
    assert serve_command == ["serve", "model_repository", "--docker", "--dry-run"]
    dry = qtriton(*serve_command, cwd=folder_of(built))
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.startswith("docker run ") and f"{folder_of(built)}/model_repository:" in dry.stdout


def test_the_command_of_the_client_measures_the_model(
    built: "subprocess.CompletedProcess[str]", mirror: dict[str, str]
) -> None:
    """An engine needs a GPU, so FP32 in ONNX Runtime stands at the other end."""
    words = printed(built, "qtriton-client")
    repository = folder_of(built) / "cpu"
    done = qtriton("build", "yolov6s", "--precision", "fp32", "--repository", repository, cwd=None, **mirror)
    assert done.returncode == 0, done.stderr
    with serve(repository, ServerOptions(grpc_port=0, http_port=0)) as server:
        words[words.index("localhost:8001")] = server.grpc_url
        few = ["--requests", "2", "--runtime-requests", "0", "--warmup", "1", "--blocks", "1", "--json"]
        command = [sys.executable, "-m", "qtriton_client", *words, *few]
        measured = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert measured.returncode == 0, measured.stderr
    (variant,) = json.loads(measured.stdout)["variants"]
    assert (variant["ensemble"], variant["end2end"]["requests"]) == ("yolov6s_onnxruntime_fp32", 2)
