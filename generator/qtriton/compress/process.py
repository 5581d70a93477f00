"""The worker process: started in a session of its own, watched, ended with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from qtriton.errors import CompressionError

LOG_FILE: Final = "worker.log"
_PR_SET_PDEATHSIG: Final = 1
_GRACE_S: Final = 5.0


def run_worker(
    request: Mapping[str, object],
    work: Path,
    *,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run one request to its end; a Ctrl-C, or any other exception here, ends the worker and what it started.

    Raises:
        CompressionError: the worker failed or crashed; the message holds its last words and names its log.
    """
    request_file = work / "request.json"
    request_file.write_text(json.dumps(request, indent=1))
    log = work / LOG_FILE
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "qtriton.compress.worker", str(request_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=work,
            env=_environment(threads),
            start_new_session=True,
            preexec_fn=_die_with(os.getpid(), ctypes.CDLL(None)),
            text=True,
        )
    try:
        _follow(process, progress)
        code = process.wait()
    finally:
        _end(process)
    if code != 0:
        raise CompressionError(_failure(code, log))


def _environment(threads: int) -> dict[str, str]:
    count = str(threads or len(os.sched_getaffinity(0)))
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        # Paddle walks sets of names, and the same inputs shall give the same bytes.
        "PYTHONHASHSEED": "0",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "FLAGS_call_stack_level": "1",
    }


def _die_with(parent: int, libc: ctypes.CDLL) -> Callable[[], None]:
    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the request took effect
            os._exit(1)

    return in_child


def _follow(process: subprocess.Popen[str], progress: Callable[[int, int], None] | None) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        words = line.split()
        if progress is not None and len(words) == 3 and words[0] == "qtriton-progress":
            progress(int(words[1]), int(words[2]))


def _end(process: subprocess.Popen[str]) -> None:
    """End the whole process group; harmless where it is gone."""
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is not None:
        return
    timer = threading.Timer(_GRACE_S, lambda: _signal_group(process, signal.SIGKILL))
    timer.start()
    try:
        _signal_group(process, signal.SIGTERM)
        process.wait()
    finally:
        timer.cancel()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _failure(code: int, log: Path) -> str:
    kind = f"was killed by {signal.Signals(-code).name}" if code < 0 else "failed"
    memory = " Less memory is needed with fewer calibration images." if code == -signal.SIGKILL else ""
    return f"The compression worker {kind}: {_last_words(log)}. The whole log is {log}.{memory}"


def _last_words(log: Path) -> str:
    """The line that says most about the failure."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    marked = [line.removeprefix("qtriton-error ") for line in lines if line.startswith("qtriton-error ")]
    telling = marked or [line for line in lines if "Error" in line] or lines or ["it wrote nothing"]
    return telling[-1].rstrip(".")[:300]
