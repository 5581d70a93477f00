"""Whether what preprocess gives are the whole numbers that a model with an integer input takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qtriton.errors import ModelError
from qtriton.runtime.pre import Frame, Geometry
from qtriton.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import ValueInfoProto


def check_whole(value: ValueInfoProto, spec: ModelSpec) -> None:
    """Raise ModelError where a model's image is of integers and preprocess gives none that they can hold."""
    from onnx import helper

    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    pixels = _preprocessed(spec) if kind.kind in "iu" else None
    if pixels is None:
        return
    limits = np.iinfo(kind)
    if np.array_equal(pixels, np.round(pixels)) and limits.min <= pixels.min() and pixels.max() <= limits.max:
        return
    raise ModelError(
        f"{spec.name}: the model's input {value.name} is {kind}, whole numbers {limits.min} to {limits.max}, and "
        f"preprocess gives {pixels.min():.4g} to {pixels.max():.4g}. Such a model normalizes inside: write "
        "{op: normalize, scale: 1} in preprocess, without mean and std."
    )


def _preprocessed(spec: ModelSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
    """Noise behind preprocess; none where an operation does not take it, which the trial of a build says better."""
    _, height, width = spec.input.dims
    noise = np.random.default_rng(0).integers(0, 256, (2 * height, 2 * width, 3), np.uint8)
    frame = Frame(noise, Geometry(2 * height, 2 * width))
    try:
        for op in spec.preprocess:
            frame = op(frame)
    except ValueError:
        return None
    return np.asarray(frame.pixels, np.float32)
