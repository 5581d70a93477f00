"""One variant of a model, ready to be published: its artifact, its tensors, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qtriton.backends import cpu_fallback
from qtriton.backends.runner import Signature
from qtriton.builder.accuracy import fp32_accuracy
from qtriton.builder.artifact import Artifact
from qtriton.builder.cache_key import package_versions
from qtriton.builder.context import BuildContext
from qtriton.builder.placing import placed
from qtriton.builder.search import SearchResult
from qtriton.builder.sources import Sources
from qtriton.placement.placed import Placed
from qtriton.quantize.sensitivity import LayerCost
from qtriton.repository.manifest import File, Layer, Manifest, Shares
from qtriton.repository.record import PublishRecord
from qtriton.target import Method, Target


@dataclass(frozen=True)
class Variant:
    """What is published of one target."""

    target: Target
    #: The folder of the artifact.
    artifact: Path
    #: The folder of the plan that this machine built of it.
    engine: Path | None
    signature: Signature
    manifest: Manifest
    record: PublishRecord
    #: Where the operations of the model are.
    placed: Placed
    #: The largest batch that it answers as it answers one by one; 0 where its outputs have no batch.
    max_batch: int


def fp32_variant(context: BuildContext, artifact: Artifact, record: PublishRecord, max_batch: int) -> Variant:
    """FP32 with its accuracy, where that can be measured.

    Raises:
        InputError: the accuracy is that of chance.
    """
    metric = fp32_accuracy(context, artifact)
    return _variant(context, artifact, record, max_batch, {"metric": metric, "fp32_metric": metric})


def compressed_variant(context: BuildContext, result: SearchResult, record: PublishRecord, max_batch: int) -> Variant:
    """What the gate let pass, with all that the search found out."""
    chosen = result.chosen
    recipe, drop = chosen.recipe, chosen.drop
    measured = {"metric": drop.after, "fp32_metric": drop.before} if drop.labelled else {}
    settings: dict[str, Any] = {"recipe": str(recipe)}
    if recipe.method is not None:
        settings |= {"algorithm": recipe.algorithm.value, "learner": recipe.learner.value}
        settings |= {"equalized": recipe.equalized, "vnni": chosen.artifact.target.vnni}
    if recipe.method is Method.QAT:
        settings |= asdict(context.options.training)
    return _variant(
        context,
        chosen.artifact,
        record,
        max_batch,
        {
            **measured,
            "method": recipe.method,
            "settings": settings,
            "gate": result.gate,
            "speed": result.speed,
            "tried": result.tried,
            "layers": _layers(chosen.artifact, result.costs),
        },
    )


def _variant(
    context: BuildContext, artifact: Artifact, record: PublishRecord, max_batch: int, details: dict[str, Any]
) -> Variant:
    target, spec = artifact.target, context.spec
    where = placed(Sources(context), target)
    main, *parts = artifact.files()
    parents = context.parents(target.precision)
    images = context.datasets.validation or context.datasets.calibration
    manifest = Manifest(
        model=spec.name,
        title=spec.title or spec.name,
        backend=target.backend,
        precision=target.precision,
        threads=target.threads,
        instances=context.options.instances,
        cuda_graphs=target.cuda_graphs,
        key=record.key,
        artifact=main,
        parts=tuple(parts),
        source=File(name=context.weights.name, sha256=context.weights_sha256),
        licence=spec.source.licence,
        parents=parents,
        images=str(images.resolve()) if images is not None else "",
        downloaded={name: source for name, source in context.datasets.sources.items() if name in parents},
        versions=dict(package_versions(__name__)),
        placement=shares(where),
        measured_in=fallback.title if (fallback := cpu_fallback(target)) else "",
        **details,
    )
    return Variant(target, artifact.folder, artifact.engine, artifact.signature(), manifest, record, where, max_batch)


def shares(where: Placed) -> Shares:
    """What of a spec the graph does and what the steps, in words."""
    before, behind = (", ".join(op.op for op in ops) for ops in (where.spec.preprocess, where.spec.postprocess))
    return Shares(
        preprocess=before,
        prologue=str(where.prologue or ""),
        epilogue=str(where.epilogue or ""),
        postprocess=behind,
    )


def _layers(artifact: Artifact, costs: Sequence[LayerCost]) -> tuple[Layer, ...]:
    """Every layer that could be quantized with what it costs, or only those in floating point."""
    reasons = artifact.float_layers()
    rows = [
        Layer(
            node=cost.node,
            op=cost.op,
            weights=cost.weights,
            macs=cost.macs,
            divergence=cost.divergence,
            # Paddle's emitter knows the layers by ACT's names, the others by ONNX's.
            float_reason=reasons.pop(cost.node, "") or reasons.pop(cost.name, ""),
        )
        for cost in costs
    ]
    return (*rows, *(Layer(node=node, float_reason=why) for node, why in reasons.items()))
