"""From an image file to an artifact's input tensors, by the preprocessing that is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from qtriton.errors import InputError, ModelError
from qtriton.runtime.image import ImageError
from qtriton.runtime.pre import Frame, Normalize, PreOp, extra_input, preprocess
from qtriton.spec import ModelSpec

if TYPE_CHECKING:
    from qtriton.backends.runner import Array, Feed, Runner


#: Bytes of pixels that a build keeps, so that an image is decoded once, however often it is looked at.
KEPT_BYTES: Final = 512 << 20


class FrameReader:
    """Runs image files through the deployed preprocessing; several threads may ask.

    What the operations before {op: normalize} give, which are bytes, is kept while there is room: variants in floating
    point and in integers share it, and backends whose graphs take bytes with those that take floats.
    """

    def __init__(self, room: int = KEPT_BYTES) -> None:
        self._room, self._kept = room, dict[tuple[Path, str, int], Frame]()
        self._lock = Lock()

    def read(self, path: Path, spec: ModelSpec) -> Frame:
        """The model's input of one image file.

        Raises:
            InputError: the image cannot be decoded.
            ModelError: the operations do not give the shape of the model's input.
        """
        count = next((place for place, op in enumerate(spec.preprocess) if isinstance(op, Normalize)), None)
        try:
            frame = self._bytes(path, spec.preprocess[:count], spec.max_pixels)
            for op in spec.preprocess[count:] if count is not None else ():
                frame = op(frame)
        except (OSError, ImageError) as error:
            raise InputError(f"{path}: {error}. Repair or remove the image.") from error
        except (ValueError, cv2.error) as error:  # an image that is too small for center_crop, for one
            raise InputError(
                f"{path}: preprocess cannot take it ({error}). Correct preprocess, or remove it."
            ) from error
        check_frame(frame, spec)
        return frame

    def _bytes(self, path: Path, ops: Sequence[PreOp], max_pixels: int) -> Frame:
        key = path, repr(ops), max_pixels
        if (known := self._kept.get(key)) is not None:
            return known
        frame = preprocess(path.read_bytes(), ops, max_pixels)
        with self._lock:
            if key not in self._kept and frame.pixels.nbytes <= self._room:
                self._room -= frame.pixels.nbytes
                self._kept[key] = frame
        return frame


def read_frame(path: Path, spec: ModelSpec) -> Frame:
    """Run one image file through the deployed preprocessing; see FrameReader.read."""
    return FrameReader(room=0).read(path, spec)


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
