"""Whether an allocation answers as another one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any, Final, TypeAlias

from qtriton.builder.trial import alike
from qtriton_client.errors import RequestRefused

#: The tensors of an ensemble by name, with the batch, for a request of images.
Answer: TypeAlias = Callable[[Sequence[bytes]], Mapping[str, Any]]
#: Images whose answers are compared.
_COMPARED: Final = 4


def difference(answer: Answer, usual: Answer, images: Sequence[bytes], in_pairs: bool) -> str:
    """In what an ensemble answers otherwise than it usually does, to a few images; "" where it does not.

    Each is sent alone, and where requests may share a batch, beside each other one in a request of two: the trial of
    the build. Images whose results differ in size cannot be in one request, and are not compared so.
    """
    images = images[:_COMPARED]
    expected = [usual([image]) for image in images]
    for image, wanted in zip(images, expected, strict=True):
        if name := _first_unlike(answer([image]), wanted):
            return f"it answers another {name}"
    for pair in permutations(range(len(images)), 2) if in_pairs else ():
        try:
            both = answer([images[place] for place in pair])
        except RequestRefused:
            continue
        for row, place in enumerate(pair):
            if name := _first_unlike({key: array[row : row + 1] for key, array in both.items()}, expected[place]):
                return f"two images as a batch give another {name} than one by one"
    return ""


def _first_unlike(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The first output in which two answers differ."""
    for name, array in expected.items():
        if array.shape != answer[name].shape or not alike(answer[name], array):
            return name
    return ""
