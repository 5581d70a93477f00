"""How much faster INT8 runs than FP32 on each backend, and what it costs: for every INT8 ensemble of a repository.

    python tests/benchmarks/int8_speed.py model_repository [--model NAME] [--threads 1] [--rounds 10]

Every artifact of a model runs in a process of its own on the same random input of batch 1. They take turns in blocks
of a round, so that a noisy machine cannot favour one; medians are compared. The accuracies are those that the build
measured.
"""

import argparse
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from qtriton import console, machine
from qtriton.backends import native, title_of
from qtriton.backends.runner import Runner, running
from qtriton.builder.timing import interleaved
from qtriton.report.tables import Table, speedup_cell
from qtriton.repository.manifest import FILE, Manifest
from qtriton.target import Precision, Target

HEADERS = (
    *("Model", "Backend", "FP32 ms", "INT8 ms", "Speed-up", "over ONNX Runtime FP32"),
    *("Metric", "FP32", "INT8", "Drop (points)"),
)


@dataclass(frozen=True)
class Artifact:
    """A runtime step's version folder and what is known of it."""

    folder: Path
    manifest: Manifest

    @property
    def file(self) -> Path:
        """What the runtime opens."""
        return self.folder / self.manifest.artifact.name

    @property
    def key(self) -> tuple[str, Precision]:
        """What sets it apart from the other artifacts of its model."""
        return self.manifest.backend, self.manifest.precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", action="append", help="a model; repeatable (all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    models = find(arguments.repository, arguments.model)
    if not models:
        parser.error(f"{arguments.repository}: no INT8 model with its FP32 beside it; run qtriton build first")
    rows = [row for model in models for row in measured(model, arguments.threads, arguments.rounds)]
    cpu = machine.cpu()
    vnni = "with VNNI" if cpu.has_vnni else "no VNNI"
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "openvino", "paddlepaddle"))
    title = f"{packages}, threads: {arguments.threads}, {cpu.model} ({vnni})"
    console.text(Table(title, HEADERS, tuple(rows)).markdown())


def find(repository: Path, wanted: list[str] | None) -> list[list[Artifact]]:
    """The artifacts of each model that has INT8 beside FP32."""
    models: dict[str, list[Artifact]] = {}
    for path in sorted(repository.glob(f"*_runtime/1/{FILE}")):
        manifest = Manifest.read(path.parent)
        if not wanted or manifest.model in wanted:
            models.setdefault(manifest.model, []).append(Artifact(path.parent, manifest))
    return [model for model in models.values() if any(each.key[1] is Precision.INT8 for each in model)]


def measured(model: list[Artifact], threads: int, rounds: int) -> list[tuple[str, ...]]:
    """A row for each backend of a model."""
    times = timed(model, threads, rounds)
    manifests = {each.key: each.manifest for each in model}
    reference = times.get(("onnxruntime", Precision.FP32))
    rows = []
    for name in native():
        fp32, int8 = ((name, precision) for precision in (Precision.FP32, Precision.INT8))
        if fp32 not in times or int8 not in times:
            continue
        ratios = [speedup_cell(before / times[int8] if before else None) for before in (times[fp32], reference)]
        points = accuracy(manifests[fp32], manifests[int8])
        cells = (f"{times[fp32]:.2f}", f"{times[int8]:.2f}", *ratios, *points)
        rows.append((manifests[fp32].title, title_of(name), *cells))
    return rows


def accuracy(fp32: Manifest, int8: Manifest) -> tuple[str, ...]:
    """Metric, FP32, INT8, loss in points."""
    if fp32.metric is None or int8.metric is None:
        return ("-", "-", "-", "-")
    values = (fp32.metric.value, int8.metric.value, fp32.metric.value - int8.metric.value)
    return (fp32.metric.name, *(f"{value:.2f}" for value in values))


def timed(model: list[Artifact], threads: int, rounds: int) -> dict[tuple[str, Precision], float]:
    """The median time of each artifact in ms."""
    with ExitStack() as stack:
        runs = {each.key: stack.enter_context(loaded(each, threads)) for each in model}
        return interleaved(runs, rounds, lambda done, total: None)


def loaded(artifact: Artifact, threads: int) -> AbstractContextManager[Runner]:
    name, precision = artifact.key
    return running(Target(name, precision, threads), artifact.file)


if __name__ == "__main__":
    main()
