"""Times the TensorRT engines of a repository on this machine's GPU, without a server.

    python tests/gpu/engines.py REPOSITORY [--model NAME] [--requests 400]
    python tests/gpu/engines.py REPOSITORY --batch 32 --plans DIR

`GPU` is the plan alone; `engine` the plan with its copies to and from the GPU out of page-locked memory, as trtexec
times it with transfers; `served` what the python-based backend of the embedded server runs, which copies the arrays of
a request into and out of that memory, too. Random images, medians, precisions in turns. The accuracy is the build's.

A published engine is fastest at one image. With --batch each has one for that batch only, which is built, without
timing other batches, from the same ONNX; DIR keeps it.
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
from qtriton.backends.tensorrt.builder import build_plan
from qtriton.backends.tensorrt.engine import DATATYPES, Engine
from qtriton.backends.tensorrt.recipe import EngineRecipe, PlanFacts, Profile
from qtriton.report.explain import measured_in
from qtriton.report.tables import Table
from qtriton.repository.manifest import Manifest
from qtriton.repository.read import Repository

COLUMNS = (
    *("Model", "Precision", "Batch", "GPU ms", "engine ms", "served ms", "images/s of the GPU", "over FP32"),
    *("Metric", "Points"),
)
BLOCK = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", help="one model; all by default")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--batch", type=int, default=1, help="images at a time")
    parser.add_argument("--plans", type=Path, help="where engines for a --batch are kept")
    given = parser.parse_args()
    if given.batch > 1 and given.plans is None:
        sys.exit("--batch: name the folder of its engines with --plans.")
    models = [given.model] if given.model else sorted(set(Repository.open(given.repository).ensembles().values()))
    rows, where = [], set()
    for model in models:
        found = {
            manifest.precision.value + " PM" * name.endswith("_pm"): (given.repository / f"{name}_runtime/1", manifest)
            for name, manifest in Repository.open(given.repository).manifests(model).items()
        }
        found = {name: (folder, each) for name, (folder, each) in found.items() if (folder / PLAN).is_file()}
        plans = {name: folder / PLAN for name, (folder, _) in found.items()}
        if given.batch > 1:
            plans = {name: plan_at(folder, given.batch, given.plans) for name, (folder, _) in found.items()}
        engines = {name: Engine(str(plan), {}) for name, plan in plans.items()}
        where |= {f"TensorRT {facts.tensorrt}, {facts.gpu}" for facts in (PlanFacts.load(f) for f, _ in found.values())}
        rows += table_rows(model, given.batch, timed(engines, given.requests, given.batch), found)
    if not rows:
        sys.exit(f"{given.repository}: no engine is built. Run `qtriton engines build {given.repository}` first.")
    print(Table("; ".join(sorted(where)), COLUMNS, tuple(rows)).markdown())


def table_rows(
    model: str, batch: int, times: dict[str, tuple[float, float, float]], found: dict[str, tuple[Path, Manifest]]
) -> list[tuple[str, ...]]:
    """A row for each precision; the gain is that of the plan with its copies."""
    rows = []
    for name, (gpu, alone, served) in times.items():
        gain = f"{times['fp32'][1] / alone:.2f}" if "fp32" in times else "-"
        figures = [f"{value:.3f}" for value in (gpu, alone, served)]
        metric = points(found[name][1]) if name in found else ("-", "-")
        rows.append((model, name, str(batch), *figures, f"{1000 * batch / gpu:.0f}", gain, *metric))
    return rows


def points(manifest: Manifest) -> tuple[str, str]:
    """The metric of an engine, and what it was measured in where that was not the engine."""
    if manifest.metric is None:
        return "-", "-"
    return manifest.metric.name, f"{manifest.metric.value:.2f}{measured_in(manifest)}"


def plan_at(folder: Path, batch: int, kept: Path) -> Path:
    """The engine of a version folder for one batch only; built where it is not kept.

    Args:
        folder: holds the ONNX and the recipe.
        batch: images at a time.
        kept: the folder of such engines, by the name of the runtime step.
    """
    import tensorrt as trt

    recipe = EngineRecipe.load(folder)
    if not recipe.profiles:
        sys.exit(f"{folder}: its ONNX has a fixed shape, so there is no other batch.")
    shapes = {name: (batch, *profile.best[1:]) for name, profile in recipe.profiles.items()}
    profiles = {name: Profile(least=shape, best=shape, most=shape) for name, shape in shapes.items()}
    path = kept / f"{folder.parent.name}_{batch}_level{recipe.optimization_level}_{trt.__version__}.plan"
    if not path.is_file():
        plan = build_plan(trt, folder, recipe.model_copy(update={"profiles": profiles}))
        kept.mkdir(parents=True, exist_ok=True)
        staged = path.with_suffix(".part")
        staged.write_bytes(plan.data)
        staged.replace(path)
    return path


def timed(engines: dict[str, Engine], requests: int, batch: int = 1) -> dict[str, tuple[float, float, float]]:
    """The three medians of each engine in ms."""
    kinds = {name: three_ways(engine, batch) for name, engine in engines.items()}
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


def random_images(engine: Engine, batch: int, seed: int = 0) -> dict[str, Any]:
    """What an engine takes: floats from 0 to 1, or every value of a byte."""
    rng, feed = np.random.default_rng(seed), {}
    for name, datatype, (_, *dims) in engine.inputs:
        dtype = next(key for key, value in DATATYPES.items() if value == datatype)
        bytes_of_it = rng.integers(0, 256, (batch, *dims), np.uint8)
        feed[name] = bytes_of_it if dtype == "uint8" else (bytes_of_it / 255).astype(dtype)
    return feed


def three_ways(engine: Engine, batch: int) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
    plan: Any = engine
    kinds = plan._cuda.cudaMemcpyKind
    feed = random_images(engine, batch)
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
