"""Where the time of a build goes: the seconds that each stage took itself, without the stages that it waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

#: What is in no stage: hashes, plans, checks, the texts of configurations.
REST: Final = "everything else"


@dataclass(frozen=True)
class Timing:
    """One row: all of one name together."""

    #: As `qtriton cache list` names it, or what it is where it is not kept.
    stage: str
    #: Wall seconds.
    seconds: float
    #: How often it was made, and how often it was in the cache.
    computed: int
    cached: int


@dataclass
class Part:
    """A stage that is running."""

    name: str
    #: Whether it was made here; else it was in the cache.
    computed: bool = True
    seconds: float = 0.0


class Timings:
    """A clock that runs for the innermost of the parts that have begun, so that the parts add up to the whole."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._running, self._ended = clock, [Part(REST)], list[Part]()
        self._since = clock()

    @contextmanager
    def part(self, name: str) -> Iterator[Part]:
        """Whatever the block does but for parts within it."""
        self._turn()
        part = Part(name)
        self._running.append(part)
        try:
            yield part
        finally:
            self._turn()
            self._running.remove(part)
            self._ended.append(part)

    def rows(self) -> tuple[Timing, ...]:
        """What has ended so far by name, in the order in which it ended first, and the rest."""
        self._turn()
        found: dict[str, list[Part]] = {}
        for part in self._ended:
            found.setdefault(part.name, []).append(part)
        return (*(_row(name, parts) for name, parts in found.items()), _row(REST, self._running[:1]))

    def _turn(self) -> None:
        now = self._clock()
        self._running[-1].seconds += now - self._since
        self._since = now


def _row(name: str, parts: Sequence[Part]) -> Timing:
    computed = sum(part.computed for part in parts)
    return Timing(name, sum(part.seconds for part in parts), computed, len(parts) - computed)
