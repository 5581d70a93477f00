"""Runs tritonserver and leaves nothing of it behind, whatever happens to the process that asked for it.

A stand-alone script of the standard library only: it reads one JSON line from stdin, starts the server, and
ends it when told to (SIGTERM) or when its parent is gone, even by kill -9. Then it kills what the server left
running, does what the job names for the end, and removes its shared memory and its folder. On stdout it tells
the server's process id, and its exit status is the server's (128 + N after signal N).
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.05


class Asked:
    """Whether somebody asked us to stop."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._signalled = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    def __bool__(self) -> bool:
        return self._signalled or os.getppid() != self._parent


def main() -> None:
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    asked = Asked(job["parent"])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, asked.on_signal)
    # Orphaned stubs become our children, so that they can be found and ended by their ids.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        code = run(job, asked, libc)
    finally:
        end_children()
        finish(job.get("after"))
        remove_shared_memory(job["shm_prefix"])
        shutil.rmtree(job["folder"], ignore_errors=True)
    sys.exit(code if code >= 0 else 128 - code)


def run(job: dict[str, Any], asked: Asked, libc: ctypes.CDLL) -> int:
    def die_with_me() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    # This process has one thread, so preexec_fn is safe and PDEATHSIG means the process, not a thread of it.
    server = subprocess.Popen(
        job["command"], stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd=job["cwd"], env=job["env"],
        preexec_fn=die_with_me,
    )  # fmt: skip
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(1, f"{server.pid}\n".encode())
    while server.poll() is None and not asked:
        time.sleep(POLL_S)
    if server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(job["grace_s"])
    if server.poll() is None:
        server.kill()
    return server.wait()


def end_children() -> None:
    """A dead child's children come to us in the next round."""
    for _ in range(100):
        children = [pid for pid, parent in parents() if parent == os.getpid()]
        if not children:
            return
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def parents() -> list[tuple[int, int]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name may hold anything, so count from its closing parenthesis: state, parent.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            found.append((int(folder.name), int(fields[1])))
    return found


def finish(command: list[str] | None) -> None:
    """Ends what the server's process started elsewhere: a container is no child of docker's client."""
    if command:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def remove_shared_memory(prefix: str) -> None:
    for path in Path("/dev/shm").glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            path.unlink()


if __name__ == "__main__":
    main()
