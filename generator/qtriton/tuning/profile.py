"""What was measured of the steps, as the model of queues asks for it: the time of any setting, by interpolation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from qtriton.repository.tuned import Allocation, StepPoint
from qtriton.tuning.queues import Station


@dataclass(frozen=True)
class StepCost:
    """A request in a step: seconds on a core that is free for it, seconds of CPU, and how much the first varies."""

    service_s: float
    cpu_s: float
    scv: float


@dataclass(frozen=True)
class Profile:
    """A machine and what the steps of an ensemble take on it."""

    cores: int
    points: tuple[StepPoint, ...]
    #: Of a request outside of every queue: the network, the client, from one step to the next.
    delay_s: float
    #: CPU time of a request that is none of the steps': the server's own, and the client's where it runs here.
    other_cpu_s: float
    #: The largest batch of the runtime step that answers as one by one does.
    max_batch: int

    def cost(self, step: str, instances: int, threads: int = 1) -> StepCost:
        """Of one image, between the numbers of instances that were measured."""
        points = sorted(self._of(step, threads), key=lambda point: point.instances)
        at = [point.instances for point in points]

        def between(values: Iterable[float]) -> float:
            return float(np.interp(instances, at, list(values)))

        return StepCost(
            between(map(_alone_s, points)),
            between(point.cpu_ms / 1e3 for point in points),
            between(point.scv for point in points),
        )

    def batch_factor(self, threads: int, images: float) -> float:
        """How many times as long a batch takes as one image; through what was measured, a line."""
        ones = [point for point in self._of("runtime", threads) if point.instances == 1]
        larger = [point for point in self.points if point.step == "runtime" and point.batch > 1]
        nearest = min(larger, key=lambda point: abs(point.threads - threads), default=None)
        if nearest is None or not ones:
            return images
        base = next(each for each in self._of("runtime", nearest.threads) if each.instances == 1)
        slope = (_alone_s(nearest) / _alone_s(base) - 1) / (nearest.batch - 1)
        return 1 + max(0.0, slope) * (images - 1)

    def stations(self, allocation: Allocation, clients: int) -> tuple[tuple[Station, ...], float]:
        """The queues of an allocation, and the CPU seconds of a request, with the batches that so many clients make."""
        before = self.cost("preprocess", allocation.preprocess)
        runtime = self.cost("runtime", allocation.runtime, allocation.threads)
        behind = self.cost("postprocess", allocation.postprocess)
        station, share = self._runtime(runtime, allocation, clients)
        stations = (
            Station.of_servers(before.service_s, allocation.preprocess, before.scv),
            station,
            Station.of_servers(behind.service_s, allocation.postprocess, behind.scv),
        )
        return stations, before.cpu_s + runtime.cpu_s * share + behind.cpu_s + self.other_cpu_s

    def _runtime(self, cost: StepCost, allocation: Allocation, clients: int) -> tuple[Station, float]:
        """The runtime step as a queue, and the CPU time of an image in its largest batch over that of one alone."""
        instances = allocation.runtime
        largest = min(self.max_batch, max(1, clients // instances)) if allocation.batching else 1
        if largest == 1:
            return Station.of_servers(cost.service_s, instances, cost.scv), 1.0
        seconds = []
        for present in range(1, instances * largest + 1):
            images = max(1.0, present / instances)  # in the batch of each instance
            gap = cost.service_s * self.batch_factor(allocation.threads, images) / min(present, instances) / images
            seconds.append(gap)
        share = self.batch_factor(allocation.threads, largest) / largest
        return Station(tuple(seconds), cost.service_s, cost.scv), share

    def _of(self, step: str, threads: int) -> Sequence[StepPoint]:
        points = [point for point in self.points if point.step == step and point.batch == 1]
        return [point for point in points if point.threads == threads]


def _alone_s(point: StepPoint) -> float:
    """The time on a core of its own: what one thread takes beyond its CPU time, it waits for a core.

    The model has that wait already.
    """
    milliseconds = min(point.service_ms, point.cpu_ms) if point.threads == 1 else point.service_ms
    return milliseconds / 1e3
