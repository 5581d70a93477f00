"""The image of docker/Dockerfile on the stand-in, the demo's repository, and containers that are gone at the end."""

import json
import re
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from e2e.conftest import cache, demo_build, demo_images, demo_repository, nothing_left_behind, qtriton, server
from e2e.test_tensorrt import SLOW, SMI

from .engine import REPO, cpu_fallback, docker, engine

#: Of the end-to-end tests: the demo, built and served by the embedded server.
__all__ = ["cache", "demo_build", "demo_images", "demo_repository", "nothing_left_behind", "server"]

IMAGE: Final = "qtriton-test-server"
#: Starts a container on a repository, with more options for `docker run`; returns its name.
Run: TypeAlias = Callable[..., str]


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The stand-in for NVIDIA's image, in an engine that runs while the tests do."""
    with engine():
        yield cpu_fallback(tmp_path_factory.mktemp("docker"))


@pytest.fixture(scope="session")
def image(triton: str) -> str:
    """The image of docker/Dockerfile."""
    return build(IMAGE, triton)


def build(tag: str, triton: str, *more: object) -> str:
    """The tag of an image of docker/Dockerfile on another image, with more options for `docker build`."""
    usual = ("--network", "host", "--file", REPO / "docker" / "Dockerfile", "--build-arg", f"TRITON_IMAGE={triton}")
    docker("build", *usual, *more, "--tag", tag, REPO)
    return tag


@pytest.fixture(scope="session")
def pending_repository(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The demo for TensorRT, as a machine without a GPU builds it."""
    repository = tmp_path_factory.mktemp("pending") / "model_repository"
    done = qtriton("build", "demo_digits", "--precision", "int8-fp16", "--repository", repository)
    assert done.returncode == 0, done.stderr
    return repository


@pytest.fixture(scope="session")
def run(image: str) -> Iterator[Run]:
    """The `docker run` of docker/README.md, on ports that the engine chooses."""
    started: list[str] = []
    options = documented()

    def start(repository: Path, *more: object, of: str = image, cache: Sequence[object] = ()) -> str:
        name = f"qtriton-test-{time.time_ns()}"
        started.append(name)
        mine = ("--detach", "--name", name, "--volume", f"{repository}:/models:ro")
        kept = cache or ("--volume", f"{name}:/cache")
        docker("run", *mine, *kept, *options, "-p", "127.0.0.1::8000", "-p", "127.0.0.1::8001", *more, of)
        return name

    yield start
    for name in started:
        docker("rm", "--force", name)
        docker("volume", "rm", "--force", name)


def documented() -> list[str]:
    """The options of the README's command that harden and tune; ports and mounts a test chooses itself."""
    text = (REPO / "docker" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    docker run (.*?)qtriton-server$", text, re.DOTALL | re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    pairs = list(zip(words, [*words[1:], ""], strict=True))
    chosen = {place + skip for place, (word, _) in enumerate(pairs) if word in ("-v", "-p") for skip in (0, 1)}
    kept = [word for place, word in enumerate(words) if place not in chosen and word != "--rm"]
    assert {"--read-only", "--cap-drop=ALL", "--shm-size=1g", "--ulimit=memlock=-1"} <= set(kept)
    if not _may_lock_memory():
        warnings.warn("this machine's docker engine may not raise memlock: run without that option", stacklevel=1)
        kept.remove("--ulimit=memlock=-1")
    return kept


def _may_lock_memory() -> bool:
    name = f"qtriton-test-{time.time_ns()}"
    probe = ("run", "--name", name, "--ulimit=memlock=-1", "--entrypoint", "true", IMAGE)
    docker(*probe, check=False)
    status = docker("inspect", "--format", "{{.State.ExitCode}}", name)
    docker("rm", "--force", name)
    return status == "0"


def slow_tensorrt(folder: Path) -> list[str]:
    """Options for a container with a TensorRT that works for ten minutes, and a GPU's nvidia-smi."""
    (folder / "tensorrt.py").write_text(SLOW.format(what="time.sleep(600)"))
    (folder / "nvidia-smi").write_text(SMI)
    (folder / "nvidia-smi").chmod(0o755)
    module = f"{folder}/tensorrt.py:/opt/qtriton/tensorrt.py:ro"
    return ["-v", module, "-v", f"{folder}/nvidia-smi:/usr/local/bin/nvidia-smi:ro"]


def wait_for(name: str, state: str, within_s: float = 90) -> None:
    """Wait until a container is healthy, or until it has exited."""
    asked, deadline = "", time.monotonic() + within_s
    while time.monotonic() < deadline:
        asked = docker("inspect", "--format", "{{json .State}}", name)
        told = json.loads(asked)
        if state in (told["Status"], told.get("Health", {}).get("Status")):
            return
        if told["Status"] == "exited":
            break
        time.sleep(0.5)
    pytest.fail(f"{name} is not {state}: {asked}\n{logs(name)}")


def logs(name: str) -> str:
    """All that a container has said, from both streams."""
    return docker("logs", name, streams=True)


def exit_code(name: str) -> int:
    """Of a container that has ended."""
    return int(docker("inspect", "--format", "{{.State.ExitCode}}", name))


def address(name: str, port: int) -> str:
    """HOST:PORT where a port of a container is published."""
    return docker("port", name, port).splitlines()[0]
