"""What travels between the operations behind a model."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Results: TypeAlias = dict[str, Array]


#: What four numbers of a box are: two corners, or the centre and the size.
BoxForm: TypeAlias = Literal["xyxy", "yxyx", "cxcywh"]


#: The highest score that a class may have beside its objectness: 1 of a sigmoid, and what INT8 makes of it.
_CERTAIN = 1.1
_ALL = slice(None)


class Candidates(NamedTuple):
    """What a head gives of each place: the four numbers of a box, float32 [A, 4], and class scores, float32 [A, C].

    Features float32 [A, K] are what a head gives beside them: mask coefficients, keypoints or an angle. Prototypes
    float32 [K, height, width] are the masks that the coefficients mix; without features, one is the mask of each box.
    Objectness float32 [A] is the score of any object at all, which class scores are multiplied by. Classes int32 [A]
    are there where a model has chosen one for each box; class scores are [A, 1] then.

    There are tens of thousands of places, and a few with an object, so nothing is computed before it is asked for.
    """

    places: Array
    class_scores: Array
    features: Array | None = None
    prototypes: Array | None = None
    objectness: Array | None = None
    #: What the four numbers are, in pixels of the model's input.
    form: BoxForm = "xyxy"
    classes: Array | None = None

    def boxes(self, rows: Array | slice = _ALL) -> Array:
        """Boxes float32 [n, 4] of some rows or all: x1, y1, x2, y2 in pixels of the model's input."""
        return corners(self.places[rows], self.form)

    def scores(self, rows: Array | slice = _ALL) -> Array:
        """Scores float32 [n, C] of some rows or all."""
        scores = self.class_scores[rows]
        return scores if self.objectness is None else scores * self.objectness[rows][:, None]

    def likely(self, threshold: float) -> Array:
        """The rows, int64 [n], outside of which no score is over a threshold."""
        if self.objectness is None:
            return np.nonzero(np.fmax.reduce(self.class_scores, axis=1) > threshold)[0]
        return np.nonzero(self.objectness * _CERTAIN > threshold)[0]


class Detected(NamedTuple):
    """What a model with NMS inside has found: boxes float32 [n, 4], scores float32 [n], classes int32 [n].

    Boxes are x1, y1, x2, y2 in pixels of the original image.
    """

    boxes: Array
    scores: Array
    classes: Array


class Output(NamedTuple):
    """One result tensor of one image: its name, Triton's data type and its shape without the batch."""

    name: str
    dtype: Literal["FP32", "INT32", "UINT8"]
    dims: tuple[int, ...]


@runtime_checkable
class Final(Protocol):
    """An operation that a chain can end with: it knows its task and the result tensors."""

    task: ClassVar[str]

    @property
    def op(self) -> str: ...

    def outputs(self) -> tuple[Output, ...]: ...


def batch(arrays: Sequence[Array]) -> Array:
    """Arrays of one shape as one, with the batch first; a single one is not copied."""
    return np.stack(arrays) if len(arrays) > 1 else arrays[0][np.newaxis]


def rows_of(array: Array) -> Array:
    """The rows of one image; a model without a batch in its configuration may have a leading 1 all the same."""
    return array.reshape(-1, array.shape[-1])


def corners(boxes: Array, form: BoxForm = "cxcywh") -> Array:
    """Boxes [n, 4] as x1, y1, x2, y2."""
    if form == "xyxy":
        return boxes
    if form == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
