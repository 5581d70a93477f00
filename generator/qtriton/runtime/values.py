"""What travels between the operations behind a model."""

from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Results: TypeAlias = dict[str, Array]


#: What four numbers of a box are: two corners, or the centre and the size.
BoxForm: TypeAlias = Literal["xyxy", "yxyx", "cxcywh"]


class Candidates(NamedTuple):
    """Boxes float32 [A, 4] (x1, y1, x2, y2 in pixels of the model's input) and scores float32 [A, C].

    Features float32 [A, K] are what a head gives beside them: mask coefficients, keypoints or an angle. Prototypes
    float32 [K, height, width] are the masks that the coefficients mix. Classes int32 [A] are there where a model has
    chosen one for each box; scores are [A, 1] then.
    """

    boxes: Array
    scores: Array
    features: Array | None = None
    prototypes: Array | None = None
    classes: Array | None = None


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
