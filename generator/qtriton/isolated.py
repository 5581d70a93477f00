"""Run a function in a process of its own: what crashes there ends nothing here, and it never outlives this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from qtriton.errors import QtritonError
from qtriton.progress import Progress

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_GRACE_S: Final = 5.0
#: The current folder is the user's: no module is taken from there.
_CHILD: Final = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; from qtriton.isolated import _child; _child()"
)


#: What ends the functions that this thread waits for, where something may.
_CANCEL: Final[ContextVar[threading.Event | None]] = ContextVar("cancel", default=None)
_TICK_S: Final = 0.1


class CancelledError(Exception):
    """The function was ended because nobody waits for it any more."""


class CrashError(Exception):
    """The process ended before it had answered; the text says how: "was killed by SIGSEGV"."""

    def __init__(self, status: int) -> None:
        super().__init__(
            f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        )
        #: As subprocess has it: below 0 for a signal.
        self.status = status


class RemoteError(Exception):
    """What the function raised there, in one line; the traceback is in the log."""


@dataclass(frozen=True)
class Channel:
    """The way to a function that runs in another process; what is sent is pickled."""

    _process: subprocess.Popen[bytes]
    _connection: Connection

    def send(self, value: object) -> None:
        """Send the function something.

        Raises:
            CrashError: its process has ended.
        """
        try:
            self._connection.send(value)
        except BrokenPipeError:
            raise CrashError(self._process.wait()) from None

    def receive(self) -> Any:
        """What the function sends next.

        Raises:
            CrashError: its process ended without sending anything more.
            CancelledError: this was `cancellable`, and was cancelled.
        """
        cancel = _CANCEL.get()
        try:
            while cancel is not None and not self._connection.poll(_TICK_S):
                if cancel.is_set():
                    raise CancelledError
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise CrashError(self._process.wait()) from None


@contextmanager
def cancellable(cancel: threading.Event) -> Iterator[None]:
    """End the functions that this thread waits for within the block, and with them their processes, at the event."""
    token = _CANCEL.set(cancel)
    try:
        yield
    finally:
        _CANCEL.reset(token)


@contextmanager
def process(
    function: Callable[..., None],
    *arguments: object,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    log: Path | None = None,
) -> Iterator[Channel]:
    """Start function(connection, *arguments) in a process that has ended, with all it started, when the block is left.

    Ctrl-C does not reach it; it is killed when this process dies, however that dies.

    Args:
        function: of a module that can be imported; it talks over the connection that it is given first.
        arguments: what it is given then, pickled.
        env: environment variables that it has beside ours.
        folder: its working folder; ours where none is named.
        log: where stdout and stderr go; nowhere without one, but to ours with QTRITON_DEBUG.
    """
    ours, theirs = Pipe()
    with theirs, contextlib.ExitStack() as stack:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=(output := _output(log, stack)),
            stderr=output,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": _import_path(), **(env or {})},
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    channel = Channel(child, ours)
    orderly = False
    try:
        channel.send((function, arguments))
        yield channel
        orderly = True
    finally:
        ours.close()
        _end(child, orderly)


def run(
    function: Callable[..., Any],
    *arguments: object,
    progress: Progress | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    log: Path | None = None,
) -> Any:
    """Return function(*arguments), computed in a process of its own; with `progress`, it gets a keyword of that name.

    Raises:
        QtritonError: as the function raised it.
        RemoteError: the function raised something else.
        CrashError: the process ended before that.
    """
    with process(_call, function, arguments, progress is not None, env=env, folder=folder, log=log) as channel:
        while True:
            kind, value = channel.receive()
            match kind:
                case "progress" if progress is not None:
                    progress(*value)
                case "done":
                    return value
                case "refused":
                    raise value
                case "failed":
                    raise RemoteError(value)


def headline(error: Exception) -> str:
    """One line of what may be pages of C++ traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    lines = [line for line in lines if not line.startswith("Exception from ")]  # of OpenVINO, and only a place
    telling = [line for line in lines if "Error:" in line] or lines[:1]
    return (telling[0] if telling else type(error).__name__).rstrip(".")


def _call(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], reports: bool) -> None:
    lock = threading.Lock()  # Paddle's loader counts images in a thread of its own

    def progress(done: int, total: int) -> None:
        with lock:
            connection.send(("progress", (done, total)))

    try:
        value = function(*arguments, progress=progress) if reports else function(*arguments)
    except QtritonError as error:
        connection.send(("refused", error))
    except Exception as error:
        traceback.print_exc()
        text = headline(error)
        connection.send(("failed", text if type(error).__name__ in text else f"{type(error).__name__}: {text}"))
    else:
        connection.send(("done", value))


def _child() -> None:
    """What the other process runs."""
    descriptor, parent = map(int, sys.argv[1:])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request took effect
        os._exit(1)
    connection = Connection(descriptor)
    function, arguments = connection.recv()
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has closed its end: nobody waits for more
        function(connection, *arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # without the destructors of the runtimes and of Paddle, which have crashed finished runs


def _output(log: Path | None, stack: contextlib.ExitStack) -> Any:
    if log is not None:
        return stack.enter_context(log.open("wb"))
    return None if os.environ.get("QTRITON_DEBUG") else subprocess.DEVNULL


def _import_path() -> str:
    ours = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join([ours, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])


def _end(child: subprocess.Popen[bytes], orderly: bool) -> None:
    """End it and what it started; after an orderly end of the block it gets the time to leave by itself."""
    if not orderly:
        _signal(child, signal.SIGTERM)
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)
        child.wait()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the whole process group; harmless where it is gone."""
    with contextlib.suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, number)
