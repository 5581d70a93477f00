"""qtriton serve --docker: what it says, what it refuses, and that nothing of it is left behind."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.conftest import qtriton

from .engine import docker

ENSEMBLE = "demo_digits_onnxruntime_int8"
FREE = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")


def containers(image: str) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}").split()


def start(repository: Path, image: str, log: Path) -> "subprocess.Popen[bytes]":
    """The command in the background, ready."""
    command = [sys.executable, "-m", "qtriton", "serve", str(repository), "--docker", "--image", image, *FREE]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while "Ctrl-C ends it" not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_it_serves_and_leaves_no_container(
    image: str, demo_repository: Path, demo_images: list[Path], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    before, log = containers(image), tmp_path / "log"
    process = start(demo_repository, image, log)
    try:
        assert (
            f"Ready: demo_digits_onnxruntime_fp32, demo_digits_onnxruntime_fp32_runtime, {ENSEMBLE}" in log.read_text()
        )
        url = log.read_text().rpartition("gRPC ")[2].partition(",")[0]
        found = qtriton("predict", ENSEMBLE, demo_images[0], "--url", url)
        assert found.returncode == 0 and "box " in found.stdout, found.stderr
    finally:
        process.send_signal(number)
        ended = process.wait(60)
    assert ended == status, log.read_text()
    deadline = time.monotonic() + 40  # after kill -9 the supervisor goes on alone
    while containers(image) != before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert containers(image) == before


def test_a_model_that_does_not_load_is_told_in_tritons_words(image: str, demo_repository: Path, tmp_path: Path) -> None:
    repository, before = tmp_path / "repository", containers(image)
    shutil.copytree(demo_repository, repository)
    step = repository / "demo_digits_preprocess_pixels" / "1" / "model.py"
    step.write_text("raise RuntimeError('broken on purpose')\n")
    done = qtriton("serve", repository, "--docker", "--image", image, *FREE)
    assert done.returncode == 8, done.stderr
    assert "tritonserver did not load" in done.stderr and "RuntimeError: broken on purpose" in done.stderr
    assert containers(image) == before


def test_a_port_that_is_taken(image: str, demo_repository: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        taken = ("--grpc-port", holder.getsockname()[1], "--http-port", "0", "--metrics-port", "0")
        done = qtriton("serve", demo_repository, "--docker", "--image", image, *taken)
    assert done.returncode == 8 and "--grpc-port (0: any free)" in done.stderr


def test_refusals_have_a_fix(triton: str, demo_repository: Path, tmp_path: Path) -> None:
    missing = qtriton("serve", demo_repository, "--docker", "--image", "qtriton-test-nosuch")
    assert missing.returncode == 5 and "docker build -t qtriton-test-nosuch -f docker/Dockerfile ." in missing.stderr
    silent = qtriton("serve", demo_repository, "--docker", DOCKER_HOST=f"unix://{tmp_path}/none")
    assert silent.returncode == 5 and "engine does not answer" in silent.stderr
    without = qtriton("serve", demo_repository, "--docker", PATH=str(Path(sys.executable).parent))
    assert without.returncode == 5 and "install docker" in without.stderr
    folder = qtriton("serve", tmp_path / "none", "--docker")
    assert folder.returncode == 2 and "no such folder" in folder.stderr
    alone = qtriton("serve", demo_repository, "--image", triton)
    assert alone.returncode == 2 and "--docker" in alone.stderr
