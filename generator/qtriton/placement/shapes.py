"""The shapes of the tensors of a model whose batch may be free, also where the model computes them from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.quantize.graph import inputs_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

#: Stands for a free batch: a prime, and no size of anything else.
_BATCH: Final = 1009
#: A constant of more numbers is no shape.
_MOST_NUMBERS: Final = 64


def batched_shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors that begin with the batch, which is -1 where it is free, as far as they can be told.

    Exporters compute the shape for a Reshape from a free batch. So the batch is made a number, what follows from that
    is computed, and what does not begin with that number then has no batch in front. What has it in another place too
    is left out. An output behind an operation that ONNX does not know is as the model states it.
    """
    copy = _with_batch(model)
    (batch,) = {value.type.tensor_type.shape.dim[0].dim_value for value in inputs_of(copy.graph)}
    found = _infer(copy)
    while _fold(copy, found):
        found = _infer(copy)
    stated = {value.name: _sizes(value) for value in model.graph.output}
    shapes = {name: (sizes[0] or batch, *sizes[1:]) for name, sizes in stated.items() if sizes}
    shapes |= {name: shape for name, shape in found.items() if all(shape)}
    begin = {name: shape[1:] for name, shape in shapes.items() if shape and shape[0] == batch and all(shape)}
    if batch != _BATCH:
        return {name: (batch, *rest) for name, rest in begin.items()}
    return {name: (-1, *rest) for name, rest in begin.items() if all(size % batch for size in rest)}


def _with_batch(model: ModelProto) -> ModelProto:
    """A copy without the values of weights, with a number for a free batch."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if math.prod(tensor.dims) > _MOST_NUMBERS:
            tensor.ClearField("raw_data")
    sizes = [value.type.tensor_type.shape.dim[0] for value in inputs_of(copy.graph)]
    batch = sizes[0].dim_value or _BATCH
    for size in sizes:
        size.dim_value = batch
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return copy


def _infer(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The shapes that ONNX infers, 0 where a size is unknown."""
    import onnx

    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: _sizes(value) for value in values if value.type.tensor_type.HasField("shape")}


def _sizes(value: ValueInfoProto) -> tuple[int, ...]:
    return tuple(size.dim_value for size in value.type.tensor_type.shape.dim)


def _fold(model: ModelProto, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Make constants of the small tensors that can be computed now; whether there was one."""
    from onnx import numpy_helper

    graph = model.graph
    known = {each.name: each for each in graph.initializer if math.prod(each.dims) <= _MOST_NUMBERS}
    values: dict[str, NDArray[Any]] = {name: numpy_helper.to_array(tensor) for name, tensor in known.items()}
    kept, made = [], []
    for node in graph.node:
        value = _value(node, values, shapes)
        if value is None:
            kept.append(node)
        else:
            values[node.output[0]] = value
            made.append(numpy_helper.from_array(value, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(made)
    return bool(made)


def _value(node: NodeProto, values: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]]) -> NDArray[Any] | None:
    """What a node gives, where that is a small constant; none where it is not, or not known yet."""
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Shape":
        shape = shapes.get(node.input[0])
        if not shape or not all(shape):
            return None
        start, end = (next((each.i for each in node.attribute if each.name == name), None) for name in ("start", "end"))
        return np.asarray(shape[start:end], np.int64)
    if len(node.output) != 1 or any(name not in values for name in node.input if name):
        return None
    try:
        (value,) = ReferenceEvaluator(node).run(None, {name: values[name] for name in node.input if name})
    except Exception:  # an operation that the evaluator does not have leaves the shape unknown
        return None
    array = np.asarray(value)
    return array if array.size <= _MOST_NUMBERS else None
