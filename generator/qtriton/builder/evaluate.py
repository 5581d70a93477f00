"""Measure the accuracy of an artifact in the runtime that serves it, with the deployed operations around it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qtriton.backends.runner import Runner, running
from qtriton.builder.feeding import feed, ordered_outputs, read_frame
from qtriton.errors import InputError
from qtriton.labels import LabelledImages
from qtriton.labels.masks import read_mask
from qtriton.metrics.agreement import agreement, tells_nothing
from qtriton.metrics.coco_map import CHANCE as DETECTION_CHANCE
from qtriton.metrics.coco_map import coco_map
from qtriton.metrics.miou import Confusion, chance, confusion, miou
from qtriton.metrics.score import Score
from qtriton.metrics.top1 import top1
from qtriton.progress import Progress
from qtriton.runtime.maps import ArgMax, Threshold
from qtriton.runtime.post import PostOp, postprocess
from qtriton.runtime.pre import Frame
from qtriton.runtime.values import Array, Results
from qtriton.spec import ModelSpec, Task
from qtriton.spec_files import classes as class_names
from qtriton.target import Target


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
    """The results of an artifact's main file for each image, as it is served.

    Raises:
        ArtifactLoadError: the runtime cannot load or run it.
    """
    results = []
    with running(target, model) as run:
        for done, path in enumerate(images, 1):
            results.append(predict(run, path, spec, spec.postprocess))
            progress(done, len(images))
    return results


def measure_agreement(task: Task, expected: Sequence[Results], results: Sequence[Results]) -> float:
    """How far results agree with those of FP32, image by image, in points of 100: the metric without labels."""
    return agreement(task, expected, results)


def measure_emptiness(task: Task, expected: Sequence[Results]) -> bool:
    """Whether FP32's results are empty, so that nothing can agree or disagree with them."""
    return tells_nothing(task, expected)


def predict(run: Runner, path: Path, spec: ModelSpec, ops: Sequence[PostOp]) -> Results:
    """The results of one image file, computed without a server by the code that is deployed."""
    return _results(run, read_frame(path, spec), spec, ops)


def _results(run: Runner, frame: Frame, spec: ModelSpec, ops: Sequence[PostOp]) -> Results:
    return postprocess(_outputs(run, frame, spec), frame.geometry, ops)


def _outputs(run: Runner, frame: Frame, spec: ModelSpec) -> list[Array]:
    """The outputs of one image without the batch, where they have one."""
    outputs = [array for _, array in ordered_outputs(run, feed(run, frame, spec))]
    return [each[0] for each in outputs] if spec.max_batch_size else outputs


def evaluation_ops(spec: ModelSpec) -> tuple[PostOp, ...]:
    """The postprocessing with the spec's evaluation settings instead of the serving ones."""
    return (*spec.postprocess[:-1], replace(spec.postprocess[-1], **spec.evaluation))


def evaluate(run: Runner, spec: ModelSpec, data: LabelledImages, progress: Progress) -> Score:
    """The model's metric on labelled images, in points of 100, beside what chance reaches.

    Raises:
        InputError: the labels do not fit what the model reports, or the images.
    """
    ops = evaluation_ops(spec)
    known = _count_classes(run, spec, data) if data.classes else 0
    results, sizes = [], []
    for done, path in enumerate(data.images, 1):
        frame = read_frame(path, spec)
        sizes.append((round(frame.geometry.width), round(frame.geometry.height)))
        results.append(_results(run, frame, spec, ops))
        progress(done, len(data.images))
    if data.boxes:
        _check_boxes(data, sizes)
        _check_reported(spec, data, results)
        return Score(coco_map(data.boxes, results)[0], DETECTION_CHANCE)
    if data.masks:
        truth = (read_mask(path, data.white) for path in data.masks)
        counts = confusion(_same_size(data, truth, results), None if data.white else spec.ignored_label)
        _check_ids(run, spec, data, counts)
        return Score(miou(counts), chance(counts))
    return Score(top1(data.classes, results), 100 / known)


def _same_size(
    data: LabelledImages, truth: Iterator[Array], results: Sequence[Results]
) -> Iterator[tuple[Array, Array]]:
    for path, true, result in zip(data.masks, truth, results, strict=True):
        if true.shape != result["mask"].shape:
            raise InputError(f"{path}: {true.shape} pixels, its image has {result['mask'].shape}. Give its own mask.")
        yield true, result["mask"]


def _count_classes(run: Runner, spec: ModelSpec, data: LabelledImages) -> int:
    """How many classes the model knows; labels of another data set would only look like a bad model."""
    scores = _first_values(run, spec, data)[-1]
    if max(data.classes) >= scores.size:
        raise InputError(
            f"--labels: class index {max(data.classes)}, but {spec.name} knows the classes 0 to {scores.size - 1}. "
            "Give the labels of the data that the model was trained on."
        )
    return int(scores.size)


def _check_ids(run: Runner, spec: ModelSpec, data: LabelledImages, counts: Confusion) -> None:
    """An id that the model has no score for; integers are ids already, and tell not how many there are."""
    top = int(counts.sum(axis=1).nonzero()[0].max())
    known = next(filter(None, map(_count_ids, spec.postprocess, _first_values(run, spec, data))), top + 1)
    if top >= known:
        raise InputError(
            f"--labels: class id {top} in the masks, but {spec.name} knows the classes 0 to {known - 1}. "
            "Give masks that hold class ids, or set ignored_label in the spec."
        )


def _count_ids(op: PostOp, value: Array) -> int:
    """How many class ids an operation tells apart in what it is given; 0 where it tells nothing."""
    if isinstance(op, Threshold):
        return 2
    return value.shape[-3] if isinstance(op, ArgMax) and value.dtype.kind == "f" and value.ndim > 2 else 0


def _first_values(run: Runner, spec: ModelSpec, data: LabelledImages) -> list[Array]:
    """What each operation of postprocess is given for the first image, of several outputs the first."""
    frame = read_frame(data.images[0], spec)
    values: list[Any] = [_outputs(run, frame, spec)]
    for op in spec.postprocess[:-1]:
        values.append(op(values[-1], frame.geometry))
    return [np.asarray(value[0]) for value in values]


def _check_boxes(data: LabelledImages, sizes: Sequence[tuple[int, int]]) -> None:
    """Boxes that were drawn on images of another size, or before those were turned, would look like a bad model."""
    outside = [box for box in data.boxes if box.outside(*sizes[box.image])]
    if outside:
        width, height = sizes[outside[0].image]
        raise InputError(
            f"--labels: {len(outside)} of {len(data.boxes)} boxes reach out of their image, first "
            f"{outside[0].corners} in {data.images[outside[0].image]} of {width} x {height} pixels. Give the images "
            "that the boxes were drawn on, turned as their EXIF says."
        )


def _check_reported(spec: ModelSpec, data: LabelledImages, results: Sequence[Results]) -> None:
    known = len(class_names(spec)) or data.categories
    reported = max(
        (int(each["classes"][: int(each["num_detections"][0])].max(initial=0)) for each in results), default=0
    )
    if reported >= known:
        raise InputError(
            f"--labels: {spec.name} reports class {reported}, but the {'spec' if spec.classes else 'labels'} know the "
            f"classes 0 to {known - 1}. Name all classes of the model in the spec, in the order of its scores."
        )
