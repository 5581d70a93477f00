"""Ctrl-C and kill, at any moment: no process of ours goes on, and the repository is the old one or the new one."""

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .conftest import qtriton


def start(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "qtriton", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Every process that the command has started, also those that have a session of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not [process for process in alive if process.is_running()]


def wait_for(process: "subprocess.Popen[str]", word: str) -> None:
    """Read what the command says until it says the word."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    pytest.fail(f"{process.args!r} ended without {word!r}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_serve_leaves_nothing(number: signal.Signals, code: int, demo_repository: Path) -> None:
    process = start("serve", demo_repository, "--grpc-port", 0, "--http-port", 0, "--metrics-port", 0)
    wait_for(process, "Ctrl-C")
    started = family(process)
    assert any("tritonserver" in child.name() for child in started)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert all_gone(started)


def test_serve_says_when_the_server_dies(demo_repository: Path) -> None:
    process = start("serve", demo_repository, "--grpc-port", 0, "--http-port", 0, "--metrics-port", 0)
    wait_for(process, "Ctrl-C")
    started = family(process)
    next(child for child in started if child.name() == "tritonserver").kill()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 8, said
    assert "tritonserver ended with status 137" in said and "Started HTTPService" in said
    assert all_gone(started)


def test_bench_leaves_nothing_when_interrupted(demo_repository: Path, tmp_path: Path) -> None:
    process = start("bench", demo_repository, "--requests", 100000, "--output", tmp_path / "results.json")
    wait_for(process, "start tritonserver")
    time.sleep(1)
    started = family(process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert all_gone(started)
    assert not (tmp_path / "results.json").exists()


def test_bench_shows_the_last_words_of_a_server_that_died(demo_repository: Path, tmp_path: Path) -> None:
    process = start("bench", demo_repository, "--requests", 100000, "--output", tmp_path / "results.json")
    wait_for(process, "start tritonserver")
    time.sleep(1)
    started = family(process)
    next(child for child in started if child.name() == "tritonserver").kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 8, said
    assert "tritonserver has ended; its log ends with:" in said and "Started HTTPService" in said
    assert all_gone(started)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_build_can_be_ended_at_any_moment(number: signal.Signals, demo_repository: Path, tmp_path: Path) -> None:
    """The cache is warm, so a forced build spends its time on rendering and publishing, where it could do harm."""
    repository = shutil.copytree(demo_repository, tmp_path / "repository")
    whole = {str(path.relative_to(repository)): path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    chance = random.Random(4)
    for _ in range(5):
        process = start("build", "demo_digits", "--repository", repository, "--force")
        time.sleep(chance.uniform(0.2, 1.5))
        started = family(process) if process.poll() is None else []
        process.send_signal(number)
        process.communicate(timeout=30)
        assert all_gone(started)
        found = {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}
        assert found == set(whole)
        assert qtriton("check", repository).returncode == 0
    # The next build that publishes clears what a killed one left beside the repository.
    assert qtriton("build", "demo_digits", "--repository", repository, "--force").returncode == 0
    assert [path.name for path in tmp_path.iterdir() if "staging" in path.name] == []
