"""Whether FP32 gives the same numbers on two backends, so that it need not be measured on both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from qtriton.backends.runner import running
from qtriton.builder.artifact import Artifact, on_all_cores
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.evaluate import raw_answer
from qtriton.builder.feeding import FrameReader
from qtriton.builder.placing import placed
from qtriton.builder.sources import Sources
from qtriton.builder.trial import alike
from qtriton.spec import ModelSpec
from qtriton.target import Precision, Target

#: Real images that are compared, from all over those that there are.
_IMAGES: Final = 4
_FILE: Final = "same.json"


def measured_artifact(context: BuildContext, artifact: Artifact) -> Artifact:
    """The artifact whose answers are taken for this one's: FP32 of an earlier backend where both give the same."""
    if artifact.target.precision is not Precision.FP32:
        return artifact
    known = context.measured
    if artifact.folder not in known:
        earlier = [each for folder, each in known.items() if folder == each.folder]
        same = (each for each in earlier if _same(context, each, artifact))
        known[artifact.folder] = next(same, artifact)
    return known[artifact.folder]


def _same(context: BuildContext, one: Artifact, other: Artifact) -> bool:
    specs = [placed(Sources(context), each.target).spec for each in (one, other)]
    if specs[0].postprocess != specs[1].postprocess:
        return False
    places = _spread(len(context.compared))
    images, hashes = [context.compared[at] for at in places], [context.compared_sha256[at] for at in places]

    def produce(folder: Path) -> None:
        label = f"{context.spec.name}: FP32 of {one.target.backend} and of {other.target.backend}"
        with context.reporter.progress(label):
            pairs = zip((one, other), specs, strict=True)
            models = [(on_all_cores(each.target), each.opened, spec) for each, spec in pairs]
            found = give_the_same(models, images, context.reader)
        (folder / _FILE).write_text(json.dumps(found))

    inputs = (one.files(), other.files(), one.target.backend, other.target.backend, context.spec_key, hashes)
    key = StageKey(f"{context.spec.name}-{other.target.backend}-fp32-same", inputs, give_the_same)
    return bool(json.loads((context.stage(key, produce) / _FILE).read_text()))


def _spread(count: int) -> list[int]:
    places: list[int] = np.unique(np.linspace(0, count - 1, _IMAGES).astype(int)).tolist()
    return places


def give_the_same(
    models: Sequence[tuple[Target, Path, ModelSpec]], images: Sequence[Path], frames: FrameReader
) -> bool:
    """Whether the raw outputs of artifacts on images agree to 1e-3 of what is usual in each column (trial.alike).

    Raises:
        ArtifactLoadError: a runtime cannot load or run one.
    """
    with ExitStack() as stack:
        runs = [(stack.enter_context(running(target, model)), spec) for target, model, spec in models]
        for path in images:
            first, *others = (raw_answer(run, frames.read(path, spec), spec) for run, spec in runs)
            for outputs in others:
                pairs = list(zip(first, outputs, strict=True))
                if any(one.shape != other.shape or not alike(other, one) for one, other in pairs):
                    return False
    return True
