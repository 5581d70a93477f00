"""Measure the accuracy of an artifact in the runtime that serves it, with the deployed operations around it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qtriton.backends import Runner
from qtriton.console import Report
from qtriton.datasets import Labelled
from qtriton.errors import InputError, ModelError
from qtriton.metrics.coco_map import coco_map
from qtriton.metrics.top1 import top1
from qtriton.runtime.image import ImageError
from qtriton.runtime.post import PostOp, Results, postprocess
from qtriton.runtime.pre import Frame, preprocess
from qtriton.spec import ModelSpec
from qtriton.spec import classes as class_names


def read_frame(path: Path, spec: ModelSpec) -> Frame:
    """Run one image file through the deployed preprocessing.

    Raises:
        InputError: the image cannot be decoded.
        ModelError: the operations do not give the shape of the model's input.
    """
    try:
        frame = preprocess(path.read_bytes(), spec.preprocess, spec.max_pixels)
    except (OSError, ImageError) as error:
        raise InputError(f"{path}: {error}. Repair or remove the image.") from error
    if frame.pixels.shape != spec.input.dims or frame.pixels.dtype != np.float32:
        raise ModelError(
            f"{spec.name}: preprocess gives {frame.pixels.dtype} {list(frame.pixels.shape)}, but the model's input "
            f"{spec.input.name} is float32 {list(spec.input.dims)}. Correct the sizes or add {{op: normalize}}."
        )
    return frame


def predict(run: Runner, path: Path, spec: ModelSpec, ops: Sequence[PostOp]) -> Results:
    """The results of one image file, computed in this process by the code that is deployed."""
    frame = read_frame(path, spec)
    outputs = run(frame.pixels[np.newaxis])
    return postprocess([output[0] for output in outputs], frame.geometry, ops)


def evaluation_ops(spec: ModelSpec) -> tuple[PostOp, ...]:
    """The postprocessing with the spec's evaluation settings instead of the serving ones."""
    return (*spec.postprocess[:-1], replace(spec.postprocess[-1], **spec.evaluation))


def evaluate(run: Runner, spec: ModelSpec, data: Labelled, progress: Report) -> float:
    """The model's metric on labelled images, in points of 100."""
    ops = evaluation_ops(spec)
    if data.coco is None:
        _check_classes(run, spec, data)
    results = []
    for done, path in enumerate(data.images, 1):
        results.append(predict(run, path, spec, ops))
        progress(done, len(data.images))
    if data.coco is not None:
        return coco_map(data.coco, results, class_names(spec))[0]
    return top1(data.classes, results)


def _check_classes(run: Runner, spec: ModelSpec, data: Labelled) -> None:
    """Labels of another data set would only look like a bad model."""
    (scores,) = run(read_frame(data.images[0], spec).pixels[np.newaxis])[0]
    if max(data.classes) >= scores.size:
        raise InputError(
            f"--labels: class index {max(data.classes)}, but {spec.name} knows the classes 0 to {scores.size - 1}. "
            "Give the labels of the data that the model was trained on."
        )
