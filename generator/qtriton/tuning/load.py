"""The load that an ensemble is tuned for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Load:
    """So many clients that send one request each at a time, or requests that come at a rate, answered or not."""

    clients: int | None = None
    #: Requests a second.
    rate: float | None = None

    def __post_init__(self) -> None:
        if (self.clients is None) == (self.rate is None):
            raise ValueError("a load has clients or a rate")

    def __str__(self) -> str:
        if self.rate is not None:
            return f"{self.rate:g} requests/s"
        return f"{self.clients} client{'s' * (self.clients != 1)}"

    def times(self, factor: float) -> Load:
        """So many times as much, of clients at least one."""
        if self.rate is not None:
            return Load(rate=self.rate * factor)
        assert self.clients is not None
        return Load(clients=max(1, round(self.clients * factor)))

    def due_s(self, seconds: float, seed: int) -> tuple[float, ...] | None:
        """The moments of a Poisson process within so many seconds; none where clients send."""
        if self.rate is None:
            return None
        random = np.random.default_rng(seed)
        moments, last = [], random.exponential(1 / self.rate)
        while last < seconds:
            moments.append(float(last))
            last += random.exponential(1 / self.rate)
        return tuple(moments)
