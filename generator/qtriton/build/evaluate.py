"""Measure the accuracy of an artifact in the runtime that serves it, with the deployed operations around it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qtriton.backends.runner import Feed, Runner
from qtriton.console import Report
from qtriton.datasets import LabelledImages
from qtriton.errors import InputError, ModelError
from qtriton.metrics.coco_map import coco_map
from qtriton.metrics.miou import miou, read_mask
from qtriton.metrics.top1 import top1
from qtriton.runtime.image import ImageError
from qtriton.runtime.post import Array, PostOp, Results, postprocess
from qtriton.runtime.pre import Frame, extra_input, preprocess
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
    """The results of one image file, computed without a server by the code that is deployed."""
    frame = read_frame(path, spec)
    outputs = [array for _, array in sorted_outputs(run, feed(run, frame, spec))]
    return postprocess([each[0] for each in outputs] if spec.max_batch_size else outputs, frame.geometry, ops)


def feed(run: Runner, frame: Frame, spec: ModelSpec) -> Feed:
    """The input tensors of one frame by the artifact's own names."""
    extras = {name: extra_input(kind, frame) for name, kind in spec.extra_inputs.items()}
    tensors = {spec.input.name: frame.pixels, **extras}
    own = own_inputs(spec, tuple(port.name for port in run.inputs))
    return {own[name]: tensor[np.newaxis] for name, tensor in tensors.items()}


def own_inputs(spec: ModelSpec, names: Sequence[str]) -> dict[str, str]:
    """What an artifact calls the inputs of the spec; a converter may rename a single one.

    Raises:
        ModelError: it takes others.
    """
    wanted = [name for name, _ in spec.inputs]
    if set(names) == set(wanted):
        return {name: name for name in wanted}
    if len(names) == len(wanted) == 1:
        return {wanted[0]: names[0]}
    raise ModelError(
        f"{spec.name}: the spec's inputs are {', '.join(wanted)}, the model takes {', '.join(names)}. "
        "Correct input and extra_inputs in the spec, or give other weights."
    )


def sorted_outputs(run: Runner, tensors: Feed) -> list[tuple[str, Array]]:
    """Names and arrays in the order of the artifact."""
    made = run(tensors)
    return [(port.name, made[port.name]) for port in run.outputs]


def evaluation_ops(spec: ModelSpec) -> tuple[PostOp, ...]:
    """The postprocessing with the spec's evaluation settings instead of the serving ones."""
    return (*spec.postprocess[:-1], replace(spec.postprocess[-1], **spec.evaluation))


def evaluate(run: Runner, spec: ModelSpec, data: LabelledImages, progress: Report) -> float:
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
    ((_, scores),) = sorted_outputs(run, feed(run, read_frame(data.images[0], spec), spec))
    if max(data.classes) >= scores.size:
        raise InputError(
            f"--labels: class index {max(data.classes)}, but {spec.name} knows the classes 0 to {scores.size - 1}. "
            "Give the labels of the data that the model was trained on."
        )
