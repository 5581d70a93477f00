"""Take a plan to a published repository, stage by stage; what was made before from the same inputs is reused."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtriton import console
from qtriton.backends import backend_for
from qtriton.compress.scales import SCALES_FILE as SCALES
from qtriton.manifest import FILE as MANIFEST
from qtriton.manifest import File, Manifest, Metric
from qtriton.plan import Plan
from qtriton.spec import METRIC, ModelSpec
from qtriton.stages import key as keys
from qtriton.stages.data import Folders, labelled, remember_images, settle, write_calibration
from qtriton.stages.fetch import fetch
from qtriton.stages.record import Record, is_published
from qtriton.target import Precision, Target
from qtriton.workspace import Workspace, sha256_file, sha256_json


@dataclass(frozen=True)
class Variant:
    """One artifact, ready to be published: where it lies in the cache and what is known of it."""

    target: Target
    artifact: Path
    manifest: Manifest
    record: Record


@dataclass(frozen=True)
class Job:
    """A plan with its inputs found: what every stage of one build shares."""

    plan: Plan
    workspace: Workspace
    weights: Path
    folders: Folders
    spec_key: str

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.plan.spec

    def stage(self, what: str, made_from: object, produce: Callable[[Path], None]) -> Path:
        """The folder of a stage's results, from the cache where they were made from the same by the same packages."""
        key = sha256_json([made_from, keys.versions()])
        return self.workspace.stage(f"{self.spec.name}-{what}", key, produce)

    def record(self, target: Target) -> Record:
        """What the variant of a target is built from."""
        key = keys.build_key(target, self.plan.request.method, self.spec_key, self.folders)
        return Record(self.spec.name, self.spec_key, key)


@dataclass(frozen=True)
class Built:
    """What a build ends with."""

    plan: Plan
    changed: bool
    metrics: tuple[tuple[Precision, Metric | None], ...]

    def as_json(self) -> dict[str, Any]:
        """Repository, ensemble, steps, artifact, manifest and metrics, for programs."""
        names, repository = self.plan.names, self.plan.request.repository.resolve()
        version = repository / names.runtime / "1"
        return {
            "model": self.plan.spec.name,
            "changed": self.changed,
            "repository": str(repository),
            "ensemble": names.ensemble,
            "steps": {"preprocess": names.preprocess, "runtime": names.runtime, "postprocess": names.postprocess},
            "artifact": str(version / backend_for(self.plan.target).artifact),
            "manifest": str(version / MANIFEST),
            "metrics": {p.value: m.model_dump() if m else None for p, m in self.metrics},
        }

    def summary(self) -> str:
        """What stands in the repository now, and what to do next."""
        repository, names = self.plan.request.repository, self.plan.names
        first = (
            f"{repository}: {names.ensemble} is published."
            if self.changed
            else (f"{repository}: {names.ensemble} is up to date, nothing was done (--force does it all the same).")
        )
        lines = [first]
        for precision, metric in self.metrics:
            measured = "accuracy not measured"
            if metric is not None:
                measured = f"{metric.name} {metric.value:.2f} on {metric.images} images"
            lines.append(f"  {precision.value}: {measured}")
        if all(metric is None for _, metric in self.metrics):
            lines.append("Pass --validation DIR --labels FILE to measure it.")
        lines.append(f"Next: qtriton bench {repository} --model {self.plan.spec.name}, or qtriton serve {repository}")
        return "\n".join(lines)


def build(plan: Plan, workspace: Workspace) -> Built:
    """Carry a plan out; nothing in the repository changes before everything is made and checked."""
    job = _prepare(plan, workspace)
    records = tuple(job.record(target) for target in plan.variants)
    published = None if plan.request.force else is_published(plan, records)
    if published is not None:
        return Built(plan, False, published)
    fp32 = _fp32(job)
    variants: list[Variant] = []
    for target, record in zip(plan.variants, records, strict=True):
        baseline = variants[0].manifest.metric if variants else None
        variants.append(_variant(job, target, fp32, record, baseline))
    from qtriton.stages.publish import publish

    publish(plan, variants)
    return Built(plan, True, tuple((variant.target.precision, variant.manifest.metric) for variant in variants))


def _prepare(plan: Plan, workspace: Workspace) -> Job:
    spec, request = plan.spec, plan.request
    with console.progress(f"{spec.name}: weights") as progress:
        weights = fetch(spec, request.weights, workspace, progress)
    folders = settle(spec, request, workspace)
    if folders.validation is not None:
        remember_images(workspace, spec.name, folders.validation)
    return Job(plan, workspace, weights, folders, keys.spec_key(spec, weights))


def _fp32(job: Job) -> Path:
    from qtriton.stages.fp32 import fp32_onnx

    def produce(folder: Path) -> None:
        with console.progress(f"{job.spec.name}: FP32 as ONNX"):
            fp32_onnx(job.weights, job.spec, folder / "model.onnx")

    return job.stage("fp32", [job.spec_key, keys.code("stages"), keys.code("compress")], produce) / "model.onnx"


def _variant(job: Job, target: Target, fp32: Path, record: Record, baseline: Metric | None) -> Variant:
    artifact = _artifact(job, target, fp32)
    metric = _measure(job, target, artifact)
    compressed = target.precision is not Precision.FP32
    manifest = Manifest(
        model=job.spec.name,
        title=job.spec.title or job.spec.name,
        backend=target.backend,
        precision=target.precision,
        threads=target.threads,
        key=record.key,
        artifact=File(name=artifact.name, sha256=sha256_file(artifact)),
        source=File(name=job.weights.name, sha256=keys.weights_sha256(job.weights)),
        licence=job.spec.source.licence,
        method=job.plan.request.method if compressed else None,
        metric=metric,
        fp32_metric=baseline if compressed else metric,
        settings={"vnni": target.vnni} if compressed else {},
        versions=keys.versions(),
    )
    return Variant(target, artifact, manifest, record)


def _artifact(job: Job, target: Target, fp32: Path) -> Path:
    backend = backend_for(target)
    scales = None if target.precision is Precision.FP32 else _scales(job, fp32)
    made_from = [sha256_file(fp32), sha256_file(scales) if scales else None, keys.code("backends")]
    how = [target.backend, target.precision, target.vnni, keys.code("quantize")]

    def produce(folder: Path) -> None:
        with console.progress(f"{job.spec.name}: {target.precision.value} artifact"):
            backend.emit(fp32, scales, target, folder / backend.artifact)

    return job.stage(target.precision.value, [made_from, how], produce) / backend.artifact


def _scales(job: Job, fp32: Path) -> Path:
    """The file of what ACT learnt; a Paddle model goes to ACT as it is, not through ONNX and back."""
    calibration, method = job.folders.calibration, job.plan.request.method
    assert calibration is not None  # the plan saw to it

    model = job.weights if job.weights.is_dir() else fp32

    def produce(folder: Path) -> None:
        from qtriton.compress.act import compress

        frames = folder / "calibration.npy"
        with console.progress(f"{job.spec.name}: calibration images") as progress:
            write_calibration(calibration, job.spec, frames, progress)
        with console.progress(f"{job.spec.name}: {method.label} (PaddleSlim ACT)") as progress:
            compress(model, calibration=frames, work=folder, method=method, progress=progress)
        frames.unlink()

    return job.stage("scales", keys.learnt_from(method, job.spec, model, calibration), produce) / SCALES


def _measure(job: Job, target: Target, artifact: Path) -> Metric | None:
    data = labelled(job.spec, job.folders)
    if data is None:
        return None
    made_from = [sha256_file(artifact), data.coco, data.classes, [sha256_file(path) for path in data.images]]
    how = [job.spec_key, *(keys.code(name) for name in ("metrics", "backends"))]
    name = METRIC[job.spec.task]

    def produce(folder: Path) -> None:
        from qtriton.stages.evaluate import evaluate

        run = backend_for(target).runner(artifact, threads=0)
        with console.progress(f"{job.spec.name}: {name} of {target.precision.value}") as progress:
            value = evaluate(run, job.spec, data, progress)
        (folder / "metric.json").write_text(json.dumps({"value": value}))

    folder = job.stage(f"{target.precision.value}-metric", [made_from, how], produce)
    value = json.loads((folder / "metric.json").read_text())["value"]
    return Metric(name=name, value=value, images=len(data.images))
