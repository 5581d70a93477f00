"""Queues in closed form: stations whose speed depends on how many requests are there, closed and open.

All times are in seconds. A request visits each station once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

#: How many requests in an open station are looked at: of more, the probability is below 1e-9 up to a load of 0.98.
_DEEPEST: Final = 1024
#: The normal distribution's quantile of 0.99, of standard tables.
_Z99: Final = 2.3263478740408408


@dataclass(frozen=True)
class Station:
    """A queue with its servers: one time for each number of requests there, the last one for all that are more.

    `seconds[j - 1]` is the mean time between two departures while j requests are there: S / min(j, m) for m servers
    that take S each.
    """

    seconds: tuple[float, ...]
    #: What a request takes when it is alone.
    service_s: float
    #: The squared coefficient of variation of that.
    scv: float = 1.0

    @classmethod
    def of_servers(cls, service_s: float, servers: int, scv: float = 1.0) -> Station:
        """m servers, each of which takes one request at a time."""
        return cls(tuple(service_s / min(j, servers) for j in range(1, servers + 1)), service_s, scv)

    def slowed(self, factor: float) -> Station:
        """The same with all times so many times as long."""
        return Station(tuple(factor * each for each in self.seconds), factor * self.service_s, self.scv)

    def gap_s(self, present: int) -> float:
        """Between two departures while so many requests are there, at least one."""
        return self.seconds[min(present, len(self.seconds)) - 1]


@dataclass(frozen=True)
class Flow:
    """What comes out of a network: answers a second, and what one waits for: mean and variance."""

    throughput: float
    mean_s: float
    variance_s2: float

    @property
    def p99_s(self) -> float:
        """The 99th percentile of a gamma distribution with that mean and variance."""
        return gamma_p99(self.mean_s, self.variance_s2)


def closed_flow(stations: Sequence[Station], delay_s: float, clients: int) -> Flow:
    """Clients that each send the next request when the last one is answered; `delay_s` is spent outside of queues.

    Exact for exponential times: J. P. Buzen, Computational algorithms for closed queueing networks with exponential
    servers, CACM 16 (1973), 527-531, with stations of any speed (M. Reiser and H. Kobayashi, IBM J. R&D 19 (1975),
    283-294). It adds positive numbers only, so that it stays exact where the recursion of mean value analysis for such
    stations cancels. What a request finds on arrival is the network with one client less (K. C. Sevcik and I. Mitrani,
    JACM 28 (1981), 358-371); from that follows the variance of its time, as if stations were independent.
    """
    scale = max(station.seconds[-1] for station in stations)  # keeps the weights of the slowest station about 1
    factors = [_delay_factors(delay_s / scale, clients)]
    factors += [_factors(station, scale, clients) for station in stations]
    whole = _convolve(factors, clients)
    throughput = float(whole[clients - 1] / whole[clients] / scale)
    variance = 0.0
    for place, station in enumerate(stations, 1):
        others = _convolve([each for number, each in enumerate(factors) if number != place], clients - 1)
        found = factors[place][:clients] * others[::-1] / whole[clients - 1]
        variance += _station_variance(station, found)
    return Flow(throughput, clients / throughput, variance)


def open_flow(stations: Sequence[Station], delay_s: float, rate: float) -> Flow | None:
    """Requests that come at random moments (Poisson), `rate` a second; None where a station cannot keep up.

    Each station by itself, by its birth-death process, which for m equal servers is Erlang's C; its wait is multiplied
    by half of the sum of the squared coefficients of variation of arrivals and service (A. O. Allen, Probability,
    Statistics, and Queueing Theory, 1978: the Allen-Cunneen approximation). How irregular the departures are that the
    next station gets: W. Whitt, The Queueing Network Analyzer, Bell System Technical Journal 62 (1983), 2779-2815.
    """
    mean, variance, arrival_scv = delay_s, 0.0, 1.0
    for station in stations:
        servers = _servers(station)
        load = rate * station.seconds[-1]
        if load >= 1:
            return None
        waits, wait_s = _open_wait(station, rate)
        wait_s *= (arrival_scv + station.scv) / 2
        service_s = station.service_s
        mean += service_s + wait_s
        # Who waits, waits about exponentially: exact for M/M/c, and so far out for GI/G/c.
        variance += station.scv * service_s**2 + (2 / max(waits, 1e-12) - 1) * wait_s**2
        regular = max(station.scv, 0.2)
        arrival_scv = 1 + (1 - load**2) * (arrival_scv - 1) + load**2 / math.sqrt(servers) * (regular - 1)
    return Flow(rate, mean, variance)


def erlang_c(servers: int, offered: float) -> float:
    """The probability to wait for one of m servers that `offered` (arrivals times service) keep busy, below m.

    A. K. Erlang, 1917, by the recursion of his B formula.
    """
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def gamma_p99(mean: float, variance: float) -> float:
    """The 99th percentile of a gamma distribution, within a few per cent, and never below the mean.

    E. B. Wilson and M. M. Hilferty, The distribution of chi-square, PNAS 17 (1931), 684-688.
    """
    if mean <= 0 or variance <= 0:
        return mean
    ninth = variance / mean**2 / 9
    return max(mean, mean * (1 - ninth + _Z99 * math.sqrt(ninth)) ** 3)


def _factors(station: Station, scale: float, clients: int) -> Floats:
    """The weight of 0 to N requests at a station [N + 1]: the product of the times between departures."""
    gaps = [station.gap_s(present) / scale for present in range(1, clients + 1)]
    return np.concatenate(([1.0], np.cumprod(gaps)))


def _delay_factors(delay: float, clients: int) -> Floats:
    """The same where nobody waits for anybody."""
    return np.concatenate(([1.0], np.cumprod([delay / present for present in range(1, clients + 1)])))


def _convolve(factors: Sequence[Floats], clients: int) -> Floats:
    total: Floats = np.ones(1)
    for each in factors:
        total = np.convolve(total, each[: clients + 1])[: clients + 1]
    return total


def _station_variance(station: Station, found: Floats) -> float:
    """The variance of the time in a station, given the probabilities of what is found there [0 to N - 1].

    Who finds a free server takes a service. Who finds j requests in front of m busy servers takes j - m + 1 departures
    and a service.
    """
    servers = _servers(station)
    ahead = np.maximum(np.arange(len(found)) - servers + 1, 0)
    gap_s = station.seconds[-1]
    mean = float((found * ahead).sum()) * gap_s
    square = float((found * ((ahead * gap_s) ** 2 + station.scv * ahead * gap_s**2)).sum())
    return station.scv * station.service_s**2 + max(0.0, square - mean**2)


def _servers(station: Station) -> int:
    """At how many requests a station is at its fastest."""
    return len(station.seconds)


def _open_wait(station: Station, rate: float) -> tuple[float, float]:
    """The probability to wait, and the mean wait of all, of Poisson arrivals at a station with exponential times."""
    weights = np.concatenate(([1.0], np.cumprod([rate * station.gap_s(j) for j in range(1, _DEEPEST + 1)])))
    found = weights / weights.sum()
    present = float((found * np.arange(len(found))).sum())
    waits = float(found[_servers(station) :].sum())
    return waits, max(0.0, present / rate - station.service_s)  # J. D. C. Little, 1961
