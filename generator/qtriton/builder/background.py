"""One stage that is made for the cache while its build goes on with others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    """Makes one stage at a time, most of it in processes of their own; at first it makes nothing.

    What is refused in it is refused again to who asks for the stage.
    """

    _run: _Run | None = None

    def start(self, digest: str, work: Callable[[Reporter], object]) -> None:
        """Begin to make the stage with this digest; `work` is given whom to report to, and needs to be thread-safe."""
        self.stop()
        self._run = _Run(digest, work)
        self._run.start()

    def makes(self, digest: str) -> bool:
        """Whether it makes, or has made, the stage with this digest."""
        return self._run is not None and self._run.digest == digest

    def wait(self, progress: Progress, warn: Callable[[str], None]) -> None:
        """Wait until it has ended, and say what it would have said meanwhile.

        Raises:
            Exception: what was raised in it and is no QtritonError, so a bug.
        """
        run = self._run
        if run is None:
            return
        going = True
        while going:
            run.join(_TICK_S)
            going = run.is_alive()
            progress(*run.done)
        for warning in run.warnings:
            warn(warning)
        self._run = None
        if run.error is not None:
            raise run.error

    def stop(self) -> None:
        """Give up what is not done: another stage was needed, or the machine has to be quiet."""
        if self._run is not None:
            self._run.cancel.set()
            self._run.join(_GRACE_S)
            self._run = None


class _Run(threading.Thread):
    """The thread that makes a stage; it is the Reporter of its work, and remembers what that says for `wait`."""

    def __init__(self, digest: str, work: Callable[[Reporter], object]) -> None:
        super().__init__(daemon=True)
        self.digest = digest
        self.cancel = threading.Event()
        self.done = (0, 0)
        self.warnings: list[str] = []
        self.error: Exception | None = None
        self._work = work

    @contextmanager
    def progress(self, label: str, /) -> Iterator[Progress]:
        """What a Reporter does, for the latest block only."""
        del label

        def advance(done: int, total: int) -> None:
            self.done = done, total

        yield advance

    def warn(self, message: str, /) -> None:
        """What a Reporter does."""
        self.warnings.append(message)

    def run(self) -> None:
        """What the thread does."""
        try:
            with isolated.cancellable(self.cancel):
                self._work(self)
        except (QtritonError, isolated.CancelledError):
            pass
        except Exception as error:
            self.error = error
