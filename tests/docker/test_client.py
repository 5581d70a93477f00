"""The client's image, compose.yaml and verify.sh, and that no image tells where its packages came from."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pytest

from .engine import REPO, SECRET, docker


@pytest.fixture(scope="module")
def client_image(triton: str) -> str:
    """On the stand-in, whose Python is as good as another's."""
    tag, file = "qtriton-test-client", REPO / "docker" / "client.Dockerfile"
    docker("build", "--network", "host", "--file", file, "--build-arg", f"PYTHON_IMAGE={triton}", "--tag", tag, REPO)
    return tag


def compose(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """docker compose, version 2 or 1."""
    new = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    old = shutil.which("docker-compose")
    if not (new or old):
        pytest.skip("there is neither `docker compose` nor docker-compose")
    command = [*(["docker", "compose"] if new else [str(old)]), "--project-name", "qtriton-test", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=300)


def test_compose_lets_the_client_measure_the_server(
    image: str, client_image: str, demo_repository: Path, demo_images: list[Path], tmp_path: Path
) -> None:
    env = {"QTRITON_IMAGE": image, "QTRITON_CLIENT_IMAGE": client_image, "QTRITON_REQUESTS": "20"}
    env |= {"QTRITON_REPOSITORY": str(demo_repository), "QTRITON_IMAGES": str(demo_images[0].parent)}
    env |= {f"QTRITON_{name}_PORT": port for name, port in (("HTTP", "18000"), ("GRPC", "18001"), ("METRICS", "18002"))}
    # What this machine's engine may raise is not what the file asks for.
    (tmp_path / "memlock.yaml").write_text("services: {server: {ulimits: {memlock: 65536}}}\n")
    files = ("-f", str(REPO / "docker" / "compose.yaml"), "-f", str(tmp_path / "memlock.yaml"))
    try:
        ran = (*files, "--profile", "perf", "up", "--abort-on-container-exit", "--exit-code-from", "client")
        done = compose(*ran, **env)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "demo_digits_onnxruntime_int8" in done.stdout and "End2End, client" in done.stdout
    finally:
        compose(*files, "--profile", "perf", "down", **env)


def test_the_client_has_no_rights_and_no_generator(client_image: str) -> None:
    names = "('qtriton', 'qtriton_client')"
    ask = f"import os, importlib.util as u; print(os.getuid(), *(bool(u.find_spec(name)) for name in {names}))"
    asked = docker("run", "--rm", "--read-only", "--entrypoint", "python3", client_image, "-c", ask)
    assert asked == "1000 False True"


def test_verify_passes_as_far_as_the_stand_in_goes(image: str, demo_repository: Path) -> None:
    done = subprocess.run(
        [REPO / "docker" / "verify.sh", image, demo_repository], capture_output=True, text=True, timeout=300
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and not [line for line in lines if line.startswith("fail")], done.stdout + done.stderr
    assert {"pass: serves the repository, read-only", "pass: stops in order"} <= set(lines)
    assert "skipped: TensorRT's bindings load: no GPU" in lines
    assert [line for line in lines if line.startswith("skipped: the versions are those of docker/README.md: ")]


def test_verify_holds_the_versions_against_what_was_read(image: str, demo_repository: Path, tmp_path: Path) -> None:
    """On the stand-in with the names of 24.10 and its library; it has Debian's Python, and no CUDA."""
    library = "/usr/lib/x86_64-linux-gnu/libnvinfer.so.10.5.0"
    steps = ("ENV NVIDIA_TRITON_SERVER_VERSION=24.10", "USER 0", f"RUN touch {library}", "USER 1000:1000")
    (tmp_path / "Dockerfile").write_text("\n".join((f"FROM {image}", *steps)) + "\n")
    docker("build", "--tag", "qtriton-test-versions", tmp_path)
    command: list[str | Path] = [REPO / "docker" / "verify.sh", "qtriton-test-versions", demo_repository]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = [line for line in done.stdout.splitlines() if "docker/README.md" in line]
    assert said == [
        "pass: Triton 2.51.0 is what docker/README.md says of 24.10",
        "fail: CUDA is not there, which is what docker/README.md says of 24.10: there it is 12.6.2",
        f"fail: Python {said[2].split()[2]} is what docker/README.md says of 24.10: there it is 3.10",
        "pass: TensorRT 10.5.0 is what docker/README.md says of 24.10",
    ]
    assert done.returncode == 1


def test_verify_fails_where_a_check_does(image: str, tmp_path: Path) -> None:
    """A repository whose only model is none."""
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "config.pbtxt").write_text("nonsense")
    done = subprocess.run([REPO / "docker" / "verify.sh", image, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "fail: serves the repository, read-only: " in done.stdout, done.stdout + done.stderr


def secrets() -> set[bytes]:
    """What pip knows of its indexes, here and in the stand-in: hosts, or folders, and credentials."""
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    words = [word.strip("'\",") for line in asked.splitlines() for word in line.partition("=")[2].split()]
    words += [value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))]
    urls = [urlsplit(word) for word in words if word.startswith(("http:", "https:", "file:"))]
    found = {part for url in urls for part in (url.hostname, url.username, url.password) if part}
    found |= {url.path for url in urls if url.scheme == "file"}
    return {part.encode() for part in (found - {"pypi.org", "localhost"}) | {SECRET}}


@pytest.mark.parametrize("of", ["image", "client_image"])
def test_no_layer_and_no_step_tells_of_the_index(
    request: pytest.FixtureRequest, triton: str, tmp_path: Path, of: str
) -> None:
    known, tag = secrets(), request.getfixturevalue(of)
    told = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", tag) + docker("inspect", tag)
    base = set(json.loads(docker("inspect", "--format", "{{json .RootFS.Layers}}", triton)))
    layers = json.loads(docker("inspect", "--format", "{{json .RootFS.Layers}}", tag))
    docker("save", "--output", tmp_path / "image.tar", tag)
    with tarfile.open(tmp_path / "image.tar") as saved:
        files = json.load(saved.extractfile("manifest.json") or pytest.fail("no manifest"))[0]["Layers"]
        # The stand-in holds this machine's pip configuration, so only what our files put on it counts.
        added = [file for file, layer in zip(files, layers, strict=True) if layer not in base]
        assert added
        for name in added:
            layer = saved.extractfile(name)
            assert layer is not None
            for path, content in contents(layer):
                assert not [each for each in known if each in content], f"{tag}: {path}"
    assert not [each for each in known if each in told.encode()]


def contents(layer: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=layer) as inside:
        for member in inside:
            file = inside.extractfile(member) if member.isfile() else None
            if file:
                yield member.name, file.read()
