"""Where the time of a build goes: the parts add up to the whole, and say what was in the cache."""

from pathlib import Path

import pytest

from qtriton.timings import REST, Timing, Timings
from qtriton.workspace import Workspace


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_part_does_not_count_the_parts_within_it() -> None:
    clock = Clock()
    timings = Timings(clock)
    clock.now += 1
    with timings.part("artifact"):
        clock.now += 10
        with timings.part("scales"):
            clock.now += 100
        clock.now += 20
    clock.now += 2
    assert timings.rows() == (Timing("scales", 100, 1, 0), Timing("artifact", 30, 1, 0), Timing(REST, 3, 1, 0))


def test_the_rows_add_up_to_all_that_has_passed() -> None:
    clock = Clock()
    timings = Timings(clock)
    for seconds in (3, 5, 7):
        with timings.part("again"):
            clock.now += seconds
        clock.now += 1
    rows = timings.rows()
    assert rows[0] == Timing("again", 15, 3, 0)
    assert sum(each.seconds for each in rows) == clock.now - 100


def test_a_part_that_fails_has_taken_its_time() -> None:
    clock = Clock()
    timings = Timings(clock)
    with pytest.raises(ValueError, match="no"), timings.part("fails"):
        clock.now += 4
        raise ValueError("no")
    assert timings.rows()[0] == Timing("fails", 4, 1, 0)


def test_a_stage_says_whether_it_was_made(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for _ in range(3):
        workspace.stage("frames", "0" * 64, lambda folder: None)
    first, _ = workspace.timings.rows()
    assert (first.stage, first.computed, first.cached) == ("frames", 1, 2)


def test_a_stage_that_waits_for_another_counts_it_by_itself(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def produce(folder: Path) -> None:
        workspace.stage("inner", "2" * 64, lambda folder: None)

    workspace.stage("outer", "1" * 64, produce)
    assert [each.stage for each in workspace.timings.rows()] == ["inner", "outer", REST]
