"""Times the TensorRT engines of a repository on this machine's GPU, without a server.

    python tests/gpu/engines.py REPOSITORY [--model NAME] [--requests 400]

`GPU` is the plan alone; `engine` the plan with its copies to and from the GPU out of page-locked memory, as trtexec
times it with transfers; `served` what the python-based backend of the embedded server runs, which copies the arrays of
a request into and out of that memory, too. One image, medians, precisions in turns. The accuracy is the build's.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qtriton.backends.tensorrt import PLAN
from qtriton.backends.tensorrt.engine import Engine
from qtriton.backends.tensorrt.recipe import PlanFacts
from qtriton.report.explain import measured_in
from qtriton.report.tables import Table
from qtriton.repository.manifest import Manifest
from qtriton.repository.read import Repository

COLUMNS = ("Model", "Precision", "GPU ms", "engine ms", "served ms", "over FP32", "Metric", "Points")
BLOCK = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", help="one model; all by default")
    parser.add_argument("--requests", type=int, default=400)
    given = parser.parse_args()
    models = [given.model] if given.model else sorted(set(Repository.open(given.repository).ensembles().values()))
    rows, where = [], set()
    for model in models:
        found = {
            manifest.precision.value + " PM" * name.endswith("_pm"): (given.repository / f"{name}_runtime/1", manifest)
            for name, manifest in Repository.open(given.repository).manifests(model).items()
        }
        found = {name: (folder, each) for name, (folder, each) in found.items() if (folder / PLAN).is_file()}
        engines = {name: Engine(str(folder / PLAN), {}) for name, (folder, _) in found.items()}
        where |= {f"TensorRT {facts.tensorrt}, {facts.gpu}" for facts in (PlanFacts.load(f) for f, _ in found.values())}
        times = timed(engines, given.requests)
        for name, (gpu, alone, served) in times.items():
            gain = f"{times['fp32'][1] / alone:.2f}" if "fp32" in times else "-"
            figures = [f"{value:.3f}" for value in (gpu, alone, served)]
            rows.append((model, name, *figures, gain, *points(found[name][1])))
    if not rows:
        sys.exit(f"{given.repository}: no engine is built. Run `qtriton engines build {given.repository}` first.")
    print(Table("; ".join(sorted(where)), COLUMNS, tuple(rows)).markdown())


def points(manifest: Manifest) -> tuple[str, str]:
    """The metric of an engine, and what it was measured in where that was not the engine."""
    if manifest.metric is None:
        return "-", "-"
    return manifest.metric.name, f"{manifest.metric.value:.2f}{measured_in(manifest)}"


def timed(engines: dict[str, Engine], requests: int) -> dict[str, tuple[float, float, float]]:
    """The three medians of each engine in ms."""
    kinds = {name: three_ways(engine) for name, engine in engines.items()}
    found: dict[str, tuple[list[int], list[int], list[int]]] = {name: ([], [], []) for name in engines}
    for block in range(-2, max(1, requests // BLOCK)):
        for name, ways in kinds.items():
            for place, once in enumerate(ways):
                for _ in range(BLOCK):
                    started = time.perf_counter_ns()
                    once()
                    taken = time.perf_counter_ns() - started
                    if block >= 0:  # the first two warm up
                        found[name][place].append(taken)
    return {name: (median_ms(one), median_ms(two), median_ms(three)) for name, (one, two, three) in found.items()}


def median_ms(taken_ns: list[int]) -> float:
    return statistics.median(taken_ns) / 1e6


def three_ways(engine: Engine) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
    plan: Any = engine
    kinds = plan._cuda.cudaMemcpyKind
    feed = {name: np.random.default_rng(0).random((1, *shape[1:]), np.float32) for name, _, shape in engine.inputs}
    engine.run(feed)  # which sets the shapes

    def alone() -> None:
        plan._context.execute_async_v3(int(plan._stream))
        plan._call("cudaStreamSynchronize", plan._stream)

    def with_copies() -> None:
        for name, array in feed.items():
            device, host = plan._buffers[name]
            plan._copy(device, host.ctypes.data, array.nbytes, kinds.cudaMemcpyHostToDevice)
        plan._context.execute_async_v3(int(plan._stream))
        for name, _, _ in engine.outputs:
            device, host = plan._buffers[name]
            size = prod(plan._context.get_tensor_shape(name)) * host.itemsize
            plan._copy(host.ctypes.data, device, size, kinds.cudaMemcpyDeviceToHost)
        plan._call("cudaStreamSynchronize", plan._stream)

    return alone, with_copies, lambda: engine.run(feed)


if __name__ == "__main__":
    main()
