"""From an image file to an artifact's input tensors, by the preprocessing that is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from qtriton.errors import InputError, ModelError
from qtriton.runtime.image import ImageError
from qtriton.runtime.pre import Frame, extra_input, preprocess
from qtriton.spec import ModelSpec

if TYPE_CHECKING:
    from qtriton.backends.runner import Array, Feed, Runner


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
    except (ValueError, cv2.error) as error:  # an image that is too small for center_crop, for one
        raise InputError(f"{path}: preprocess cannot take it ({error}). Correct preprocess, or remove it.") from error
    check_frame(frame, spec)
    return frame


def check_frame(frame: Frame, spec: ModelSpec) -> None:
    """Raise ModelError where the operations do not give the model's input."""
    shape, dtype = spec.fed
    if frame.pixels.shape != shape or frame.pixels.dtype != dtype:
        raise ModelError(
            f"{spec.name}: preprocess gives {frame.pixels.dtype} {list(frame.pixels.shape)}, but the model's input "
            f"{spec.input.name} is {np.dtype(dtype)} {list(shape)}. Correct the sizes or add {{op: normalize}}."
        )


def feed(run: Runner, frame: Frame, spec: ModelSpec) -> Feed:
    """The input tensors of one frame by the artifact's own names."""
    extras = {name: extra_input(kind, frame) for name, kind in spec.extra_inputs.items()}
    tensors = {spec.input.name: frame.pixels, **extras}
    names = match_inputs(spec, tuple(tensor.name for tensor in run.inputs))
    return {names[name]: tensor[np.newaxis] for name, tensor in tensors.items()}


def match_inputs(spec: ModelSpec, names: Sequence[str]) -> dict[str, str]:
    """What an artifact calls the inputs of the spec; a converter may rename a single one.

    Raises:
        ModelError: it takes others.
    """
    expected = [name for name, _ in spec.inputs]
    if set(names) == set(expected):
        return {name: name for name in expected}
    if len(names) == len(expected) == 1:
        return {expected[0]: names[0]}
    raise ModelError(
        f"{spec.name}: the spec's inputs are {', '.join(expected)}, the model takes {', '.join(names)}. "
        "Correct input and extra_inputs in the spec, or give other weights."
    )


def ordered_outputs(run: Runner, tensors: Feed) -> list[tuple[str, Array]]:
    """Names and arrays in the order of the artifact."""
    outputs = run(tensors)
    return [(tensor.name, outputs[tensor.name]) for tensor in run.outputs]
