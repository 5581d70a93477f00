"""What is measured on the rig, in which order: the steps alone, then whole ensembles in turns, then the curve."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qtriton.progress import Progress, Reporter
from qtriton.repository.tuned import Allocation, LoadPoint, StepPoint, TriedAllocation
from qtriton.tuning.choice import best
from qtriton.tuning.load import Load
from qtriton.tuning.options import MOST_CLIENTS
from qtriton.tuning.predict import Prediction
from qtriton.tuning.profile import Profile
from qtriton.tuning.rig import Rig, rig
from qtriton.tuning.schedule import FEWEST_ROUNDS, Schedule
from qtriton.tuning.setting import Setting
from qtriton.tuning.space import Space
from qtriton.tuning.subject import Subject
from qtriton.tuning.window import RAMP_S, Window
from qtriton_client.measure import turns

#: Times the load, for the curve of the chosen allocation.
_CURVE: Final = (0.25, 0.5, 1.0, 2.0)
#: The fewest answers that a window should have, even if that makes it longer than the time that was given allows.
_ANSWERS: Final = 10
#: How many times its CPU time a request takes at most outside of the steps: threads sleep and are woken.
_SLEEPY: Final = 3
_ONE: Final = Load(clients=1)


@dataclass(frozen=True)
class Confirmed:
    """What was measured end to end."""

    tried: tuple[TriedAllocation, ...]
    #: Of the best one; nothing where none keeps the budget.
    curve: tuple[LoadPoint, ...]
    #: What was left out, as it answers otherwise.
    refused: tuple[str, ...]


@dataclass(frozen=True)
class Bench:
    """What is measured, and what it is measured with."""

    subject: Subject
    images: Sequence[bytes]
    load: Load
    schedule: Schedule
    scratch: Path
    reporter: Reporter

    def profile(self, space: Space) -> Profile:
        """Measure each step alone, and the ensemble as it is for what lies outside of the steps."""
        before = self.subject.before
        settings = dict.fromkeys((*space.measured(), *alone_of(before)))
        points, every = [], [*((setting, 1) for setting in settings), *space.batches()]
        label = f"{self.subject.ensemble}: each step alone"
        with self._rig([setting for setting, _ in every], [before], "steps") as running:
            seconds = self.schedule.step_window_s(len(every) + 2, 2 * RAMP_S)
            with self.reporter.progress(label) as progress:
                for done, (setting, batch) in enumerate(every):
                    progress(done, len(every) + 2)
                    points.append(running.measure_step(setting, batch, seconds))
                single = running.measure(before, _ONE, seconds)
                progress(len(every) + 1, len(every) + 2)
                loaded = running.measure(before, self.load, max(seconds, least_window_s(self.load, ())))
                progress(len(every) + 2, len(every) + 2)
        return profile_of(points, single, loaded, before, space)

    def confirm(self, predictions: Sequence[Prediction], chosen: Sequence[Allocation], budget_ms: float) -> Confirmed:
        """Measure allocations end to end, in turns, and the best of them under other loads."""
        by_allocation = {each.allocation: each for each in predictions}
        with self._rig([], chosen, "ensembles") as running:
            refused = {each: why for each in chosen[1:] if (why := running.differs(each, chosen[0]))}
            kept = [each for each in chosen if each not in refused]
            least_s = least_window_s(self.load, [by_allocation[each] for each in kept])
            rounds, seconds = self.schedule.turns(len(kept), least_s)
            with self.reporter.progress(f"{self.subject.ensemble}: {len(kept)} allocations in turns") as progress:
                windows = in_turns(running, kept, self.load, rounds, seconds, progress, lambda: self.schedule.left_s)
            tried = [tried_of(by_allocation[each], windows[each]) for each in kept]
            winner = best(tried, self.load, budget_ms, chosen[0])
            curve = self._curve(running, winner.allocation, windows[winner.allocation]) if winner else ()
        return Confirmed(tuple(tried), curve, tuple(f"{each}: {why}" for each, why in refused.items()))

    def _rig(
        self, settings: Sequence[Setting], every: Sequence[Allocation], folder: str
    ) -> AbstractContextManager[Rig]:
        scratch = self.scratch / folder
        return rig(self.subject, settings, every, self.images, scratch, self.reporter)

    def _curve(self, running: Rig, allocation: Allocation, windows: Sequence[Window]) -> tuple[LoadPoint, ...]:
        every = dict.fromkeys(map(self.load.times, _CURVE))
        loads = [load for load in every if load != self.load and (load.clients or 0) <= MOST_CLIENTS]
        points = [point_of(self.load, windows)]
        with self.reporter.progress(f"{self.subject.ensemble}: more and less load") as progress:
            for done, load in enumerate(loads, 1):
                if self.schedule.left_s <= 0:
                    break
                least_s = max(RAMP_S + _ANSWERS * points[0].p50_ms / 1e3, least_window_s(load, ()))
                seconds = self.schedule.curve_window_s(len(loads) - done + 1, least_s)
                points.append(point_of(load, [running.measure(allocation, load, seconds)]))
                progress(done, len(loads))
        return tuple(sorted(points, key=lambda point: point.clients or point.rate or 0))


def least_window_s(load: Load, predictions: Sequence[Prediction]) -> float:
    """A window in which the slowest of some allocations has a few answers."""
    slowest = min([load.rate or math.inf, *(each.throughput_rps for each in predictions if each.throughput_rps > 0)])
    return RAMP_S + _ANSWERS / slowest


def in_turns(
    running: Rig,
    every: Sequence[Allocation],
    load: Load,
    rounds: int,
    seconds: float,
    progress: Progress,
    left_s: Callable[[], float] = lambda: math.inf,
) -> dict[Allocation, list[Window]]:
    """The windows of each allocation, one a round; the order is reversed every other round.

    Each has run for a moment before it counts. After two rounds, one for which the time is not left is not begun: on a
    busy machine, each takes longer than it should.
    """
    windows: dict[Allocation, list[Window]] = {each: [] for each in every}
    done, total = 0, len(every) * rounds
    for each in every:
        running.warm_up(each, load)
    for number, order in enumerate(turns(len(every), rounds)):
        if number >= FEWEST_ROUNDS and left_s() < len(every) * seconds:
            break
        for place in order:
            windows[every[place]].append(running.measure(every[place], load, seconds))
            progress(done := done + 1, total)
    return windows


def tried_of(prediction: Prediction, windows: Sequence[Window]) -> TriedAllocation:
    """What was predicted and measured of an allocation."""
    rounds_rps = tuple(window.throughput_rps for window in windows)
    rounds_p99_ms = tuple(window.percentile_ms(99) for window in windows)
    return TriedAllocation(
        allocation=prediction.allocation,
        predicted_rps=prediction.throughput_rps,
        predicted_p99_ms=prediction.p99_ms if math.isfinite(prediction.p99_ms) else None,
        throughput_rps=statistics.median(rounds_rps),
        p99_ms=max(joined(windows).percentile_ms(99), statistics.median(rounds_p99_ms)),
        requests=sum(len(window.latencies_ms) for window in windows),
        rounds_rps=rounds_rps,
        rounds_p99_ms=rounds_p99_ms,
    )


def point_of(load: Load, windows: Sequence[Window]) -> LoadPoint:
    """What clients got under a load."""
    every = joined(windows)
    return LoadPoint(
        clients=load.clients,
        rate=load.rate,
        requests=len(every.latencies_ms),
        throughput_rps=every.throughput_rps,
        p50_ms=every.percentile_ms(50),
        p99_ms=every.percentile_ms(99),
    )


def joined(windows: Sequence[Window]) -> Window:
    """All windows as one: every latency, and the medians of the rest."""
    return Window(
        tuple(latency for window in windows for latency in window.latencies_ms),
        statistics.median(window.throughput_rps for window in windows),
        statistics.median(window.steps_cpu_s for window in windows),
        statistics.median(window.other_cpu_s for window in windows),
    )


def alone_of(allocation: Allocation) -> tuple[Setting, ...]:
    """The settings that the model must know of an allocation that may be outside of those that are tried."""
    return Setting("runtime", 1, allocation.threads), Setting("runtime", allocation.runtime, allocation.threads)


def profile_of(
    points: Sequence[StepPoint], single: Window, loaded: Window, before: Allocation, space: Space
) -> Profile:
    """What was measured as the model takes it.

    Args:
        points: of the steps alone.
        single: one client of the whole ensemble.
        loaded: the load that is tuned for.
        before: the allocation of both.
        space: what is tried.
    """
    bare = Profile(space.cores, tuple(points), 0.0, 0.0, space.max_batch)
    stations, steps_cpu_s = bare.stations(before, 1)
    waited_s = statistics.fmean(single.latencies_ms) / 1e3
    return replace(
        bare,
        # On a busy machine, a request that computes nothing waits for a core too, which is no time of its own.
        delay_s=max(0.0, min(waited_s - sum(station.service_s for station in stations), _SLEEPY * single.other_cpu_s)),
        # What steps take more between one another than alone, as their caches are cold, is in there too.
        other_cpu_s=max(0.0, loaded.steps_cpu_s + loaded.other_cpu_s - steps_cpu_s),
    )
