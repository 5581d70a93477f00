"""The demo model, built once by the command line, and a server on it, for all end-to-end tests."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qtriton.repository.read import Repository
from qtriton.server import Server, ServerOptions, serve

# A shell ignores SIGINT for what it runs in the background, and what is started there would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for the run and all its workers, so that nothing of the user's is read or written."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    os.environ["QTRITON_CACHE"] = str(folder)
    yield folder
    del os.environ["QTRITON_CACHE"]


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(cache: Path) -> Iterator[None]:
    """At the end of the run no process of ours is alive."""
    yield
    alive = [process.cmdline() for process in psutil.Process().children(recursive=True)]
    ours = [line for line in alive if any("triton" in part or "qtriton" in part for part in line)]
    assert not ours


def qtriton(*arguments: object, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own, with more in its environment."""
    command = [sys.executable, "-m", "qtriton", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=1800, check=False, cwd=cwd, env={**os.environ, **env}
    )


@pytest.fixture(scope="session")
def demo_build(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, Any]:
    """What `build --json` said of the demo detector in INT8."""
    repository = tmp_path_factory.mktemp("demo") / "model_repository"
    done = qtriton("build", "demo_digits", "--precision", "int8", "--repository", repository, "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="session")
def demo_repository(demo_build: dict[str, Any]) -> Path:
    return Path(demo_build["repository"])


@pytest.fixture(scope="session")
def demo_images(demo_build: dict[str, Any], demo_repository: Path) -> list[Path]:
    """The generated validation scenes of the demo."""
    return sorted(Path(Repository.open(demo_repository).manifest(demo_build["ensemble"]).images).glob("*.jpg"))


@pytest.fixture(scope="session")
def server(demo_repository: Path) -> Iterator[Server]:
    """A running server on the demo's repository."""
    with serve(demo_repository, ServerOptions(grpc_port=0, http_port=0)) as running:
        yield running
