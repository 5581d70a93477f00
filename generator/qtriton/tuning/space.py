"""Every way to give the cores of a machine to the three steps of an ensemble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from qtriton.repository.tuned import Allocation
from qtriton.tuning.setting import Setting

#: Up to so many every number of instances is tried, above only some: a step with 17 of them is much as one with 16.
_ALL: Final = 8
#: Images of the batch that is measured; the time of others is on the line through it and one image.
_BATCH: Final = 4
#: How many times as many instances as the largest allocation has stand on one server at most: those that are confirmed.
_MEASURED: Final = 6


def counts(cores: int) -> tuple[int, ...]:
    """The numbers of instances that are tried: all of them, and above 8 four from a power of two to the next."""
    numbers = set(range(1, min(cores, _ALL) + 1)) | {cores}
    step = _ALL // 4
    while step * 4 < cores:
        numbers |= {number for number in range(step * 4, step * 8, step) if number <= cores}
        step *= 2
    return tuple(sorted(numbers))


def thread_counts(cores: int) -> tuple[int, ...]:
    """The threads of an instance that are tried: powers of two, and all cores."""
    return tuple(sorted({1 << bits for bits in range(cores.bit_length()) if 1 << bits <= cores} | {cores}))


@dataclass(frozen=True)
class Space:
    """What is tried on a machine: every allocation in which no step has more threads than there are cores.

    The steps of a request take turns, so the cores that are busy, not the instances that exist, are what a machine has
    only so many of: the model counts those. A sum of instances within the cores would leave none for a machine of two.
    """

    cores: int
    threads: tuple[int, ...]
    #: The largest batch of the runtime step that is tried; 1 where requests do not share one.
    max_batch: int
    #: The most instances of a step.
    most: int
    not_tried: tuple[str, ...] = ()

    @classmethod
    def of(cls, cores: int, max_batch: int, clients: int | None, bytes_each: int, bytes_free: int) -> Space:
        """What fits a machine, its free memory, the clients and a model.

        Args:
            cores: of the machine.
            max_batch: of the model, as the trial of the build let it have; 1 where a batch changes answers.
            clients: that send one request each at a time; none where requests come at a rate.
            bytes_each: that an instance of the runtime step takes.
            bytes_free: of memory.
        """
        left_out = []
        if max_batch == 1:
            left_out.append("batches: max_batch_size is 1, as the model takes no batch or answers otherwise in one")
        elif clients == 1:
            left_out.append("batches: one client sends one request at a time")
        kept = min(cores, max(1, bytes_free // (_MEASURED * max(1, bytes_each))))
        if kept < cores:
            left_out.append(f"more than {kept} instances of a step: the free memory would not hold them")
        threads = thread_counts(cores)
        if others := [number for number in range(1, min(cores, _ALL) + 1) if number not in threads]:
            left_out.append(f"{', '.join(map(str, others))} threads: powers of two and all cores were")
        batch = 1 if clients == 1 else max_batch
        return cls(cores, threads, batch, kept, tuple(left_out))

    def allocations(self) -> Iterator[Allocation]:
        """All of them."""
        numbers = [number for number in counts(self.cores) if number <= self.most]
        runtimes = [(number, each) for each in self.threads for number in numbers if number * each <= self.cores]
        for preprocess, postprocess, (runtime, threads) in product(numbers, numbers, runtimes):
            for batching in (False, True)[: 1 + (self.max_batch > 1)]:
                yield Allocation(
                    preprocess=preprocess, runtime=runtime, threads=threads, batching=batching, postprocess=postprocess
                )

    def measured(self) -> tuple[Setting, ...]:
        """The settings that are measured alone: the ends, between which the rest is interpolated, and batches."""
        python = [
            Setting(step, number)
            for step in ("preprocess", "postprocess")
            for number in sorted({1, min(self.most, self.cores)})
        ]
        runtime = [
            Setting("runtime", number, each)
            for each in self.threads
            for number in sorted({1, min(self.most, self.cores // each)})
        ]
        return (*python, *runtime)

    def batches(self) -> tuple[tuple[Setting, int], ...]:
        """The settings of the runtime step that are measured with requests of several images, and of how many."""
        if self.max_batch == 1:
            return ()
        ends = sorted({self.threads[0], self.threads[-1]})
        return tuple((Setting("runtime", 1, each), min(_BATCH, self.max_batch)) for each in ends)
