"""How long each window of a run may be, so that all of it ends in the time that it was given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: A window in seconds: a shorter one holds too few requests, a longer one tells little more.
SHORTEST_S: Final = 0.5
LONGEST_S: Final = 5.0
#: Of what is left: for the steps alone, and then for what is compared end to end; the curve has the rest.
_FOR_STEPS: Final = 0.35
_FOR_ENSEMBLES: Final = 0.8
#: Rounds of windows in turns: medians need two or more, and more than this many find nothing new.
FEWEST_ROUNDS: Final = 2
_MOST: Final = 9
_COMFORTABLE_S: Final = 3.0
#: Kept back: the program takes a moment to start, and its servers to end.
AROUND_S: Final = 4.5


@dataclass
class Schedule:
    """A clock that runs from when it is made."""

    total_s: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._start_s = self.clock()

    @property
    def spent_s(self) -> float:
        """Since the start."""
        return self.clock() - self._start_s

    @property
    def left_s(self) -> float:
        """For windows until the end; below 0 where it has passed."""
        return self.total_s - AROUND_S - self.spent_s

    def step_window_s(self, windows: int, overhead_s: float) -> float:
        """Of each of so many windows of steps alone, beside which each takes `overhead_s`."""
        return _within(_FOR_STEPS * self.left_s / windows - overhead_s, SHORTEST_S)

    def turns(self, allocations: int, least_s: float) -> tuple[int, float]:
        """How many rounds of so many ensembles, and the window of each, at least `least_s`."""
        each_s = _FOR_ENSEMBLES * self.left_s / allocations
        rounds = max(FEWEST_ROUNDS, min(_MOST, int(each_s / max(least_s, _COMFORTABLE_S))))
        return rounds, _within(each_s / rounds, least_s)

    def curve_window_s(self, windows: int, least_s: float) -> float:
        """Of each of the last windows, at least `least_s`."""
        return _within(self.left_s / windows, least_s)


def _within(seconds: float, least_s: float) -> float:
    return max(SHORTEST_S, least_s, min(LONGEST_S, seconds))
