"""What travels between the operations behind a model."""

from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Results: TypeAlias = dict[str, Array]


class Candidates(NamedTuple):
    """Boxes float32 [A, 4] (x1, y1, x2, y2 in pixels of the model's input) and scores float32 [A, C]."""

    boxes: Array
    scores: Array


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
