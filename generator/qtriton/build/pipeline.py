"""Take a plan to a published repository, stage by stage; what was made before from the same inputs is reused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtriton import console
from qtriton.backends import backend_for, cpu_fallback
from qtriton.backends.runner import Signature, running
from qtriton.build import cache_key as keys
from qtriton.build.accuracy import accuracy
from qtriton.build.fetch import fetch
from qtriton.build.fp32 import signature
from qtriton.build.images import remember_images, resolve_datasets
from qtriton.build.result import Built
from qtriton.build.search import SearchResult, search
from qtriton.build.sources import Artifact, Job
from qtriton.errors import AccuracyBudgetError, ArtifactLoadError, CompressionError
from qtriton.plan import Plan
from qtriton.repository.manifest import File, Layer, Manifest
from qtriton.repository.record import PublishRecord, is_published
from qtriton.target import Method, Precision, Target
from qtriton.workspace import Workspace

if TYPE_CHECKING:
    from qtriton.quantize.sensitivity import LayerCost

#: Which layers of an artifact stay in floating point and why, beside it.
FLOAT_LAYERS_FILE: Final = "floats.json"


@dataclass(frozen=True)
class Variant:
    """One artifact, ready to be published: the folder it lies in, its tensors, and what is known of it."""

    target: Target
    artifact: Path
    #: The folder of the plan that this machine built of it.
    engine: Path | None
    signature: Signature
    manifest: Manifest
    record: PublishRecord


def build(plan: Plan, workspace: Workspace) -> Built:
    """Carry a plan out; nothing in the repository changes before everything is made, measured and checked.

    Of several backends, one whose runtime refuses its artifact, or whose INT8 loses more than the budget, is left out
    with a warning; a single one is an error.

    Raises:
        AccuracyBudgetError: INT8 loses more accuracy than was allowed on every backend.
    """
    spec, request = plan.spec, plan.request
    with console.progress(f"{spec.name}: weights") as progress:
        weights = fetch(spec, request.weights, workspace, progress)
    folders = resolve_datasets(spec, request, workspace)
    if folders.validation is not None:
        remember_images(workspace, spec.name, folders.validation)
    with workspace.scratch() as scratch:
        return _build(Job(plan, workspace, weights, folders, keys.spec_key(spec, weights), scratch))


def _build(job: Job) -> Built:
    plan = job.plan
    records = {target: job.record(target) for target in plan.variants}
    published = None if plan.request.force else is_published(plan, tuple(records.values()))
    if published is not None:
        return Built(plan, False, published)
    variants, left_out = _variants(job, records)
    wanted = plan.request.precision
    if not any(variant.target.precision is wanted for variant in variants):
        raise AccuracyBudgetError(
            f"{plan.spec.name}: no backend has an artifact to publish; the warnings say why. What was published "
            "before is as it was."
        )
    from qtriton.build.assemble import publish

    publish(plan, job.onnx(), variants)
    return Built(plan, True, tuple((each.target, each.manifest) for each in variants), left_out)


def _variants(
    job: Job, records: Mapping[Target, PublishRecord]
) -> tuple[tuple[Variant, ...], tuple[tuple[Target, str], ...]]:
    """What can be published, and what cannot, with the reason."""
    variants: list[Variant] = []
    left_out: list[tuple[Target, str]] = []
    fp32: dict[str, Artifact] = {}
    for target, record in records.items():
        try:
            if target.precision is Precision.FP32:
                fp32[target.backend] = made = make(job, target)
                variants.append(_fp32_variant(job, made, record))
            elif target.backend in fp32:
                found = search(job, target, fp32[target.backend], make)
                variants.append(_compressed_variant(job, found, record))
            else:
                left_out.append((target, left_out[-1][1]))  # without FP32 there is nothing to compare it with
        except (ArtifactLoadError, AccuracyBudgetError) as error:
            if len(job.plan.request.backends) == 1:
                raise
            console.warn(str(error))
            left_out.append((target, str(error)))
    return tuple(variants), tuple(left_out)


def make(job: Job, target: Target) -> Artifact:
    """The artifact of a target by the job's recipe; its runtime has loaded it once."""
    backend, compressed = backend_for(target), target.precision is not Precision.FP32
    how: list[object] = [target.backend, target.precision, keys.code("backends"), keys.code("compress")]
    if target.precision.quantized:
        how += [target.vnni, job.learnt_from(), sorted(job.floats()), keys.code("quantize")]
    if target.precision.half:
        how += [keys.images_sha256(job.folders.calibration)] if job.folders.calibration else []
        how += [keys.code("quantize")]
    if on_gpu := backend.gpu:
        how += [target.optimization_level] if on_gpu.plan else []
    made = f"{target.backend} {target.precision.value}"

    def produce(folder: Path) -> None:
        label = f"{made} ({job.recipe})" if compressed else made
        with console.progress(f"{job.spec.name}: {label} artifact"):
            left = backend.emit(job, target, folder)
            with running(replace(target, device=""), folder / backend.files(target)[0]) as run:
                own = Signature(run.inputs, run.outputs)
            if not own.answers_like(meant := signature(job.onnx(), job.spec)):
                raise ArtifactLoadError(
                    f"{job.spec.name}: {backend.title} gives {own.listed()}, the FP32 ONNX model {meant.listed()}. "
                    "Choose another --backend."
                )
            own.save(folder)
            (folder / FLOAT_LAYERS_FILE).write_text(json.dumps(dict(left)))

    folder = job.stage(f"{target.backend}-{target.precision.value}", [job.spec_key, how], produce)
    return Artifact(target, folder, job.recipe if compressed else None, _engine(job, target, folder))


def _engine(job: Job, target: Target, folder: Path) -> Path | None:
    """The folder of the plan that an artifact becomes on this machine's GPU; none where it is run as it is."""
    on_gpu = backend_for(target).gpu
    if not target.device or on_gpu is None or not on_gpu.plan:
        return None
    from qtriton.operate.engines import engine_of

    try:
        return engine_of(folder, f"{job.spec.name}: {target.backend} {target.precision.value}", job.workspace)
    except CompressionError as error:
        raise ArtifactLoadError(str(error)) from error


def _fp32_variant(job: Job, made: Artifact, record: PublishRecord) -> Variant:
    metric = accuracy(job, made)
    return _variant(job, made, record, {"metric": metric, "fp32_metric": metric})


def _compressed_variant(job: Job, found: SearchResult, record: PublishRecord) -> Variant:
    chosen = found.chosen
    recipe, loss = chosen.recipe, chosen.loss
    request = job.plan.request
    accuracy = {"metric": loss.after, "fp32_metric": loss.before} if loss.labelled else {}
    settings: dict[str, Any] = {"recipe": str(recipe)}
    if recipe.method is not None:
        settings |= {"algorithm": recipe.algorithm.value, "vnni": chosen.made.target.vnni}
    if recipe.method is Method.QAT:
        settings |= asdict(request.training)
    return _variant(
        job,
        chosen.made,
        record,
        {
            **accuracy,
            "method": recipe.method,
            "settings": settings,
            "gate": found.gate,
            "speed": found.speed,
            "tried": found.tried,
            "layers": _layers(chosen.made, found.costs),
        },
    )


def _variant(job: Job, made: Artifact, record: PublishRecord, known: dict[str, Any]) -> Variant:
    target = made.target
    artifact, *parts = made.files()
    manifest = Manifest(
        model=job.spec.name,
        title=job.spec.title or job.spec.name,
        backend=target.backend,
        precision=target.precision,
        threads=target.threads,
        key=record.key,
        artifact=artifact,
        parts=tuple(parts),
        source=File(name=job.weights.name, sha256=keys.weights_sha256(job.weights)),
        licence=job.spec.source.licence,
        parents=keys.parents(job.folders, target),
        versions=keys.versions(),
        measured_in=instead.title if (instead := cpu_fallback(target)) else "",
        **known,
    )
    return Variant(target, made.folder, made.engine, Signature.load(made.folder), manifest, record)


def _layers(made: Artifact, costs: Sequence[LayerCost]) -> tuple[Layer, ...]:
    """Every layer that could be in integers with what it costs, or only those in float where that was not measured."""
    left: dict[str, str] = json.loads((made.folder / FLOAT_LAYERS_FILE).read_text())
    rows = [
        Layer(
            node=cost.node,
            op=cost.op,
            weights=cost.weights,
            macs=cost.macs,
            divergence=cost.divergence,
            # Paddle's emitter knows the layers by ACT's names, the others by ONNX's.
            float_reason=left.pop(cost.node, "") or left.pop(cost.name, ""),
        )
        for cost in costs
    ]
    return (*rows, *(Layer(node=node, float_reason=why) for node, why in left.items()))
