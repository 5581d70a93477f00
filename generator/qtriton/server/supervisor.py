"""Runs tritonserver and leaves nothing of it behind, whatever happens to the process that asked for it.

A stand-alone script of the standard library only, which the docker image runs, too: it starts the server that its
arguments name, as a job tells, one JSON line on stdin, and ends it when told to (SIGTERM) or when its parent is gone,
even by kill -9. Then it kills what the server left running, does what the job names for the end, and removes its
shared memory and its folder. On stdout it tells the server's process id, and its exit status is the server's (128 + N
after signal N).

Two things that tritonserver (2.51) gets wrong are put right here:

- At SIGTERM it refuses the next step of an ensemble's request that is under way. So, as long as clients are connected,
  it is told to end a little later than asked, and what was under way then is answered.
- When the process of a python step dies, it goes on, says that it is ready, and refuses each request. So it is ended,
  and whoever started it can start it again. Until it is ready, its log tells why a step ended; SIGUSR1 tells that it
  is, or the server itself where the job has its address.
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
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.05
LOOK_S = 0.5
STUB = "triton_python_backend_stub"
#: The server's last words begin so where a step's process died; Server.last_words() looks for it.
DIED = "qtriton: the process of the step "
REFUSES = ", and tritonserver does not start it again, so it was ended: run it again"


class Asked:
    """Whether somebody asked us to stop, and whether the server was said to be ready."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._signalled = False
        self.ready = False

    def on_ready(self, _number: int, _frame: FrameType | None) -> None:
        self.ready = True

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    def __bool__(self) -> bool:
        return self._signalled or os.getppid() != self._parent


def main() -> None:
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    asked = Asked(job["parent"])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, asked.on_signal)
    signal.signal(signal.SIGUSR1, asked.on_ready)
    # Orphaned stubs become our children, so that they can be found and ended by their ids.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        code = run(job, asked, libc)
    finally:
        end_children()
        finish(job.get("after"))
        remove_shared_memory(job.get("shm_prefix"))
        shutil.rmtree(job["folder"], ignore_errors=True)
    sys.exit(code if code >= 0 else 128 - code)


def run(job: dict[str, Any], asked: Asked, libc: ctypes.CDLL) -> int:
    def die_with_me() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    # This process has one thread, so preexec_fn is safe and PDEATHSIG means the process, not a thread of it.
    server = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd=job.get("cwd"), env=job.get("env"),
        preexec_fn=die_with_me,  # noqa: PLW1509
    )  # fmt: skip
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(1, f"{server.pid}\n".encode())
    died = watch(server, asked, job.get("http"))
    if server.poll() is None:
        if not died:
            drain(job.get("ports", []), job.get("drain_s", 0))
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(job["grace_s"])
    if server.poll() is None:
        server.kill()
    code = server.wait()
    if died:
        print(died, file=sys.stderr, flush=True)
        return 1
    return code


def watch(server: "subprocess.Popen[bytes]", asked: Asked, http: tuple[str, int] | None) -> str:
    """Until the server ends, or is to end; what to say where that is because a step's process has died."""
    steps: dict[int, str] = {}
    complete, looked = False, 0.0
    while server.poll() is None and not asked:
        if not complete and (asked.ready or time.monotonic() - looked > LOOK_S):
            complete, looked = asked.ready or says_ready(http), time.monotonic()
            steps = lacking({**stubs(server.pid), **steps})  # with the names of those that have ended meanwhile
        if complete and (died := next(filter(None, (ending(pid, name) for pid, name in steps.items())), "")):
            return died
        time.sleep(POLL_S)
    return ""


def says_ready(http: tuple[str, int] | None) -> bool:
    """Whether the server, asked at its host and port, answers that all of its models are ready."""
    with contextlib.suppress(OSError, HTTPException):
        if http:
            with contextlib.closing(HTTPConnection(*http, timeout=1)) as connection:
                connection.request("GET", "/v2/health/ready")
                return connection.getresponse().status == 200
    return False


def lacking(steps: dict[int, str]) -> dict[int, str]:
    """The processes of the steps without those whose step has got another one: it starts some anew while it loads."""
    running = {name for pid, name in steps.items() if not ending(pid, name)}
    return {pid: name for pid, name in steps.items() if name not in running or not ending(pid, name)}


def drain(ports: list[int], within_s: float) -> None:
    """Wait until no client is connected, so that no request is under way, or the time is over."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and connected(ports):
        time.sleep(POLL_S)


def connected(ports: list[int]) -> bool:
    """Whether anybody has a connection to one of these ports of this machine."""
    established = "01"
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state = line.split()[:4]
                if state == established and int(local.rpartition(":")[2], 16) in ports:
                    return True
    return False


def stubs(server: int) -> dict[int, str]:
    """The processes of the server's python steps, with the names of their models, also those that have just ended."""
    found = {}
    for pid, parent in parents():
        with contextlib.suppress(OSError):
            folder = Path(f"/proc/{pid}")
            # The kernel keeps 15 characters of a program's name, and nothing of the command line of one that has ended.
            if parent == server and (folder / "comm").read_text(errors="replace").strip() == STUB[:15]:
                line = (folder / "cmdline").read_text(errors="replace").split("\0")
                found[pid] = Path(line[1]).parents[1].name if len(line) > 1 else f"of process {pid}"
    return found


def ending(pid: int, name: str) -> str:
    """What to say of a step's process that has ended; "" while it runs. The server does not wait for its children."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        fields = []
    if not fields:
        return f"{DIED}{name} is gone{REFUSES}"
    if fields[0] not in "ZX":
        return ""
    status = int(fields[-1])  # as of wait(2); 0 where the kernel does not tell
    how = f"was killed by signal {status & 0x7F}" if status & 0x7F else f"ended with status {status >> 8}"
    return f"{DIED}{name} {how}{REFUSES}"


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
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)


def remove_shared_memory(prefix: str | None) -> None:
    """A container's goes with it, and has no prefix of ours."""
    for path in Path("/dev/shm").glob(f"{prefix}*") if prefix else ():
        with contextlib.suppress(OSError):
            path.unlink()


if __name__ == "__main__":
    main()
