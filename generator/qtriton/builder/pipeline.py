"""Take a plan to a published repository, step by step; what was made before from the same inputs is reused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from qtriton import resources
from qtriton.backends import backend_for
from qtriton.builder.ahead import learning_ahead
from qtriton.builder.artifact import Artifact, make_artifact
from qtriton.builder.assemble import publish
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.fetch import fetch
from qtriton.builder.inputs import images_to_download, resolve_datasets
from qtriton.builder.result import BuildResult, LeftOut
from qtriton.builder.search import search
from qtriton.builder.sources import Sources
from qtriton.builder.trial import fitted, try_artifact
from qtriton.builder.variant import Variant, compressed_variant, fp32_variant
from qtriton.errors import AccuracyBudgetError, ArtifactLoadError, InputError, QtritonError
from qtriton.plan import Plan
from qtriton.progress import SILENT, Reporter
from qtriton.repository.manifest import Manifest
from qtriton.repository.naming import Names
from qtriton.repository.read import Repository, require_no_release
from qtriton.repository.record import PublishRecord, read_record
from qtriton.target import Precision, Target
from qtriton.workspace import Workspace, sha256_file


def build(plan: Plan, workspace: Workspace, reporter: Reporter = SILENT) -> BuildResult:
    """Carry a plan out; nothing in the repository changes before everything is made, measured and checked.

    Of several backends, one that fails, for whatever reason, is left out with a warning; a single one is an error, and
    so is what is wrong with the user's data.

    Raises:
        InputError: the images or labels cannot be used, on any backend that got so far.
        AccuracyBudgetError: the accuracy drop of INT8 is over the budget on a backend, and no other can be published.
        ArtifactLoadError: every runtime refuses its artifact.
        RepositoryError: the repository is a release, or cannot be written.
        QtritonError: every backend fails, one of them for another reason; that one's.
        KeyboardInterrupt: with a text that says what has become of the repository.
    """
    spec, options = plan.spec, plan.request.options
    require_no_release(options.repository)
    with _says_what_was_published() as published, workspace.scratch() as scratch:
        with workspace.timings.part(f"{spec.name}-weights"), reporter.progress(f"{spec.name}: weights") as progress:
            images = images_to_download(spec, options, workspace).values()
            weights = fetch(spec, options.weights, workspace, progress, [*images])
        datasets = resolve_datasets(spec, options, workspace, reporter)
        context = fitted(BuildContext(plan, workspace, weights, datasets, scratch, reporter))
        plan = context.plan
        records = {target: _record(context, target) for target in plan.variants}
        current = None if options.force else _current(plan, records)
        if current is not None:
            return BuildResult(plan, False, current, timings=workspace.timings.rows())
        with learning_ahead(context):
            variants, left_out = _variants(context, records)
        _require(plan, variants, left_out)
        with workspace.timings.part(f"{spec.name}-published"):
            publish(plan, Sources(context).export_onnx(), variants, reporter)
        published.done = True
        manifests = tuple((each.target, each.manifest) for each in variants)
        return BuildResult(plan, True, manifests, left_out, workspace.timings.rows())


@dataclass
class _Published:
    done: bool = False


@contextmanager
def _says_what_was_published() -> Iterator[_Published]:
    state = _Published()
    try:
        yield state
    except KeyboardInterrupt as interrupt:
        if interrupt.args:  # publish() knows better
            raise
        raise KeyboardInterrupt("everything was published" if state.done else "nothing was published") from None


def _record(context: BuildContext, target: Target) -> PublishRecord:
    """What the variant of a target is built from; FP32 does not depend on how INT8 is made."""
    options = context.options
    how: tuple[object, ...] = ()
    if target.precision is not Precision.FP32 and context.datasets.calibration is not None:
        how = (
            *(options.method.value, options.algorithm.value, options.learner.value, repr(options.training)),
            *(options.max_accuracy_drop, options.accept_drop, options.require_evidence, target.vnni),
        )
    what = (
        *(target.backend, target.precision.value, target.threads, options.instances),
        *(target.optimization_level, target.cuda_graphs, target.device),
    )
    where = options.placement.value if backend_for(target).moves else ""
    templates = [sha256_file(path) for path in sorted(resources.templates().glob("*.j2"))]
    inputs = (context.spec_key, what, where, how, context.parents(target.precision), templates)
    return PublishRecord(context.spec.name, context.spec_key, StageKey("published", inputs, build).digest)


def _current(plan: Plan, records: Mapping[Target, PublishRecord]) -> tuple[tuple[Target, Manifest], ...] | None:
    """The manifests of what stands in the repository, if it is what this build would make and is untouched."""
    repository, manifests = Repository(plan.request.options.repository), []
    for target, record in records.items():
        names = Names.of(plan.spec.name, target)
        entry = read_record(repository.version(names.ensemble))
        if entry is None or entry[0] != record or not repository.is_untouched(entry[1]):
            return None
        try:
            manifests.append((target, Manifest.read(repository.version(names.runtime))))
        except (OSError, ValueError):
            return None
    return tuple(manifests)


def _variants(
    context: BuildContext, records: Mapping[Target, PublishRecord]
) -> tuple[tuple[Variant, ...], tuple[LeftOut, ...]]:
    """What can be published, and what cannot, with the reason.

    Raises:
        InputError: the user's data; where another backend took them, it is this one that is at fault.
        QtritonError: the only backend fails.
    """
    variants: list[Variant] = []
    left_out: list[LeftOut] = []
    fp32: dict[str, Artifact] = {}
    max_batch: dict[str, int] = {}
    sources = Sources(context)
    for target, record in records.items():
        try:
            if target.precision is Precision.FP32:
                artifact = make_artifact(sources, target)
                max_batch[target.backend] = try_artifact(context, artifact)
                fp32[target.backend] = artifact
                variants.append(fp32_variant(context, artifact, record, max_batch[target.backend]))
            elif target.backend in fp32:
                result = search(sources, target, fp32[target.backend])
                variants.append(compressed_variant(context, result, record, max_batch[target.backend]))
            else:  # there is no FP32 to compare it with
                reason = next(each.error for each in left_out if each.target.backend == target.backend)
                left_out.append(LeftOut(target, reason))
        except QtritonError as error:
            others = {each.target.backend for each in variants} - {target.backend}
            if len(context.options.backends) == 1 or (isinstance(error, InputError) and not others):
                raise
            context.reporter.warn(str(error))
            left_out.append(LeftOut(target, error))
    return tuple(variants), tuple(left_out)


def _require(plan: Plan, variants: tuple[Variant, ...], left_out: tuple[LeftOut, ...]) -> None:
    """Refuse to publish FP32 alone where something else was asked for."""
    if any(variant.target.precision is plan.request.options.precision for variant in variants):
        return
    unchanged = "The warnings say why. What was published before is unchanged."
    if any(isinstance(each.error, AccuracyBudgetError) for each in left_out):
        stays = "is shown to stay" if plan.request.options.require_evidence else "stays"
        raise AccuracyBudgetError(f"{plan.spec.name}: no backend {stays} within the accuracy budget. {unchanged}")
    other = next((each.error for each in left_out if not isinstance(each.error, ArtifactLoadError)), None)
    if other is not None:
        raise other
    raise ArtifactLoadError(f"{plan.spec.name}: no backend can load the model. {unchanged}")
