"""Choose the class of each pixel in the graph: what leaves it is a byte a pixel, not the scores of all classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qtriton.placement.editing import Editor, free_output

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class ClassChoice:
    """The class of each pixel, uint8 [batch, height, width]: the best of scores [batch, C, height, width].

    Of equal scores the first class is taken, as NumPy's argmax does.
    """

    #: The axis of the classes, 1 or 3.
    axis: int = 1
    #: With one score a pixel: class 1 where it is above this, else 0.
    above: float | None = None


def choose_classes(model: ModelProto, output: str, choice: ClassChoice) -> None:
    """Make an output of scores one of class ids; the model is changed in place."""
    from onnx import TensorProto

    whole = free_output(model, output)
    editor = Editor(model)
    shape = editor.shape(whole)
    assert shape is not None and len(shape) == 4  # whoever chose to do it has looked
    sizes = [size for axis, size in enumerate(shape) if axis not in (0, choice.axis)]
    if choice.above is None:
        ids = editor.add("ArgMax", [whole], whole, axis=choice.axis, keepdims=0)
    else:
        above = editor.add("Greater", [whole, editor.constant(choice.above, whole, np.float32)], whole)
        ids = editor.add("Squeeze", [above, editor.constant([choice.axis], whole)], whole)
    ids = editor.add("Cast", [ids], whole, to=TensorProto.UINT8)
    editor.give(ids, output, sizes)
    (value,) = (each for each in model.graph.output if each.name == output)
    value.type.tensor_type.elem_type = TensorProto.UINT8
    editor.finish()
