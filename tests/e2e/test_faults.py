"""The server when something goes wrong around it: killed, told to end under load, without room in memory or on disk."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tritonclient.utils import InferenceServerException

from qtriton.server import ServerOptions, serve

from .load import CLIENTS, load
from .remote import ask
from .test_interrupt import all_gone, family

ENSEMBLE = "demo_digits_onnxruntime_int8"
STEPS = ("demo_digits_preprocess_pixels", f"{ENSEMBLE}_runtime", "demo_digits_postprocess")
FREE_PORTS = ("--grpc-port", 0, "--http-port", 0, "--metrics-port", 0)
#: Mounts an empty file system of that size on that folder, for one command alone.
UNSHARE = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-rm")
WITH_DISK = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
WITHOUT_WRITING = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


@dataclass(frozen=True)
class Served:
    """`qtriton serve` as a user starts it."""

    process: "subprocess.Popen[str]"
    url: str
    started: list[psutil.Process]

    @property
    def leavings(self) -> list[Path]:
        """The server's files in /dev/shm."""
        return list(Path("/dev/shm").glob(f"qtriton-{self.process.pid}-*"))

    def ended(self) -> str:
        """What it said at its end, after which nothing of it may be there."""
        said = self.process.communicate(timeout=60)[1]
        assert all_gone(self.started)
        assert self.leavings == []
        return said


@contextmanager
def served(repository: Path, scratch: Path, *around: object) -> Iterator[Served]:
    scratch.mkdir(exist_ok=True)
    command = [*map(str, around), sys.executable, "-m", "qtriton", *map(str, ("serve", repository, *FREE_PORTS))]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(scratch)}, start_new_session=True
    )
    assert process.stderr
    try:
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"gRPC (\S+), ", line):
                yield Served(process, found[1], family(process))
                break
        else:
            pytest.fail(f"it did not start: {said}")
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)
    assert list(scratch.iterdir()) == [], "it left something in the folder for temporary files"


def unshared(script: str, *arguments: object) -> tuple[str, ...]:
    """The beginning of a command that sees other mounts; skips where this machine does not allow that."""
    probe = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no rights to mount anything here (unshare -m)")
    return (*UNSHARE, "bash", "-c", script, "bash", *map(str, arguments))


def run(around: tuple[str, ...], *arguments: object, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [*around, sys.executable, "-m", "qtriton", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **env})


def step_of(found: list[psutil.Process], model: str) -> psutil.Process:
    return next(each for each in found if "stub" in each.name() and f"/{model}/" in each.cmdline()[1])


def test_told_to_end_under_load_it_answers_what_is_under_way(
    demo_repository: Path, demo_images: list[Path], tmp_path: Path
) -> None:
    image = demo_images[0].read_bytes()
    with served(demo_repository, tmp_path / "tmp") as server, load(server.url, ENSEMBLE, image) as asked:
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.ended()
    assert server.process.returncode == 128 + signal.SIGTERM
    under_way = [each for each in asked if each.sent < told < each.answered]
    assert len(under_way) >= CLIENTS / 2, "there was no load"
    assert [each.error for each in asked if each.sent < told and each.error] == []


def test_without_clients_it_ends_at_once(demo_repository: Path) -> None:
    with serve(demo_repository, ServerOptions(grpc_port=0, http_port=0, drain_s=600, stop_timeout_s=30)):
        pass  # it would wait for ten minutes


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_ends_the_server(
    step: str, demo_repository: Path, demo_images: list[Path], tmp_path: Path
) -> None:
    image = demo_images[0].read_bytes()
    with served(demo_repository, tmp_path / "tmp") as server, load(server.url, ENSEMBLE, image) as asked:
        step_of(server.started, step).kill()
        said = server.ended()
    assert server.process.returncode == 8
    assert f"the process of the step {step} was killed by signal 9, and tritonserver does not start it again" in said
    assert len([each for each in asked if each.error]) == CLIENTS  # each was refused, and none waited for ever


def test_what_triton_does_with_a_killed_step(demo_repository: Path, demo_images: list[Path]) -> None:
    """It refuses every request and says that it is ready (docs/pages/serving.md). If it did better, we could let it."""
    image = demo_images[0].read_bytes()
    with serve(demo_repository, ServerOptions(grpc_port=0, http_port=0)) as server:
        ask(server.grpc_url, ENSEMBLE, [image], ["scores"])
        server._supervisor.send_signal(signal.SIGSTOP)  # it would end the server
        try:
            step_of(psutil.Process(server.pid).children(recursive=True), STEPS[0]).kill()
            for _ in range(3):
                with pytest.raises(InferenceServerException, match=f"'{STEPS[0]}_0_0' is not healthy"):
                    ask(server.grpc_url, ENSEMBLE, [image], ["scores"])
            assert {model.state for model in server.models} == {"READY"}
        finally:
            server._supervisor.send_signal(signal.SIGCONT)
        assert server.has_ended(within_s=60)
        assert server.last_words().startswith(f"qtriton: the process of the step {STEPS[0]} was killed by signal 9")


def test_a_killed_server_leaves_nothing(demo_repository: Path, tmp_path: Path) -> None:
    with served(demo_repository, tmp_path / "tmp") as server:
        assert server.leavings, "the prefix of the shared memory has changed, so this test would see nothing"
        next(each for each in server.started if each.name() == "tritonserver").kill()
        said = server.ended()
    assert server.process.returncode == 8
    assert "tritonserver ended with status 137" in said


def test_shared_memory_that_is_too_small(demo_repository: Path) -> None:
    done = run(unshared(WITH_DISK, "size=4m", "/dev/shm"), "serve", demo_repository, *FREE_PORTS)
    assert done.returncode == 5
    assert "/dev/shm has 4 MiB free" in done.stderr and "--shm-size" in done.stderr


def test_shared_memory_that_fills_up(demo_repository: Path, demo_images: list[Path], tmp_path: Path) -> None:
    image = demo_images[0].read_bytes()
    with served(demo_repository, tmp_path / "tmp", *unshared(WITH_DISK, "size=24m", "/dev/shm")) as server:
        expected = ask(server.url, ENSEMBLE, [image], ["scores"])["scores"]
        filler = Path(f"/proc/{server.process.pid}/root/dev/shm/filler")
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(24 * 2**20))
        # One image has room in what the steps hold already, eight have not.
        assert (ask(server.url, ENSEMBLE, [image], ["scores"])["scores"] == expected).all()
        with pytest.raises(InferenceServerException, match=r"(?s)--shm-size.*No space left on device"):
            ask(server.url, ENSEMBLE, [image] * 8, ["scores"])
        filler.unlink()
        assert len(ask(server.url, ENSEMBLE, [image] * 8, ["scores"])["scores"]) == 8


@pytest.mark.parametrize("size", ["4k", "100k", "2m"])
def test_no_room_for_the_servers_folder(size: str, demo_repository: Path, tmp_path: Path) -> None:
    around = unshared(WITH_DISK, f"size={size}", tmp_path)
    done = run(around, "serve", demo_repository, *FREE_PORTS, TMPDIR=str(tmp_path))
    assert done.returncode == 5, done.stderr
    assert "No space left on device" in done.stderr and "set TMPDIR to another folder" in done.stderr
    assert str(tmp_path) in done.stderr and "bug" not in done.stderr


@pytest.mark.parametrize(("options", "reason"), [("size=4k", "No space left"), ("ro", "Read-only file system")])
def test_no_room_for_the_results(options: str, reason: str, demo_repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    around = unshared(WITH_DISK, options, tmp_path)
    done = run(around, "bench", demo_repository, "--requests", 100, "--output", target)
    assert done.returncode == 2
    assert f"{target}: cannot write the results ({reason}" in done.stderr and "--output" in done.stderr


@pytest.mark.parametrize(("options", "reason"), [("size=100k", "the disk is full"), ("ro", "Read-only file system")])
def test_no_room_for_a_repository(options: str, reason: str, demo_repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "repository"
    done = run(unshared(WITH_DISK, options, tmp_path), "build", "demo_digits", "--repository", target)
    assert done.returncode == 7
    assert f"{target}: cannot be written ({reason}" in done.stderr


@pytest.mark.parametrize(("size", "place"), [("200k", "stages"), ("8m", "scratch")])
def test_no_room_for_the_cache(size: str, place: str, tmp_path: Path) -> None:
    """The scenes have no room in the small one, the calibration's tensors, which are mapped, none in the other."""
    cache, repository = tmp_path / "cache", tmp_path / "repository"
    cache.mkdir()
    around = unshared(WITH_DISK, f"size={size}", cache)
    done = run(
        around, "build", "demo_digits", "--precision", "int8", "--repository", repository, QTRITON_CACHE=str(cache)
    )
    assert done.returncode == 5, done.stderr
    assert "No space left on device" in done.stderr and "QTRITON_CACHE" in done.stderr
    assert f"{cache}/{place}/" in done.stderr and not repository.exists()


def test_a_read_only_repository_is_served_and_not_built_into(
    demo_repository: Path, demo_images: list[Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(demo_repository, tmp_path / "parent" / "repository")
    around = unshared(WITHOUT_WRITING, copy.parent)
    with served(copy, tmp_path / "tmp", *around) as server:
        assert len(ask(server.url, ENSEMBLE, [demo_images[0].read_bytes()], ["scores"])["scores"]) == 1
    done = run(around, "build", "demo_digits", "--repository", copy, "--force")
    assert done.returncode == 7
    assert f"{copy}: cannot be written (Read-only file system" in done.stderr
