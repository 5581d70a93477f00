"""How long artifacts take without a server: interleaved, so that a noisy machine cannot favour one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from qtriton import console, machine
from qtriton.backends.runner import Feed, Runner, running
from qtriton.build.sources import Artifact, Job
from qtriton.repository.manifest import Speed

#: Runs of one artifact in a row; short enough that the machine is the same for the next artifact. What is over in a
#: moment runs for so many ms in a row, and at first for longer: an idle GPU takes that to come to its clock.
BLOCK: Final = 5
BLOCK_MS: Final = 20
WARM_UP_MS: Final = 300
ROUNDS: Final = 8

Key = TypeVar("Key")


def speed(job: Job, fp32: Artifact, made: Artifact) -> Speed:
    """FP32 and INT8 of one backend on the GPU of the target, or on this CPU with its threads."""
    device = made.target.device
    processor, threads = (device, 0) if device else (machine.cpu().model, made.target.threads)

    def produce(folder: Path) -> None:
        with console.progress(f"{job.spec.name}: speed of {made}") as progress, ExitStack() as stack:
            runs = {each: _loaded(each, stack) for each in (fp32, made)}
            times = interleaved(runs, ROUNDS, progress)
        found = Speed(fp32_ms=times[fp32], int8_ms=times[made], threads=threads, processor=processor)
        (folder / "speed.json").write_text(found.model_dump_json())

    folder = job.stage(
        f"{made.target.backend}-speed",
        [fp32.files(), made.files(), threads, processor, BLOCK, BLOCK_MS, ROUNDS, sorted(Speed.model_fields)],
        produce,
    )
    return Speed.model_validate_json((folder / "speed.json").read_text())


def interleaved(runs: Mapping[Key, Runner], rounds: int, progress: console.Report) -> dict[Key, float]:
    """The median time in ms of each of several loaded artifacts on one random image, after they have warmed up."""
    times: dict[Key, list[int]] = {key: [] for key in runs}
    feeds = {key: random_feed(run) for key, run in runs.items()}
    blocks = {}
    for key, run in runs.items():
        once = statistics.median(run.time(feeds[key], BLOCK))
        run.time(feeds[key], _repeats(once, WARM_UP_MS))
        blocks[key] = _repeats(once, BLOCK_MS)
    for number in range(rounds):
        for key, run in runs.items():
            times[key] += run.time(feeds[key], blocks[key])
        progress(number + 1, rounds)
    return {key: statistics.median(taken) / 1e6 for key, taken in times.items()}


def _repeats(once_ns: float, least_ms: float) -> int:
    """Runs that together take at least so long."""
    return max(BLOCK, math.ceil(least_ms * 1e6 / max(once_ns, 1)))


def random_feed(run: Runner) -> Feed:
    """One random image; whatever else the model takes is 1."""
    first, *others = run.inputs
    random = np.random.default_rng(0).random((1, *first.shape[1:]), np.float32)
    return {first.name: random, **{port.name: np.ones((1, *port.shape[1:]), np.float32) for port in others}}


def _loaded(made: Artifact, stack: ExitStack) -> Runner:
    return stack.enter_context(running(made.target, made.opened))
