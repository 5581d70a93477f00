"""How much accuracy an artifact drops against FP32 in the runtime that serves both: with labels, or without."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.builder.artifact import Artifact
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.evaluate import measure_accuracy, measure_agreement, measure_emptiness, predict_all
from qtriton.builder.placing import placed
from qtriton.builder.same_outputs import measured_artifact
from qtriton.builder.sources import Sources
from qtriton.errors import InputError
from qtriton.metrics.outcomes import Outcomes, load_outcomes
from qtriton.metrics.score import Score
from qtriton.repository.manifest import Metric
from qtriton.runtime.values import Results
from qtriton.target import Precision
from qtriton.tasks import TASKS

_FILE: Final = "metric.json"
_OUTCOMES: Final = "outcomes.npz"
#: FP32 that reaches less than this part of what is published is wrong; data that is harder explains the rest.
_FAR: Final = 0.5


@dataclass(frozen=True)
class AccuracyDrop:
    """An artifact's metric beside that of FP32 on the same backend and images."""

    before: Metric
    after: Metric
    #: Whether labels told what is right; else FP32 did.
    labelled: bool
    #: What both saw image by image, FP32 first; none of FP32 where it is the truth.
    outcomes: tuple[Outcomes | None, Outcomes]
    #: With labels: how far the results agree with FP32's on a part of the images, in points of 100; none where FP32
    #: finds nothing. A drop that is small by luck does not go with results that differ.
    agreement: float | None = None

    @property
    def points(self) -> float:
        """The drop in points; below 0 where it is better."""
        return self.before.value - self.after.value


def accuracy(context: BuildContext, artifact: Artifact) -> Metric | None:
    """The model's metric on the labelled images; none without them."""
    found = _score(context, artifact)
    return None if found is None else found[0]


def fp32_accuracy(context: BuildContext, artifact: Artifact) -> Metric | None:
    """The same of FP32, which everything else is measured against.

    Raises:
        InputError: it is no better than chance, so that it would say nothing about INT8.
    """
    found = _score(context, artifact)
    if found is None:
        return None
    metric, score = found
    published = context.spec.published
    if not score.meaningful:
        why = f"no better than chance, {score.chance:.2f}"
    elif published is not None and score.value < published * _FAR:
        why = f"far from the {published:g} that the spec says are published"
    else:
        return metric
    raise InputError(
        f"{context.spec.name}: the {metric.name} of FP32 on {metric.images} labelled images is {metric.value:.2f}, "
        f"{why}: INT8 cannot be judged by it. Look at the order of `classes` and whether --labels belong to these "
        "images, then at preprocess in the spec. To compare INT8 with FP32 only, leave --labels out."
    )


def _score(context: BuildContext, artifact: Artifact) -> tuple[Metric, Score] | None:
    if context.ground_truth is None:
        return None
    data, data_sha256 = context.ground_truth
    backend, artifact = artifact.target.backend, measured_artifact(context, artifact)
    name, target = TASKS[context.spec.task].metric, artifact.target

    def produce(folder: Path) -> None:
        with context.reporter.progress(f"{context.spec.name}: {name} of {artifact}") as progress:
            spec, served = placed(Sources(context), target).spec, len(context.compared)
            what = (target, artifact.opened, spec, data, served, context.reader)
            score, context.results[artifact.folder] = measure_accuracy(*what, progress)
            score.outcomes.save(folder / _OUTCOMES)
            _save(folder, score.chance)

    key = _key(context, artifact, "metric", (data_sha256,), measure_accuracy)
    folder = context.stage(key, produce)
    score = Score(load_outcomes(folder / _OUTCOMES), *_load(folder))
    measured_on = "" if artifact.target.backend == backend else artifact.target.backend
    return Metric(name=name, value=score.value, images=len(data.images), measured_on=measured_on), score


def accuracy_drop(context: BuildContext, fp32: Artifact, artifact: Artifact) -> AccuracyDrop:
    """The drop against FP32: of the metric where there are labels, else of the agreement with it.

    Raises:
        InputError: FP32 finds nothing in the images, so that nothing can agree with it.
    """
    first, second = _score(context, fp32), _score(context, artifact)
    if first is not None and second is not None:
        (before, fp32_score), (after, score) = first, second
        agreed = _agreement(context, fp32, artifact).value() if finds_something(context, fp32) else None
        return AccuracyDrop(before, after, True, (fp32_score.outcomes, score.outcomes), agreed)
    require_finding(context, fp32)
    outcomes = _agreement(context, fp32, artifact)
    perfect = Metric(name=TASKS[context.spec.task].agreement, value=100.0, images=len(context.compared))
    return AccuracyDrop(perfect, perfect.model_copy(update={"value": outcomes.value()}), False, (None, outcomes))


def require_finding(context: BuildContext, fp32: Artifact) -> None:
    """Refuse images that cannot tell FP32 and INT8 apart, before anything is compressed.

    Raises:
        InputError: there are no labels, and FP32 finds nothing.
    """
    if context.ground_truth is None and not finds_something(context, fp32):
        raise InputError(
            f"{context.spec.name}: cannot tell what INT8 costs: FP32 finds nothing in {len(context.compared)} "
            "images. Give --validation images with objects, or lower score_threshold in the spec. If there are "
            "objects, look at preprocess and the head in the spec."
        )


def finds_something(context: BuildContext, fp32: Artifact) -> bool:
    """Whether FP32 reports anything on the images that it is compared on."""

    def produce(folder: Path) -> None:
        _save(folder, float(not measure_emptiness(_results(context, fp32))))

    inputs = (context.compared_sha256,)
    key = _key(context, measured_artifact(context, fp32), "finds", inputs, measure_emptiness)
    return bool(_load(context.stage(key, produce))[0])


def _agreement(context: BuildContext, fp32: Artifact, artifact: Artifact) -> Outcomes:
    def produce(folder: Path) -> None:
        expected, results = (_results(context, each) for each in (fp32, artifact))
        if artifact.target.precision is not Precision.FP32:
            context.results.pop(artifact.folder)  # that of FP32 is asked for again
        measure_agreement(context.spec.task, expected, results).save(folder / _OUTCOMES)

    inputs = (measured_artifact(context, fp32).files(), context.compared_sha256)
    folder = context.stage(_key(context, artifact, "agreement", inputs, measure_agreement), produce)
    return load_outcomes(folder / _OUTCOMES)


def _results(context: BuildContext, artifact: Artifact) -> list[Results]:
    """What an artifact reports; where it was measured just now, that is known."""
    artifact = measured_artifact(context, artifact)
    if artifact.folder not in context.results:
        target = artifact.target
        with context.reporter.progress(f"{context.spec.name}: results of {artifact}") as progress:
            what = (target, artifact.opened, placed(Sources(context), target).spec, context.compared, context.reader)
            context.results[artifact.folder] = predict_all(*what, progress)
    return context.results[artifact.folder]


def _key(
    context: BuildContext, artifact: Artifact, what: str, inputs: tuple[object, ...], producer: Callable[..., Any]
) -> StageKey:
    target = artifact.target
    name = f"{context.spec.name}-{target.backend}-{target.precision.value}-{what}"
    return StageKey(name, (artifact.files(), target.backend, target.device, context.spec_key, *inputs), producer)


def _save(folder: Path, *values: float) -> None:
    (folder / _FILE).write_text(json.dumps(values))


def _load(folder: Path) -> list[float]:
    return [float(each) for each in json.loads((folder / _FILE).read_text())]
