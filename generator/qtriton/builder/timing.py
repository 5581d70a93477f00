"""How long artifacts take without a server: interleaved, so that a noisy machine cannot favour one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from qtriton.backends.runner import Feed, Runner, running
from qtriton.evidence import Interval, ratio_interval
from qtriton.progress import Progress
from qtriton.target import Target

#: Runs of one artifact in a row; short enough that the machine is the same for the next artifact. What is over in a
#: moment runs for so many ms in a row, and at first for longer: an idle GPU takes that to come to its clock.
BLOCK: Final = 5
BLOCK_MS: Final = 20
WARM_UP_MS: Final = 300
ROUNDS: Final = 8

Key = TypeVar("Key")


@dataclass(frozen=True)
class Times:
    """What the runs of one artifact took, in ns: a block of them each round."""

    rounds: tuple[tuple[int, ...], ...]

    @property
    def median_ms(self) -> float:
        """Of all runs."""
        return statistics.median(ns for block in self.rounds for ns in block) / 1e6

    @property
    def round_ms(self) -> tuple[float, ...]:
        """The median of each round's runs."""
        return tuple(statistics.median(block) / 1e6 for block in self.rounds)


@dataclass(frozen=True)
class PairTimes:
    """What FP32 and another artifact took in turns: their medians in ms, and between what FP32 over the other lies."""

    fp32_ms: float
    compressed_ms: float
    ratio: Interval


def time_pair(fp32: tuple[Target, Path], compressed: tuple[Target, Path], progress: Progress) -> PairTimes:
    """The times of two artifacts' main files, which take turns.

    Raises:
        ArtifactLoadError: a runtime cannot load or run one.
    """
    with ExitStack() as stack:
        runs = {place: stack.enter_context(running(*each)) for place, each in enumerate((fp32, compressed))}
        times = take_turns(runs, ROUNDS, progress)
    return pair_times(times[0], times[1])


def pair_times(fp32: Times, compressed: Times) -> PairTimes:
    """The medians of both, and the bounds of the one over the other, which hold that of the medians, too.

    The bounds are of the median of the rounds' ratios, beside which the ratio of all runs' medians can lie where a
    machine is busy; wider bounds hold at the same level.
    """
    before, after = fp32.median_ms, compressed.median_ms
    ratio = ratio_interval(fp32.round_ms, compressed.round_ms)
    ratio = replace(ratio, lower=min(ratio.lower, before / after), upper=max(ratio.upper, before / after))
    return PairTimes(before, after, ratio)


def interleaved(runs: Mapping[Key, Runner], rounds: int, progress: Progress) -> dict[Key, float]:
    """The median time in ms of each of several loaded artifacts, which take turns."""
    return {key: times.median_ms for key, times in take_turns(runs, rounds, progress).items()}


def take_turns(runs: Mapping[Key, Runner], rounds: int, progress: Progress) -> dict[Key, Times]:
    """The times of each of several loaded artifacts on one random image, after they have warmed up.

    They take turns in an order that is reversed every other round, so that who comes first is not always the same.
    """
    taken: dict[Key, list[tuple[int, ...]]] = {key: [] for key in runs}
    feeds = {key: random_feed(run) for key, run in runs.items()}
    blocks = {}
    for key, run in runs.items():
        once = statistics.median(run.time(feeds[key], BLOCK))
        run.time(feeds[key], _repeats(once, WARM_UP_MS))
        blocks[key] = _repeats(once, BLOCK_MS)
    for number in range(rounds):
        for key in runs if number % 2 == 0 else reversed(list(runs)):
            taken[key].append(tuple(runs[key].time(feeds[key], blocks[key])))
        progress(number + 1, rounds)
    return {key: Times(tuple(each)) for key, each in taken.items()}


def _repeats(once_ns: float, least_ms: float) -> int:
    """Runs that together take at least so long."""
    return max(BLOCK, math.ceil(least_ms * 1e6 / max(once_ns, 1)))


def random_feed(run: Runner) -> Feed:
    """One random image; whatever else the model takes is 1."""
    first, *others = run.inputs
    random, shape = np.random.default_rng(0), (1, *first.shape[1:])
    image = random.integers(0, 256, shape, np.uint8) if first.datatype == "UINT8" else random.random(shape, np.float32)
    return {first.name: image, **{tensor.name: np.ones((1, *tensor.shape[1:]), np.float32) for tensor in others}}
