"""Times the TensorRT engines of a repository on this machine's GPU, and their accuracy where images are at hand.

    qtriton engines build REPOSITORY
    python tests/gpu/engines.py REPOSITORY [--validation DIR --labels FILE] [--requests 400]

`engine` is the plan alone with its copies to and from the GPU out of page-locked memory, as trtexec times it with
transfers; `GPU` the plan without them; `served` what the python-based backend of the embedded server runs, which copies
the arrays of a request into and out of that memory, too. One image, medians, the precisions taking turns.
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

from qtriton.backends.running import Port
from qtriton.backends.tensorrt import PLAN
from qtriton.backends.tensorrt.engine import Engine
from qtriton.backends.tensorrt.recipe import PlanFacts
from qtriton.report.tables import Table
from qtriton.spec import METRIC, load_spec
from qtriton.stages.record import manifests_of, published

COLUMNS = ("Model", "Precision", "GPU ms", "engine ms", "served ms", "over FP32", "Metric", "FP32's", "its own")
BLOCK = 20


class Run:
    """An engine as `evaluate` takes one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inputs, self.outputs = (
            tuple(Port(name, kind, tuple(shape)) for name, kind, shape in side)
            for side in (engine.inputs, engine.outputs)
        )

    def __call__(self, feed: dict[str, Any]) -> dict[str, Any]:
        return self._engine.run(feed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", help="one model; all by default")
    parser.add_argument("--validation", type=Path, help="images to measure the accuracy of --model on")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--requests", type=int, default=400)
    given = parser.parse_args()
    models = [given.model] if given.model else sorted(set(published(given.repository).values()))
    rows, where = [], set()
    for model in models:
        folders = {
            manifest.precision.value + " PM" * name.endswith("_pm"): given.repository / f"{name}_runtime" / "1"
            for name, manifest in manifests_of(given.repository, model).items()
            if (given.repository / f"{name}_runtime" / "1" / PLAN).is_file()
        }
        engines = {precision: Engine(str(folder / PLAN), {}) for precision, folder in folders.items()}
        where |= {f"TensorRT {facts.tensorrt}, {facts.gpu}" for facts in map(PlanFacts.load, folders.values())}
        accuracies = {each: accuracy(model, engine, given) for each, engine in engines.items()} if given.labels else {}
        times = timed(engines, given.requests)
        for precision, (gpu, alone, served) in times.items():
            gain = f"{times['fp32'][1] / alone:.2f}" if "fp32" in times else "-"
            figures = [f"{value:.3f}" for value in (gpu, alone, served)]
            metric = METRIC[load_spec(model).task] if accuracies else "-"
            rows.append((model, precision, *figures, gain, metric, *points(accuracies, precision)))
    if not rows:
        sys.exit(f"{given.repository}: no engine is built. Run `qtriton engines build {given.repository}` first.")
    print(Table("; ".join(sorted(where)), COLUMNS, tuple(rows)).markdown())


def points(accuracies: dict[str, float], precision: str) -> tuple[str, str]:
    """FP32's accuracy and that of a precision."""
    return tuple(f"{accuracies[each]:.2f}" if each in accuracies else "-" for each in ("fp32", precision))  # type: ignore[return-value]


def accuracy(model: str, engine: Engine, given: argparse.Namespace) -> float:
    from qtriton.datasets import load_labelled
    from qtriton.stages.evaluate import evaluate

    spec = load_spec(model)
    data = load_labelled(spec.task, given.validation, given.labels)
    return evaluate(Run(engine), spec, data, lambda done, total: None)  # type: ignore[arg-type]


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
    return {name: tuple(statistics.median(each) / 1e6 for each in lists) for name, lists in found.items()}  # type: ignore[misc]


def three_ways(engine: Engine) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
    plan: Any = engine._runner
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
