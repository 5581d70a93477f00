"""One stage that is made for the cache while its build goes on with others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from qtriton import isolated
from qtriton.errors import QtritonError
from qtriton.progress import Progress, Reporter

#: Seconds between two looks at how far it is.
_TICK_S: Final = 0.1
#: Seconds that it gets to end; it may be waiting for another process that makes the same, and ends after that.
_GRACE_S: Final = 10.0


@dataclass
class Background:
    """A thread that makes a stage, most of it in processes of their own; at first it makes nothing.

    What is refused in it is refused again to who asks for the stage.
    """

    _digest: str = ""
    _thread: threading.Thread | None = None
    _cancel: threading.Event = field(default_factory=threading.Event)
    _done: tuple[int, int] = (0, 0)
    _warnings: list[str] = field(default_factory=list)
    _error: Exception | None = None

    def start(self, digest: str, work: Callable[[Reporter], object]) -> None:
        """Begin to make the stage with this digest; `work` is given whom to report to, and needs to be thread-safe."""
        self.stop()
        self._digest, self._cancel, self._done, self._warnings = digest, threading.Event(), (0, 0), []
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(work, self._cancel), daemon=True)
        self._thread.start()

    def makes(self, digest: str) -> bool:
        """Whether it makes, or has made, the stage with this digest."""
        return self._thread is not None and self._digest == digest

    def wait(self, progress: Progress, warn: Callable[[str], None]) -> None:
        """Wait until it has ended, and say what it would have said meanwhile.

        Raises:
            Exception: what was raised in it and is no QtritonError, so a bug.
        """
        going = self._thread is not None
        while going and self._thread is not None:
            self._thread.join(_TICK_S)
            going = self._thread.is_alive()
            progress(*self._done)
        for warning in self._warnings:
            warn(warning)
        self._thread = None
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Give up what is not done: another stage was needed, or the machine has to be quiet."""
        if self._thread is not None:
            self._cancel.set()
            self._thread.join(_GRACE_S)
            self._thread = None

    @contextmanager
    def progress(self, label: str, /) -> Iterator[Progress]:
        """What the thread's Reporter does: it remembers how far the latest block is."""
        del label

        def advance(done: int, total: int) -> None:
            self._done = done, total

        yield advance

    def warn(self, message: str, /) -> None:
        """What the thread's Reporter does: it remembers it for `wait`."""
        self._warnings.append(message)

    def _run(self, work: Callable[[Reporter], object], cancel: threading.Event) -> None:
        try:
            with isolated.cancellable(cancel):
                work(self)
        except (QtritonError, isolated.CancelledError):
            pass
        except Exception as error:
            self._error = error
