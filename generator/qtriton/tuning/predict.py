"""The throughput and p99 of every allocation, by the model of queues, with the cores as what all of them share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qtriton.repository.tuned import Allocation
from qtriton.tuning.load import Load
from qtriton.tuning.profile import Profile
from qtriton.tuning.queues import Flow, Station, closed_flow, erlang_c, open_flow


@dataclass(frozen=True)
class Prediction:
    """What the model says of an allocation; a p99 without end where it cannot keep up."""

    allocation: Allocation
    throughput_rps: float
    p99_ms: float


def predict(profile: Profile, every: Iterable[Allocation], load: Load) -> tuple[Prediction, ...]:
    """What the model says of each allocation under a load."""
    return tuple(_predict(profile, each, load) for each in every)


def _predict(profile: Profile, allocation: Allocation, load: Load) -> Prediction:
    if load.clients is not None:
        stations, cpu_s = profile.stations(allocation, load.clients)
        flow = on_cores_closed(stations, profile.delay_s, load.clients, cpu_s, profile.cores)
        return Prediction(allocation, flow.throughput, 1e3 * flow.p99_s)
    assert load.rate is not None
    # At a rate, as many may wait as fit a batch.
    stations, cpu_s = profile.stations(allocation, profile.max_batch * allocation.runtime)
    found = on_cores_open(stations, profile.delay_s, load.rate, cpu_s, profile.cores)
    if found is not None:
        return Prediction(allocation, load.rate, 1e3 * found.p99_s)
    most = min([profile.cores / cpu_s, *(1 / station.seconds[-1] for station in stations)])
    return Prediction(allocation, min(load.rate, most), math.inf)


def on_cores_closed(stations: Sequence[Station], delay_s: float, clients: int, cpu_s: float, cores: int) -> Flow:
    """The flow of clients on cores, of which each request keeps one busy for `cpu_s` in all.

    The utilisation law: throughput times CPU time is the number of busy cores, which cannot be above those that there
    are (P. J. Denning and J. P. Buzen, The operational analysis of queueing network models, ACM Computing Surveys 10
    (1978), 225-261). Where queues alone would keep more busy, everything slows down by the factor at which it holds.
    """

    free = closed_flow(stations, delay_s, clients)
    factor = max(1.0, free.throughput * cpu_s / cores)  # all times so many times as long: a throughput so much less
    return Flow(free.throughput / factor, free.mean_s * factor, free.variance_s2 * factor**2)


def on_cores_open(stations: Sequence[Station], delay_s: float, rate: float, cpu_s: float, cores: int) -> Flow | None:
    """The flow of requests at a rate on cores; None where these or a station cannot keep up.

    Whoever computes shares the cores with the others, about as in M/M/c with processor sharing, whose mean is that of
    M/M/c first come, first served (L. Kleinrock, Queueing Systems II, 1976, chapter 4).
    """
    busy = rate * cpu_s
    if busy >= cores:
        return None
    factor = 1 + erlang_c(cores, busy) / (cores - busy)
    return open_flow([station.slowed(factor) for station in stations], factor * delay_s, rate)
