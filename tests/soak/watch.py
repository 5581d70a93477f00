"""How much memory a server takes while it works: samples, once a second, and by how much they grow."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import psutil

EVERY_S: Final = 1.0
#: The first and the last so much of the time that is watched are compared, by their medians.
WINDOW: Final = 0.2
TOTAL, SHM, CLIENT = "tritonserver and its steps, RSS", "/dev/shm", "client, RSS"


@dataclass(frozen=True)
class Sample:
    """Bytes by what takes them, and seconds since the load began."""

    at_s: float
    taken: dict[str, int]


@dataclass(frozen=True)
class Growth:
    """Bytes at the beginning and at the end of the time that is watched."""

    what: str
    before: float
    after: float

    @property
    def percent(self) -> float:
        if not self.before:
            return 0.0 if not self.after else float("inf")
        return 100 * (self.after / self.before - 1)


@dataclass
class Watch:
    """Takes samples of a server, by its process id, and of the shared memory of that prefix."""

    server: int
    shm_prefix: str
    samples: list[Sample] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        stop, begin = threading.Event(), time.monotonic()

        def watch() -> None:
            while not stop.wait(EVERY_S):
                self.samples.append(Sample(time.monotonic() - begin, self._taken()))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _taken(self) -> dict[str, int]:
        taken: dict[str, int] = {}
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.server)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    taken[_named(process)] = taken.get(_named(process), 0) + process.memory_info().rss
        return {
            TOTAL: sum(taken.values()),
            **{f"  {name}": size for name, size in sorted(taken.items())},
            SHM: shm_bytes(self.shm_prefix),
            CLIENT: psutil.Process().memory_info().rss,
        }


def grown(samples: Sequence[Sample], after_s: float) -> tuple[Growth, ...]:
    """The growth of each from the first samples behind `after_s` to the last ones.

    Raises:
        ValueError: there are too few of them to tell.
    """
    late = [sample.taken for sample in samples if sample.at_s >= after_s]
    count = int(len(late) * WINDOW)
    if count < 3:
        raise ValueError(f"only {len(late)} samples after {after_s:g} s: watch longer")
    names = dict.fromkeys(name for taken in late for name in taken)

    def middle(part: Sequence[dict[str, int]], name: str) -> float:
        return median(taken.get(name, 0) for taken in part)

    return tuple(Growth(name, middle(late[:count], name), middle(late[-count:], name)) for name in names)


def shm_bytes(prefix: str) -> int:
    """What the files in /dev/shm that begin so really take."""
    total = 0
    for path in Path("/dev/shm").glob(f"{prefix}*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512
    return total


def _named(process: psutil.Process) -> str:
    """tritonserver, or the model whose step a stub runs."""
    with suppress(psutil.NoSuchProcess, IndexError):
        line = process.cmdline()
        if "triton_python_backend_stub" in line[0]:
            return Path(line[1]).parents[1].name
    return process.name()
