"""A docker engine for the tests: the one that answers, else Debian's, started by hand; and the stand-in base image."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from qtriton.server.folder import write_backend
from qtriton.server.wheel import find_wheel

REPO: Final = Path(__file__).resolve().parents[2]
#: What is kept between runs: the images of an engine that we started.
KEPT: Final = REPO / ".docker-test"
NEEDS: Final = (
    "These tests need a docker engine that this user may use, or root and Debian's packages docker.io and debootstrap: "
    "apt-get install docker.io debootstrap"
)
#: Names of images.
DEBIAN, TRITON = "qtriton-test-debian", "qtriton-test-triton"
#: What an index may be used with, and no image of ours may hold.
SECRET: Final = "planted-by-qtritons-tests"
#: A release of Debian, and its Python.
RELEASE, PYTHON = "bookworm", "3.11"
_START_S = 60


def docker(*arguments: object, check: bool = True, streams: bool = False) -> str:
    """What the docker CLI says on stdout, or on both streams; with check, an error is a failed test."""
    command = ["docker", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return (done.stdout + done.stderr * streams).strip()


def answers() -> bool:
    """Whether there is a docker engine."""
    try:
        return bool(docker("version", "--format", "{{.Server.Version}}", check=False))
    except FileNotFoundError:
        return False


@contextmanager
def engine() -> Iterator[None]:
    """A docker engine; one that had to be started ends with the block."""
    if answers():
        yield
        return
    if os.geteuid() or not all(map(shutil.which, ("docker", "dockerd"))):
        pytest.fail(NEEDS)
    KEPT.mkdir(exist_ok=True)
    # Short and elsewhere: the name of a socket may have 107 letters.
    folder = Path("/run") / f"qtriton-test-docker-{os.getpid()}"
    # No rules for a firewall of ours: ports are published by docker's proxy, and builds use the host's network.
    # Of the storage drivers, the one that does not copy every layer.
    command = ["dockerd", "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2"]
    command += ["--data-root", str(KEPT / "engine")]
    command += ["--exec-root", str(folder), "--pidfile", str(folder / "pid"), "-H", f"unix://{folder}/socket"]
    folder.mkdir()
    os.environ["DOCKER_HOST"] = f"unix://{folder}/socket"
    with (KEPT / "dockerd.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(process)
        yield
    finally:
        process.terminate()
        process.wait(60)
        del os.environ["DOCKER_HOST"]
        # It leaves the name of the host's network behind, as a mount.
        subprocess.run(["umount", folder / "netns" / "default"], capture_output=True, check=False)
        shutil.rmtree(folder)


def _wait_for(process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            words = (KEPT / "dockerd.log").read_text()[-2000:]
            pytest.fail(f"dockerd does not start here. {NEEDS}\n{words}")
        time.sleep(0.5)


def cpu_fallback(folder: Path) -> str:
    """The tag of an image laid out as NVIDIA's is; what has not changed comes from the engine's cache."""
    _debian()
    context = folder / "stand-in"
    shutil.copytree(Path(__file__).parent / "standin", context)
    wheel = find_wheel()
    shutil.copytree(wheel.binary.parent, context / "tritonserver" / "bin")
    shutil.copytree(wheel.libraries, context / "tritonserver" / "libs")
    python = context / "backends" / "python"
    shutil.copytree(wheel.python_backend, python, ignore=shutil.ignore_patterns("__pycache__"))
    stub = python / wheel.stub.name
    shutil.copyfile(wheel.stub.parents[1] / PYTHON / wheel.stub.name, stub)
    stub.chmod(0o755)
    write_backend("onnxruntime", context / "backends" / "onnxruntime")
    _trust(context)
    docker("build", "--network", "host", "--build-arg", f"DEBIAN={DEBIAN}", "--tag", TRITON, context)
    return TRITON


def _debian() -> None:
    """An image with a small Debian and Python, made once for each engine."""
    if docker("image", "ls", "--quiet", DEBIAN):
        return
    if os.geteuid() or not shutil.which("debootstrap"):
        pytest.fail(NEEDS)
    root = KEPT / "debian"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    packages = f"--include=python3,python3-pip,libpython{PYTHON},libgomp1,ca-certificates"
    _run("debootstrap", "--variant=minbase", packages, RELEASE, root)
    _run("tar", "--create", "--file", f"{root}.tar", "--directory", root, ".")
    docker("import", f"{root}.tar", DEBIAN)
    shutil.rmtree(root)
    Path(f"{root}.tar").unlink()


def _run(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _trust(context: Path) -> None:
    """Let the image fetch packages as this machine does: its certificates, and its index, else PyPI with a secret."""
    shutil.copyfile("/etc/ssl/certs/ca-certificates.crt", context / "certificates.crt")
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = os.environ.get("PIP_INDEX_URL") or subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    index = index or f"https://qtriton:{SECRET}@pypi.org/simple"  # which asks for none
    lines = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt", f"index-url = {index}"]
    (context / "pip.conf").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    # Of .ci/run: ends well where an engine starts and the stand-in can be made, else with the reason.
    try:
        with engine(), tempfile.TemporaryDirectory() as made:
            cpu_fallback(Path(made))
    except (pytest.fail.Exception, AssertionError, OSError, subprocess.SubprocessError) as error:
        sys.exit(str(error))
