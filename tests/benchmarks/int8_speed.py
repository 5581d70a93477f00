"""How much faster INT8 runs than FP32 in ONNX Runtime, and what it costs: for every INT8 ensemble of a repository.

    python tests/benchmarks/int8_speed.py model_repository [--threads 1] [--rounds 10]

Both artifacts run in this process on the same random input of batch 1. They take turns in blocks of a round, so
that a noisy machine cannot favour one; medians are compared. The accuracies are those that the build measured.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from qtriton import console, cpu
from qtriton.backends import BACKENDS
from qtriton.manifest import Manifest, read_manifest
from qtriton.report.tables import Table
from qtriton.target import Precision

#: Runs of one artifact in a row; short enough that the machine is the same for the next artifact.
BLOCK = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    pairs = find_pairs(arguments.repository)
    if not pairs:
        parser.error(f"{arguments.repository}: no INT8 model with its FP32 beside it; run qtriton build first")
    rows = [row(fp32, int8, arguments.threads, arguments.rounds) for fp32, int8 in pairs]
    cpuinfo = Path("/proc/cpuinfo").read_text()
    vnni = "with VNNI" if cpu.has_vnni(cpuinfo) else "no VNNI"
    title = f"ONNX Runtime {onnxruntime.__version__}, threads: {arguments.threads}, {cpu.model_name(cpuinfo)} ({vnni})"
    headers = ("Model", "FP32 ms", "INT8 ms", "Speed-up", "Metric", "FP32", "INT8", "Loss")
    console.text(Table(title, headers, tuple(rows)).markdown())


def find_pairs(repository: Path) -> list[tuple[Path, Path]]:
    """Version folders of FP32 and INT8 runtime steps of the same model."""
    int8 = sorted(repository.glob(f"*_{Precision.INT8.slug}_runtime/1"))
    ending, other = (f"_{precision.slug}_runtime" for precision in (Precision.INT8, Precision.FP32))
    pairs = [(repository / (folder.parent.name.removesuffix(ending) + other) / "1", folder) for folder in int8]
    return [(fp32, folder) for fp32, folder in pairs if fp32.is_dir()]


def row(fp32: Path, int8: Path, threads: int, rounds: int) -> tuple[str, ...]:
    manifests = [read_manifest(folder) for folder in (fp32, int8)]
    assert manifests[0] is not None and manifests[1] is not None
    runs = [loaded(folder, manifest, threads) for folder, manifest in zip((fp32, int8), manifests, strict=True)]
    times = interleaved(runs, rounds)
    before, after = (manifest.metric for manifest in manifests)
    points = ("-", "-", "-", "-")
    if before is not None and after is not None:
        lost = before.value - after.value
        points = (before.name, f"{before.value:.2f}", f"{after.value:.2f}", f"{lost:.2f}")
    return manifests[0].title, f"{times[0]:.2f}", f"{times[1]:.2f}", f"{times[0] / times[1]:.2f}", *points


def loaded(folder: Path, manifest: Manifest, threads: int) -> Callable[[], object]:
    artifact = folder / manifest.artifact.name
    session = onnxruntime.InferenceSession(str(artifact), providers=["CPUExecutionProvider"])
    shape = [1, *session.get_inputs()[0].shape[1:]]
    image = np.random.default_rng(0).random(shape, np.float32)
    run = BACKENDS[manifest.backend].runner(artifact, threads)
    return lambda: run(image)


def interleaved(runs: list[Callable[[], object]], rounds: int) -> list[float]:
    """The median time of each in ms; the first round warms up."""
    times: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, taken in zip(runs, times, strict=True):
            for _ in range(BLOCK):
                started = time.perf_counter()
                run()
                if number:
                    taken.append((time.perf_counter() - started) * 1e3)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
