"""How work tells of itself: what a build, a measurement or a server is given to report to; silent unless it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol, TypeAlias

#: Called with how much is done and how much there is.
Progress: TypeAlias = Callable[[int, int], None]


class Reporter(Protocol):
    """Who is told; the module qtriton.console is one."""

    def progress(self, label: str, /) -> AbstractContextManager[Progress]:
        """A block of work; what it gives is called as the work goes on."""
        ...

    def warn(self, message: str, /) -> None:
        """What may surprise the user."""
        ...


class _Silent:
    """Says nothing; warnings go to the logger `qtriton`."""

    @contextmanager
    def progress(self, label: str, /) -> Iterator[Progress]:
        """A block of work."""
        del label
        yield ignore

    def warn(self, message: str, /) -> None:
        """Log it."""
        logging.getLogger("qtriton").warning(message)


def ignore(done: int, total: int) -> None:
    """A progress that nobody wants to know of."""
    del done, total


SILENT: Final[Reporter] = _Silent()
