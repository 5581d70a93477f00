"""Measure the accuracy of an artifact in the runtime that serves it, with the deployed operations around it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qtriton.backends.runner import Runner, running
from qtriton.builder.feeding import feed, ordered_outputs, read_frame
from qtriton.builder.scoring import SCORINGS, Measured
from qtriton.labels import LabelledImages
from qtriton.metrics.agreement import agreement, tells_nothing
from qtriton.metrics.instances import packed
from qtriton.metrics.outcomes import Outcomes
from qtriton.metrics.score import Score
from qtriton.progress import Progress
from qtriton.runtime.post import PostOp, postprocess
from qtriton.runtime.pre import Frame
from qtriton.runtime.values import Array, Results
from qtriton.spec import ModelSpec
from qtriton.target import Target
from qtriton.tasks import Task


def measure_accuracy(target: Target, model: Path, spec: ModelSpec, data: LabelledImages, progress: Progress) -> Score:
    """The metric of an artifact's main file, as `evaluate` gives it, in a process of its own.

    Raises:
        ArtifactLoadError: the runtime cannot load or run it.
    """
    with running(target, model) as run:
        return evaluate(run, spec, data, progress)


def predict_all(
    target: Target, model: Path, spec: ModelSpec, images: Sequence[Path], progress: Progress
) -> list[Results]:
    """The results of an artifact's main file for each image, as it is served; masks of objects are packed.

    Raises:
        ArtifactLoadError: the runtime cannot load or run it.
    """
    results = []
    with running(target, model) as run:
        for done, path in enumerate(images, 1):
            results.append(_packed(run, read_frame(path, spec), spec, spec.postprocess))
            progress(done, len(images))
    return results


def measure_agreement(task: Task, expected: Sequence[Results], results: Sequence[Results]) -> Outcomes:
    """How far results agree with those of FP32, image by image: the metric without labels."""
    return agreement(task, expected, results)


def measure_emptiness(expected: Sequence[Results]) -> bool:
    """Whether FP32's results are empty, so that nothing can agree or disagree with them."""
    return tells_nothing(expected)


def predict(run: Runner, path: Path, spec: ModelSpec, ops: Sequence[PostOp]) -> Results:
    """The results of one image file, computed without a server by the code that is deployed."""
    return _results(run, read_frame(path, spec), spec, ops)


def _results(run: Runner, frame: Frame, spec: ModelSpec, ops: Sequence[PostOp]) -> Results:
    return postprocess(_outputs(run, frame, spec), frame.geometry, ops)


def _outputs(run: Runner, frame: Frame, spec: ModelSpec) -> list[Array]:
    """The outputs of one image without the batch, where they have one."""
    outputs = [array for _, array in ordered_outputs(run, feed(run, frame, spec))]
    return [each[0] for each in outputs] if spec.max_batch_size else outputs


def _packed(run: Runner, frame: Frame, spec: ModelSpec, ops: Sequence[PostOp]) -> Results:
    """Results that can be kept of many images."""
    return packed(_results(run, frame, spec, ops), round(frame.geometry.height), round(frame.geometry.width))


def evaluation_ops(spec: ModelSpec) -> tuple[PostOp, ...]:
    """The postprocessing with the spec's evaluation settings instead of the serving ones."""
    return (*spec.postprocess[:-1], replace(spec.postprocess[-1], **spec.evaluation))


def evaluate(run: Runner, spec: ModelSpec, data: LabelledImages, progress: Progress) -> Score:
    """The model's metric on labelled images, beside what chance reaches.

    Raises:
        InputError: the labels do not fit what the model reports, or the images.
    """
    ops, scoring = evaluation_ops(spec), SCORINGS[spec.task]
    measured = Measured(spec, data, _first_values(run, spec, data))
    scoring.check(measured)
    results, sizes = [], []
    for done, path in enumerate(data.images, 1):
        frame = read_frame(path, spec)
        sizes.append((round(frame.geometry.width), round(frame.geometry.height)))
        results.append(_packed(run, frame, spec, ops))
        progress(done, len(data.images))
    return scoring.score(replace(measured, results=results, sizes=sizes))


def _first_values(run: Runner, spec: ModelSpec, data: LabelledImages) -> list[Array]:
    """What each operation of postprocess is given for the first image, of several outputs the first."""
    frame = read_frame(data.images[0], spec)
    values: list[Any] = [_outputs(run, frame, spec)]
    for op in spec.postprocess[:-1]:
        values.append(op(values[-1], frame.geometry))
    return [np.asarray(value[0]) for value in values]
