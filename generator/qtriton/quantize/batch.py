"""An ONNX model with its batch fixed to one image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto


def fix_batch(model: ModelProto) -> None:
    """Set the first size of every input of a model to 1, where it was free; shapes within are forgotten."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        shape = value.type.tensor_type.shape
        if value.name not in constants and shape.dim and shape.dim[0].dim_value <= 0:
            shape.dim[0].dim_value = 1
    del model.graph.value_info[:]


def shapes_of_one(model: ModelProto) -> dict[str, list[int]]:
    """The shapes of the tensors of a model for one image, with 0 where a size is not known."""
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    fix_batch(single)
    graph = onnx.shape_inference.infer_shapes(single).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in values}
