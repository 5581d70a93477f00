"""How far a transfer is, as a progress in megabytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qtriton.progress import Reporter
from qtriton.releases.store import Transferred


@contextmanager
def transferring(label: str, size: int, reporter: Reporter) -> Iterator[Transferred]:
    """A block of work that transfers so many bytes; what it gives is called with each piece."""
    done = 0
    with reporter.progress(f"{label} (MB)") as progress:

        def transferred(count: int) -> None:
            nonlocal done
            done += count
            progress(done // 10**6, -(-size // 10**6))

        yield transferred
