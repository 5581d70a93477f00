"""How much accuracy an artifact drops against FP32 in the runtime that serves both: with labels, or without."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.builder.artifact import Artifact, on_all_cores
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.evaluate import measure_accuracy, measure_agreement, predict_all
from qtriton.metrics.agreement import AGREEMENT
from qtriton.repository.manifest import Metric
from qtriton.runtime.post import Results
from qtriton.spec import METRIC
from qtriton.workspace import sha256_file

_FILE: Final = "metric.json"


@dataclass(frozen=True)
class AccuracyDrop:
    """An artifact's metric beside that of FP32 on the same backend and images."""

    before: Metric
    after: Metric
    #: Whether labels told what is right; else FP32 did.
    labelled: bool

    @property
    def points(self) -> float:
        """The drop in points; below 0 where it is better."""
        return self.before.value - self.after.value


def accuracy(context: BuildContext, artifact: Artifact) -> Metric | None:
    """The model's metric on the labelled images; none without them."""
    if context.ground_truth is None:
        return None
    data, data_sha256 = context.ground_truth
    name, target = METRIC[context.spec.task], on_all_cores(artifact.target)

    def produce(folder: Path) -> None:
        with context.reporter.progress(f"{context.spec.name}: {name} of {artifact}") as progress:
            _save(folder, measure_accuracy(target, artifact.opened, context.spec, data, progress))

    key = _key(context, artifact, "metric", (data_sha256,), measure_accuracy)
    return Metric(name=name, value=_load(context.stage(key, produce)), images=len(data.images))


def accuracy_drop(context: BuildContext, fp32: Artifact, artifact: Artifact) -> AccuracyDrop:
    """The drop against FP32: of the metric where there are labels, else of the agreement with it."""
    before, after = accuracy(context, fp32), accuracy(context, artifact)
    if before is not None and after is not None:
        return AccuracyDrop(before, after, labelled=True)
    images = context.unlabelled

    def produce(folder: Path) -> None:
        expected, results = (_results(context, each, images) for each in (fp32, artifact))
        _save(folder, measure_agreement(context.spec.task, expected, results))

    inputs = (fp32.files(), [sha256_file(path) for path in images])
    value = _load(context.stage(_key(context, artifact, "agreement", inputs, measure_agreement), produce))
    perfect = Metric(name=AGREEMENT[context.spec.task], value=100.0, images=len(images))
    return AccuracyDrop(perfect, perfect.model_copy(update={"value": value}), labelled=False)


def _results(context: BuildContext, artifact: Artifact, images: Sequence[Path]) -> list[Results]:
    target = on_all_cores(artifact.target)
    with context.reporter.progress(f"{context.spec.name}: results of {artifact}") as progress:
        return predict_all(target, artifact.opened, context.spec, images, progress)


def _key(
    context: BuildContext, artifact: Artifact, what: str, inputs: tuple[object, ...], producer: Callable[..., Any]
) -> StageKey:
    target = artifact.target
    name = f"{context.spec.name}-{target.backend}-{target.precision.value}-{what}"
    return StageKey(name, (artifact.files(), target.backend, target.device, context.spec_key, *inputs), producer)


def _save(folder: Path, value: float) -> None:
    (folder / _FILE).write_text(json.dumps({"value": value}))


def _load(folder: Path) -> float:
    return float(json.loads((folder / _FILE).read_text())["value"])
