"""Faults and load in docker: killed processes, an end under load, too little memory or disk."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc

from qtriton.triton.server.shm import MIB, docker_bytes

from .conftest import Run, address, exit_code, logs, wait_for
from .engine import docker

ENSEMBLE = "demo_digits_onnxruntime_int8"
#: As compose.yaml has it.
RESTART = ("--restart", "unless-stopped")


def infer(client: grpc.InferenceServerClient, images: list[Path]) -> int:
    """How many results a batch brings."""
    sent = grpc.InferInput("image", [len(images), 1], "BYTES")
    sent.set_data_from_numpy(np.array([[image.read_bytes()] for image in images], dtype=object))
    return len(client.infer(ENSEMBLE, [sent]).as_numpy("num_detections"))


def kill_server(name: str) -> None:
    if os.geteuid():
        pytest.skip("only root may kill another user's process")
    os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", name)), 9)


def kill_step(name: str) -> None:
    # The brackets keep the script from finding its own command line.
    script = (
        "for p in /proc/[0-9]*; do grep -qa demo_digits_preprocess[/]1 $p/cmdline && kill -9 ${p#/proc/}; done; true"
    )
    docker("exec", name, "sh", "-c", script)


@pytest.mark.parametrize("kill", [kill_server, kill_step])
def test_what_is_killed_is_back_within_30_seconds(
    run: Run, demo_repository: Path, demo_images: list[Path], kill: object
) -> None:
    name = run(demo_repository, *RESTART)
    wait_for(name, "healthy")
    assert callable(kill)
    kill(name)
    killed = time.monotonic()
    while docker("inspect", "--format", "{{.RestartCount}}", name) == "0":
        assert time.monotonic() - killed < 30, logs(name)
        time.sleep(0.5)
    wait_for(name, "healthy", 30 - (time.monotonic() - killed))
    with grpc.InferenceServerClient(address(name, 8001)) as client:
        assert infer(client, demo_images[:1]) == 1
    assert kill is kill_server or "error: the process of a python step has died" in logs(name)


def test_the_computed_shared_memory_is_enough_for_full_batches(
    run: Run, demo_repository: Path, demo_images: list[Path]
) -> None:
    name = run(demo_repository, f"--shm-size={docker_bytes(demo_repository)}")
    wait_for(name, "healthy")
    url, problems = address(name, 8001), []

    def work() -> None:
        with grpc.InferenceServerClient(url) as client:
            try:
                for _ in range(5):
                    infer(client, demo_images[:8])
            except grpc.InferenceServerException as error:
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
    with grpc.InferenceServerClient(address(name, 8001)) as client:
        with pytest.raises(grpc.InferenceServerException, match=r"use '--shm-size' flag"):
            infer(client, demo_images[:8])
        assert infer(client, demo_images[:1]) == 1


def test_a_root_that_is_read_only_needs_a_tmp(image: str, demo_repository: Path) -> None:
    told = ("run", "--rm", "--read-only", "-v", f"{demo_repository}:/models:ro", image)
    assert "/tmp/qtriton': Read-only file system" in docker(*told, check=False, streams=True)
