"""Faults and load in docker: killed processes, an end under load, too little memory or disk."""

import shutil
import threading
import time
from pathlib import Path

import pytest
from tritonclient.utils import InferenceServerException

from e2e.load import CLIENTS, load
from e2e.remote import ask
from qtriton.server.shm import MIB, docker_bytes

from .conftest import Run, address, exit_code, logs, slow_tensorrt, wait_for
from .engine import docker

ENSEMBLE = "demo_digits_onnxruntime_int8"
#: Kills tritonserver, or the process of a step, which has its /.../MODEL/1/model.py. The first two words tell them from
#: the supervisor, which has all of tritonserver's behind its own.
KILL = """
import os, pathlib, sys
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    pid, words = int(path.parts[2]), path.read_text().split("\\0")[:2]
    if any(word == sys.argv[1] or f"/{sys.argv[1]}/1/" in word for word in words):
        os.kill(pid, 9)
"""
#: As compose.yaml has it.
RESTART = ("--restart", "unless-stopped")


def infer(url: str, images: list[Path]) -> int:
    """How many results a batch brings."""
    return len(ask(url, ENSEMBLE, [image.read_bytes() for image in images], ["num_detections"])["num_detections"])


@pytest.mark.parametrize("process", ["tritonserver", "demo_digits_preprocess_pixels"])
def test_what_is_killed_is_back_within_30_seconds(
    run: Run, demo_repository: Path, demo_images: list[Path], process: str
) -> None:
    name = run(demo_repository, *RESTART)
    wait_for(name, "healthy")
    docker("exec", name, "python3", "-c", KILL, process)
    killed = time.monotonic()
    while docker("inspect", "--format", "{{.RestartCount}}", name) == "0":
        assert time.monotonic() - killed < 30, logs(name)
        time.sleep(0.5)
    wait_for(name, "healthy", 30 - (time.monotonic() - killed))
    assert infer(address(name, 8001), demo_images[:1]) == 1
    step_died = f"qtriton: the process of the step {process} was killed by signal 9"
    assert (step_died in logs(name)) == (process != "tritonserver")


def test_told_to_end_under_load_it_answers_what_is_under_way(
    run: Run, demo_repository: Path, demo_images: list[Path]
) -> None:
    name = run(demo_repository)
    wait_for(name, "healthy")
    with load(address(name, 8001), ENSEMBLE, demo_images[0].read_bytes()) as asked:
        told = time.monotonic()
        docker("stop", name)
    assert exit_code(name) == 0, logs(name)
    under_way = [each for each in asked if each.sent < told < each.answered]
    assert len(under_way) >= CLIENTS / 2, "there was no load"
    # It is refused only once the clients had their time, which begins when docker has sent the signal.
    assert [each.error for each in asked if each.sent < told + 2 and each.error] == []


def test_the_computed_shared_memory_is_enough_for_full_batches(
    run: Run, demo_repository: Path, demo_images: list[Path]
) -> None:
    name = run(demo_repository, f"--shm-size={docker_bytes(demo_repository)}")
    wait_for(name, "healthy")
    url, problems = address(name, 8001), []

    def work() -> None:
        try:
            for _ in range(5):
                infer(url, demo_images[:8])
        except InferenceServerException as error:
            problems.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_too_little_shared_memory_is_named_at_the_start(run: Run, demo_repository: Path) -> None:
    name = run(demo_repository, f"--shm-size={2 * MIB}")
    wait_for(name, "exited")
    assert exit_code(name) == 1
    assert "use '--shm-size' flag" in logs(name) and "No space left on device" in logs(name)


def test_too_little_shared_memory_is_named_in_the_answer(
    run: Run, demo_repository: Path, demo_images: list[Path]
) -> None:
    name = run(demo_repository, f"--shm-size={6 * MIB}")
    wait_for(name, "healthy")
    url = address(name, 8001)
    with pytest.raises(InferenceServerException, match=r"use '--shm-size' flag"):
        infer(url, demo_images[:8])
    assert infer(url, demo_images[:1]) == 1


def test_a_root_that_is_read_only_needs_a_tmp(image: str, demo_repository: Path) -> None:
    told = ("run", "--rm", "--read-only", "-v", f"{demo_repository}:/models:ro", image)
    assert "/tmp/qtriton': Read-only file system" in docker(*told, check=False, streams=True)


@pytest.mark.parametrize("after_s", [0, 0.5, 1, 1.5, 2])
def test_told_to_end_while_it_starts_it_does(run: Run, demo_repository: Path, after_s: float) -> None:
    """Process 1 of a container hears no signal for which it has no handler; docker would kill it after 10 seconds."""
    name = run(demo_repository)
    time.sleep(after_s)
    docker("stop", name)
    assert exit_code(name) in (0, 143), logs(name)


def test_a_cache_that_cannot_be_written_is_named_where_an_engine_is_pending(
    run: Run, demo_repository: Path, pending_repository: Path, tmp_path: Path
) -> None:
    nothing = tmp_path / "cache"
    nothing.mkdir()
    read_only = ("-v", f"{nothing}:/cache:ro")
    name = run(pending_repository, *slow_tensorrt(tmp_path), cache=read_only)
    wait_for(name, "exited")
    assert exit_code(name) == 5
    assert "/cache/timings: cannot be made (Read-only file system)" in logs(name)
    wait_for(run(demo_repository, cache=read_only), "healthy")


def test_models_that_cannot_be_read_are_named(run: Run, demo_repository: Path, tmp_path: Path) -> None:
    private = shutil.copytree(demo_repository, tmp_path / "private")
    private.chmod(0o700)
    if private.stat().st_uid == 1000:
        pytest.skip("user 1000 of the image is who runs these tests")
    name = run(private)
    wait_for(name, "exited")
    assert exit_code(name) == 2
    assert logs(name) == "error: /models: Permission denied. User 1000 needs the right to it."
