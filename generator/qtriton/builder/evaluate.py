"""Measure the accuracy of an artifact in the runtime that serves it, with the deployed operations around it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from qtriton.backends.runner import Runner, running
from qtriton.builder.feeding import FrameReader, feed, ordered_outputs, read_frame
from qtriton.builder.passes import Load, copies, in_parallel
from qtriton.builder.scoring import SCORINGS, Measured
from qtriton.labels import LabelledImages
from qtriton.metrics.agreement import agreement, tells_nothing
from qtriton.metrics.instances import packed
from qtriton.metrics.outcomes import Outcomes
from qtriton.metrics.score import Score
from qtriton.placement.placed import PlacedSpec
from qtriton.placement.selection import select_above
from qtriton.progress import Progress
from qtriton.runtime.post import PostOp, postprocess
from qtriton.runtime.pre import Frame, Geometry
from qtriton.runtime.values import Array, Results
from qtriton.spec import ModelSpec
from qtriton.target import Target
from qtriton.tasks import Task


def measure_accuracy(
    target: Target,
    model: Path,
    spec: ModelSpec,
    data: LabelledImages,
    served: int,
    frames: FrameReader,
    progress: Progress,
) -> tuple[Score, list[Results]]:
    """The metric of an artifact's main file, as `evaluate` gives it, and the results of its first images as served.

    Each image is run once, and answered by both settings.

    Raises:
        ArtifactLoadError: the runtime cannot load or run it.
    """
    each, count = copies(target, len(data.images))
    with as_evaluated(model, spec) as path:
        return _evaluate(lambda: running(each, path), count, spec, data, served, frames, progress)


@contextmanager
def as_evaluated(model: Path, spec: ModelSpec) -> Iterator[Path]:
    """The main file of an artifact; where it selects rows by the score of serving, a copy that does by evaluation's."""
    import onnx

    above = getattr(evaluation_ops(spec)[-1], "score_threshold", None)
    if not isinstance(spec, PlacedSpec) or spec.above is None or above is None or above >= spec.above:
        yield model
        return
    with TemporaryDirectory() as folder:
        path, copy = Path(folder) / model.name, onnx.load(str(model))
        select_above(copy, above)
        path.write_bytes(copy.SerializeToString())
        yield path


def predict_all(
    target: Target, model: Path, spec: ModelSpec, images: Sequence[Path], frames: FrameReader, progress: Progress
) -> list[Results]:
    """The results of an artifact's main file for each image, as it is served; masks of objects are packed.

    Raises:
        ArtifactLoadError: the runtime cannot load or run it.
    """

    def answer(run: Runner, place: int) -> Results:
        frame = frames.read(images[place], spec)
        return _results(raw_answer(run, frame, spec), frame.geometry, spec, spec.postprocess[-1:])[0]

    each, count = copies(target, len(images))
    return in_parallel(lambda: running(each, model), count, len(images), answer, progress)


def measure_agreement(task: Task, expected: Sequence[Results], results: Sequence[Results]) -> Outcomes:
    """How far results agree with those of FP32, image by image: the metric without labels."""
    return agreement(task, expected, results)


def measure_emptiness(expected: Sequence[Results]) -> bool:
    """Whether FP32's results are empty, so that nothing can agree or disagree with them."""
    return tells_nothing(expected)


def predict(run: Runner, path: Path, spec: ModelSpec, ops: Sequence[PostOp]) -> Results:
    """The results of one image file, computed without a server by the code that is deployed."""
    frame = read_frame(path, spec)
    return postprocess(raw_answer(run, frame, spec), frame.geometry, ops)


def raw_answer(run: Runner, frame: Frame, spec: ModelSpec) -> list[Array]:
    """The outputs of one image without the batch, where they have one."""
    outputs = [array for _, array in ordered_outputs(run, feed(run, frame, spec))]
    return [each[0] for each in outputs] if spec.max_batch_size else outputs


def _results(outputs: list[Array], geometry: Geometry, spec: ModelSpec, lasts: Sequence[PostOp]) -> list[Results]:
    """The results of one image by each of several last operations, in a form that can be kept of many images."""
    value: Any = postprocess(outputs, geometry, spec.postprocess[:-1])
    results = (postprocess(value, geometry, (last,)) for last in lasts)
    return [packed(each, round(geometry.height), round(geometry.width)) for each in results]


def evaluation_ops(spec: ModelSpec) -> tuple[PostOp, ...]:
    """The postprocessing with the spec's evaluation settings instead of the serving ones."""
    return (*spec.postprocess[:-1], replace(spec.postprocess[-1], **spec.evaluation))


def evaluate(run: Runner, spec: ModelSpec, data: LabelledImages, progress: Progress) -> Score:
    """The model's metric on labelled images, beside what chance reaches.

    Raises:
        InputError: the labels do not fit what the model reports, or the images.
    """
    return _evaluate(lambda: nullcontext(run), 1, spec, data, 0, FrameReader(), progress)[0]


def _evaluate(
    load: Load[Runner],
    count: int,
    spec: ModelSpec,
    data: LabelledImages,
    served: int,
    frames: FrameReader,
    progress: Progress,
) -> tuple[Score, list[Results]]:
    """The score, and the results of the first `served` images as they are served."""
    scoring, evaluation = SCORINGS[spec.task], evaluation_ops(spec)[-1]
    measured = Measured(spec, data, ())

    def answer(run: Runner, place: int) -> tuple[tuple[int, int], list[Results]]:
        nonlocal measured
        frame = frames.read(data.images[place], spec)
        outputs, geometry = raw_answer(run, frame, spec), frame.geometry
        if place == 0:
            measured = replace(measured, values=_values(outputs, geometry, spec))
            scoring.check(measured)
        lasts = (evaluation, spec.postprocess[-1]) if place < served else (evaluation,)
        return (round(geometry.width), round(geometry.height)), _results(outputs, geometry, spec, lasts)

    sizes, answers = zip(*in_parallel(load, count, len(data.images), answer, progress), strict=True)
    score = scoring.score(replace(measured, results=[each[0] for each in answers], sizes=sizes))
    return score, [each[1] for each in answers[:served]]


def _values(outputs: list[Array], geometry: Geometry, spec: ModelSpec) -> list[Array]:
    """What each operation of postprocess is given for an image, of several outputs the first."""
    values: list[Any] = [outputs]
    for op in spec.postprocess[:-1]:
        values.append(op(values[-1], geometry))
    return [np.asarray(value[0]) for value in values]
