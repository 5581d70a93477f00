"""What an operation of postprocess is given in a trial, and what every check of it asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qtriton.runtime.post import PostOp
from qtriton.runtime.pre import Geometry
from qtriton.runtime.values import Array
from qtriton.spec import ModelSpec
from qtriton.spec_files import classes

#: How far a probability may be over 1 or below 0, and a sum of probabilities from 1, in a runtime's rounding.
ROUNDING: Final = 1e-3


_UNMOVED: Final = Geometry(1, 1)
#: Boxes below this are in parts of the image, not in pixels.
PARTS: Final = 2.0


@dataclass(frozen=True)
class Given:
    """What an operation is given: the outputs of one image without the batch, or what the operation before it made."""

    spec: ModelSpec
    op: PostOp
    names: tuple[str, ...]
    value: Any
    #: Where the image came from.
    geometry: Geometry = _UNMOVED

    @property
    def first(self) -> Array:
        """The output that it reads."""
        return np.asarray(self.value[0])

    @property
    def classes(self) -> int:
        """How many classes the spec names; 0 where it names none."""
        return len(classes(self.spec))

    @property
    def found(self) -> str:
        """What the first is, in words."""
        array = self.first
        span = f", {array.min():.4g} to {array.max():.4g}" if array.size and array.dtype.kind != "b" else ""
        return f"{self.names[0]} is {array.dtype} {list(array.shape)}{span}:"


def not_finite(array: Array) -> str:
    """Why numbers cannot be scores, if they cannot."""
    if np.isfinite(array).all():
        return ""
    return "numbers that are not finite. Look at the export of the model, and at normalize in the spec."


def other_names(given: Given, count: int) -> str:
    """Why so many classes are not those of the spec, if they are not."""
    if given.classes in (0, count):
        return ""
    return (
        f"that is {count} classes, and the spec names {given.classes}. "
        "Name every class in the spec, in the model's order, or give other weights."
    )


def in_unit(numbers: Array) -> bool:
    """Whether numbers are probabilities, but for rounding."""
    finite = numbers[np.isfinite(numbers)]
    return not finite.size or bool(finite.min() >= -ROUNDING and finite.max() <= 1 + ROUNDING)


def without_ones(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """A shape without the ones in front, down to a rank."""
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def is_whole(numbers: Array) -> bool:
    """Whether numbers can be those of classes."""
    return bool((numbers == np.round(numbers)).all())


def in_proportion(size: tuple[int, ...], given: Given) -> bool:
    """Whether a map (height, width) has the proportions of the model's input, but for the rounding of a stride."""
    _, height, width = given.spec.input.dims
    return abs(size[0] * width - size[1] * height) <= max(height, width)
