"""What an artifact loses against FP32 in the runtime that serves both: with labels, or without."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton import console
from qtriton.backends.runner import Runner, running
from qtriton.build import cache_key as keys
from qtriton.build.sources import Artifact, Job, all_cores
from qtriton.metrics.agreement import AGREEMENT, agreement
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
        """What is lost, in points; below 0 where it is better."""
        return self.before.value - self.after.value


def accuracy(job: Job, made: Artifact) -> Metric | None:
    """The model's metric on the labelled images; none without them."""
    if job.truth is None:
        return None
    data, truth = job.truth
    name = METRIC[job.spec.task]

    def produce(folder: Path) -> None:
        from qtriton.build.evaluate import evaluate

        with _running(made) as run, console.progress(f"{job.spec.name}: {name} of {made}") as progress:
            _save(folder, evaluate(run, job.spec, data, progress))

    return Metric(name=name, value=_value(job, made, "metric", [truth], produce), images=len(data.images))


def accuracy_drop(job: Job, fp32: Artifact, made: Artifact) -> AccuracyDrop:
    """What an artifact loses against FP32: of the metric where there are labels, else of the agreement with it."""
    before, after = accuracy(job, fp32), accuracy(job, made)
    if before is not None and after is not None:
        return AccuracyDrop(before, after, labelled=True)
    images = job.unlabelled

    def produce(folder: Path) -> None:
        truth, found = (_results(job, each, images) for each in (fp32, made))
        _save(folder, agreement(job.spec.task, truth, found))

    made_from = [fp32.files(), [sha256_file(path) for path in images]]
    value = _value(job, made, "agreement", made_from, produce)
    perfect = Metric(name=AGREEMENT[job.spec.task], value=100.0, images=len(images))
    return AccuracyDrop(perfect, perfect.model_copy(update={"value": value}), labelled=False)


def _results(job: Job, made: Artifact, images: Sequence[Path]) -> list[Results]:
    from qtriton.build.evaluate import predict

    results = []
    with _running(made) as run, console.progress(f"{job.spec.name}: results of {made}") as progress:
        for done, path in enumerate(images, 1):
            results.append(predict(run, path, job.spec, job.spec.postprocess))
            progress(done, len(images))
    return results


def _running(made: Artifact) -> AbstractContextManager[Runner]:
    return running(all_cores(made.target), made.opened)


def _value(job: Job, made: Artifact, what: str, made_from: Sequence[object], produce: Callable[[Path], None]) -> float:
    how = [
        job.spec_key,
        made.target.backend,
        made.target.device,
        *(keys.code(name) for name in ("metrics", "backends")),
    ]
    name = f"{made.target.backend}-{made.target.precision.value}-{what}"
    folder = job.stage(name, [made.files(), made_from, how], produce)
    return float(json.loads((folder / _FILE).read_text())["value"])


def _save(folder: Path, value: float) -> None:
    (folder / _FILE).write_text(json.dumps({"value": value}))
