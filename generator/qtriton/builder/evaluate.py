"""Measure the accuracy of an artifact in the runtime that serves it, with the deployed operations around it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from qtriton.backends.runner import Runner, running
from qtriton.builder.feeding import feed, ordered_outputs, read_frame
from qtriton.datasets import LabelledImages
from qtriton.errors import InputError
from qtriton.metrics.agreement import agreement
from qtriton.metrics.coco_map import coco_map
from qtriton.metrics.miou import miou, read_mask
from qtriton.metrics.top1 import top1
from qtriton.progress import Progress
from qtriton.runtime.post import Array, PostOp, Results, postprocess
from qtriton.spec import ModelSpec, Task
from qtriton.spec import classes as class_names
from qtriton.target import Target


def measure_accuracy(target: Target, model: Path, spec: ModelSpec, data: LabelledImages, progress: Progress) -> float:
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


def predict(run: Runner, path: Path, spec: ModelSpec, ops: Sequence[PostOp]) -> Results:
    """The results of one image file, computed without a server by the code that is deployed."""
    frame = read_frame(path, spec)
    outputs = [array for _, array in ordered_outputs(run, feed(run, frame, spec))]
    return postprocess([each[0] for each in outputs] if spec.max_batch_size else outputs, frame.geometry, ops)


def evaluation_ops(spec: ModelSpec) -> tuple[PostOp, ...]:
    """The postprocessing with the spec's evaluation settings instead of the serving ones."""
    return (*spec.postprocess[:-1], replace(spec.postprocess[-1], **spec.evaluation))


def evaluate(run: Runner, spec: ModelSpec, data: LabelledImages, progress: Progress) -> float:
    """The model's metric on labelled images, in points of 100."""
    ops = evaluation_ops(spec)
    if data.classes:
        _check_classes(run, spec, data)
    results = []
    for done, path in enumerate(data.images, 1):
        results.append(predict(run, path, spec, ops))
        progress(done, len(data.images))
    if data.coco is not None:
        return coco_map(data.coco, results, class_names(spec))[0]
    if data.masks:
        truth = (read_mask(path) for path in data.masks)
        return miou(_same_size(data, truth, results), spec.ignored_label)
    return top1(data.classes, results)


def _same_size(
    data: LabelledImages, truth: Iterator[Array], results: Sequence[Results]
) -> Iterator[tuple[Array, Array]]:
    for path, true, result in zip(data.masks, truth, results, strict=True):
        if true.shape != result["mask"].shape:
            raise InputError(f"{path}: {true.shape} pixels, its image has {result['mask'].shape}. Give its own mask.")
        yield true, result["mask"]


def _check_classes(run: Runner, spec: ModelSpec, data: LabelledImages) -> None:
    """Labels of another data set would only look like a bad model."""
    (_, scores), *_ = ordered_outputs(run, feed(run, read_frame(data.images[0], spec), spec))
    if max(data.classes) >= scores.size:
        raise InputError(
            f"--labels: class index {max(data.classes)}, but {spec.name} knows the classes 0 to {scores.size - 1}. "
            "Give the labels of the data that the model was trained on."
        )
