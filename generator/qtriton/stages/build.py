"""Take a plan to a published repository, stage by stage; what was made before from the same inputs is reused."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from qtriton import console
from qtriton.backends import backend_for
from qtriton.backends.running import RuntimeRefusal, Signature, running
from qtriton.compress.scales import QUANTIZED
from qtriton.compress.scales import SCALES_FILE as SCALES
from qtriton.errors import ModelError
from qtriton.manifest import FILE as MANIFEST
from qtriton.manifest import File, Manifest, Metric
from qtriton.plan import Plan
from qtriton.spec import METRIC, ModelSpec
from qtriton.stages import key as keys
from qtriton.stages.data import Folders, labelled, remember_images, settle, write_calibration
from qtriton.stages.fetch import fetch
from qtriton.stages.fp32 import check_conversion, signature
from qtriton.stages.record import Record, is_published
from qtriton.target import Names, Precision, Target
from qtriton.workspace import Workspace, sha256_file, sha256_json

#: Points that no deployment would give away for speed; FastDeploy's worst published row loses 7.8.
_HEAVY_LOSS: Final = 5.0


@dataclass(frozen=True)
class Variant:
    """One artifact, ready to be published: the folder it lies in, its tensors, and what is known of it."""

    target: Target
    artifact: Path
    signature: Signature
    manifest: Manifest
    record: Record


@dataclass(frozen=True)
class Job:
    """A plan with its inputs found: what every stage of one build shares, and the origin of its artifacts."""

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

    def onnx(self) -> Path:
        """The FP32 model as an ONNX file that fits the spec."""
        from qtriton.stages.fp32 import fp32_onnx

        def produce(folder: Path) -> None:
            with console.progress(f"{self.spec.name}: FP32 as ONNX"):
                fp32_onnx(self.weights, self.spec, folder / "model.onnx")

        return self.stage("fp32", [self.spec_key, keys.code("stages"), keys.code("compress")], produce) / "model.onnx"

    def paddle(self) -> Path:
        """The FP32 model as a Paddle inference folder: as it came, or converted with a batch of 1."""
        if self.weights.is_dir():
            return self.weights
        onnx = self.onnx()

        def produce(folder: Path) -> None:
            from qtriton.compress.act import import_onnx

            with console.progress(f"{self.spec.name}: FP32 as a Paddle model"):
                made = import_onnx(onnx, (1, *self.spec.input.dims), folder / "paddle")
                check_conversion(onnx, made, self.spec)

        made_from = [sha256_file(onnx), self.spec.input.dims, keys.code("compress")]
        return self.stage("paddle", made_from, produce) / "paddle"

    def scales(self) -> Path:
        """The file of the ranges that ACT learnt."""
        return self._learnt() / SCALES

    def quantized_paddle(self) -> Path:
        """The INT8 model that ACT wrote."""
        return self._learnt() / QUANTIZED

    def _learnt(self) -> Path:
        calibration, method = self.folders.calibration, self.plan.request.method
        assert calibration is not None  # the plan saw to it
        model = self.paddle()

        def produce(folder: Path) -> None:
            from qtriton.compress.act import compress

            frames = folder / "calibration.npy"
            with console.progress(f"{self.spec.name}: calibration images") as progress:
                write_calibration(calibration, self.spec, frames, progress)
            with console.progress(f"{self.spec.name}: {method.label} (PaddleSlim ACT)") as progress:
                extras = tuple(self.spec.extra_inputs)
                compress(model, calibration=frames, work=folder, method=method, extras=extras, progress=progress)
            frames.unlink()

        return self.stage("scales", keys.learnt_from(method, self.spec, self.weights, calibration), produce)


@dataclass(frozen=True)
class Built:
    """What a build ends with."""

    plan: Plan
    changed: bool
    metrics: tuple[tuple[Target, Metric | None], ...]
    #: What was asked for and cannot be, with the reason.
    left_out: tuple[tuple[Target, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Repository, every variant, and the one that was asked for on the first backend, for programs."""
        variants = [self._variant(target, metric) for target, metric in self.metrics]
        asked = next((each for each in variants if each["ensemble"] == self.plan.names.ensemble), variants[-1])
        return {
            "model": self.plan.spec.name,
            "changed": self.changed,
            "repository": str(self.plan.request.repository.resolve()),
            **{key: asked[key] for key in ("ensemble", "steps", "artifact", "manifest")},
            "metrics": {each["precision"]: each["metric"] for each in variants if each["backend"] == asked["backend"]},
            "variants": variants,
            "left_out": [
                {"backend": target.backend, "precision": target.precision.value, "reason": reason}
                for target, reason in self.left_out
            ],
        }

    def summary(self) -> str:
        """What stands in the repository now, and what to do next."""
        repository, spec = self.plan.request.repository, self.plan.spec
        first = f"{repository}: {spec.name} is published."
        if not self.changed:
            first = f"{repository}: {spec.name} is up to date, nothing was done (--force does it all the same)."
        lines = [first]
        for target, metric in self.metrics:
            measured = "accuracy not measured"
            if metric is not None:
                measured = f"{metric.name} {metric.value:.2f} on {metric.images} images"
            lines.append(f"  {Names.of(spec.name, target).ensemble}: {measured}")
        lines += [f"  {target.backend} {target.precision.value}: -" for target, _ in self.left_out]
        if all(metric is None for _, metric in self.metrics):
            lines.append("Pass --validation and --labels to measure it.")
        lines.append(f"Next: qtriton bench {repository} --model {spec.name}, or qtriton serve {repository}")
        return "\n".join(lines)

    def _variant(self, target: Target, metric: Metric | None) -> dict[str, Any]:
        names = Names.of(self.plan.spec.name, target)
        version = self.plan.request.repository.resolve() / names.runtime / "1"
        return {
            "backend": target.backend,
            "precision": target.precision.value,
            "ensemble": names.ensemble,
            "steps": {"preprocess": names.preprocess, "runtime": names.runtime, "postprocess": names.postprocess},
            "artifact": str(version / backend_for(target).files[0]),
            "manifest": str(version / MANIFEST),
            "metric": metric.model_dump() if metric else None,
        }


def build(plan: Plan, workspace: Workspace) -> Built:
    """Carry a plan out; nothing in the repository changes before everything is made and checked.

    Of several backends, one whose runtime refuses its artifact is left out with a warning; a single one is an error.
    """
    job = _prepare(plan, workspace)
    records = tuple(job.record(target) for target in plan.variants)
    published = None if plan.request.force else is_published(plan, records)
    if published is not None:
        return Built(plan, False, published)
    variants: list[Variant] = []
    left_out: list[tuple[Target, str]] = []
    for target, record in zip(plan.variants, records, strict=True):
        baseline = next((each.manifest.metric for each in variants if each.target.backend == target.backend), None)
        try:
            variants.append(_variant(job, target, record, baseline))
        except RuntimeRefusal as error:
            if len(plan.request.backends) == 1:
                raise
            console.warn(str(error))
            left_out.append((target, str(error)))
    if not variants:
        raise ModelError(f"{plan.spec.name}: no backend can run it; the warnings say why.")
    for variant in variants:
        _warn_of_loss(variant.manifest, Names.of(plan.spec.name, variant.target))
    from qtriton.stages.publish import publish

    publish(plan, job.onnx(), variants)
    metrics = tuple((variant.target, variant.manifest.metric) for variant in variants)
    return Built(plan, True, metrics, tuple(left_out))


def _prepare(plan: Plan, workspace: Workspace) -> Job:
    spec, request = plan.spec, plan.request
    with console.progress(f"{spec.name}: weights") as progress:
        weights = fetch(spec, request.weights, workspace, progress)
    folders = settle(spec, request, workspace)
    if folders.validation is not None:
        remember_images(workspace, spec.name, folders.validation)
    return Job(plan, workspace, weights, folders, keys.spec_key(spec, weights))


def _variant(job: Job, target: Target, record: Record, baseline: Metric | None) -> Variant:
    folder = _artifact(job, target)
    metric = _measure(job, target, folder)
    compressed = target.precision is not Precision.FP32
    files = [File(name=name, sha256=sha256_file(folder / name)) for name in backend_for(target).files]
    manifest = Manifest(
        model=job.spec.name,
        title=job.spec.title or job.spec.name,
        backend=target.backend,
        precision=target.precision,
        threads=target.threads,
        key=record.key,
        artifact=files[0],
        parts=tuple(files[1:]),
        source=File(name=job.weights.name, sha256=keys.weights_sha256(job.weights)),
        licence=job.spec.source.licence,
        method=job.plan.request.method if compressed else None,
        metric=metric,
        fp32_metric=baseline if compressed else metric,
        settings={"vnni": target.vnni} if compressed else {},
        versions=keys.versions(),
    )
    return Variant(target, folder, Signature.load(folder), manifest, record)


def _warn_of_loss(manifest: Manifest, names: Names) -> None:
    before, after = manifest.fp32_metric, manifest.metric
    if before is not None and after is not None and before.value - after.value > _HEAVY_LOSS:
        lost = before.value - after.value
        console.warn(f"{names.ensemble} loses {lost:.1f} points of {after.name}. Serve the FP32 ensemble beside it.")


def _artifact(job: Job, target: Target) -> Path:
    """The folder of an artifact, which its runtime has loaded once."""
    backend = backend_for(target)
    how: list[object] = [target.backend, target.precision, keys.code("backends"), keys.code("compress")]
    if target.precision is not Precision.FP32:
        assert job.folders.calibration is not None
        learnt = keys.learnt_from(job.plan.request.method, job.spec, job.weights, job.folders.calibration)
        how += [target.vnni, learnt, keys.code("quantize")]

    def produce(folder: Path) -> None:
        with console.progress(f"{job.spec.name}: {target.backend} {target.precision.value} artifact"):
            backend.emit(job, target, folder)
            with running(backend, target, folder) as run:
                own = Signature(run.inputs, run.outputs)
            if not own.answers_like(meant := signature(job.onnx(), job.spec)):
                raise RuntimeRefusal(
                    f"{job.spec.name}: {backend.title} gives {own.listed()}, the FP32 ONNX model {meant.listed()}. "
                    "Choose another --backend."
                )
            own.save(folder)

    return job.stage(f"{target.backend}-{target.precision.value}", [job.spec_key, how], produce)


def _measure(job: Job, target: Target, artifact: Path) -> Metric | None:
    data = labelled(job.spec, job.folders)
    if data is None:
        return None
    truth = [data.coco, data.classes, [sha256_file(path) for path in (*data.images, *data.masks)]]
    made_from = [[sha256_file(path) for path in sorted(artifact.iterdir()) if path.is_file()], truth]
    how = [job.spec_key, target.backend, *(keys.code(name) for name in ("metrics", "backends"))]
    name = METRIC[job.spec.task]

    def produce(folder: Path) -> None:
        from qtriton.stages.evaluate import evaluate

        cores = replace(target, threads=len(os.sched_getaffinity(0)))
        label = f"{job.spec.name}: {name} of {target.backend} {target.precision.value}"
        with running(backend_for(target), cores, artifact) as run, console.progress(label) as progress:
            value = evaluate(run, job.spec, data, progress)
        (folder / "metric.json").write_text(json.dumps({"value": value}))

    folder = job.stage(f"{target.backend}-{target.precision.value}-metric", [made_from, how], produce)
    value = json.loads((folder / "metric.json").read_text())["value"]
    return Metric(name=name, value=value, images=len(data.images))
