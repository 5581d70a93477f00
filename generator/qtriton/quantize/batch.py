"""An ONNX model with its batch fixed to one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto


def one_image(source: Path, out: Path) -> None:
    """Write `source` with the first size of every input set to 1, where it was free.

    The outputs stay as they are: the rows of a detector with NMS inside are no batch.
    """
    import onnx

    model = onnx.load(str(source))
    fix_batch(model)
    out.write_bytes(model.SerializeToString(deterministic=True))


def fix_batch(model: ModelProto) -> None:
    """Set the first size of every input of a model to 1, where it was free; shapes within are forgotten."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        shape = value.type.tensor_type.shape
        if value.name not in constants and shape.dim and shape.dim[0].dim_value <= 0:
            shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
