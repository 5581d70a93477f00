"""An ONNX model is a set of files: the graph, and beside it the files that hold its larger tensors."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from qtriton.errors import InputError, UnsupportedError
from qtriton.quantize.graph import graphs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

#: A file of protobuf cannot be larger.
_MOST_BYTES: Final = (1 << 31) - 1


def load_whole(path: Path) -> ModelProto:
    """The model with all its tensors inside, wherever they were; raises what protobuf raises where it is none.

    Raises:
        InputError: a file of tensors is missing, too short, or lies elsewhere than beside the model.
        UnsupportedError: together they are over 2 GB.
    """
    import onnx

    model = onnx.load(str(path), format="protobuf", load_external_data=False)
    outside = [tensor for tensor in tensors_of(model) if _is_outside(tensor)]
    parts = [_part(path, tensor) for tensor in outside]
    if path.stat().st_size + sum(length for _, _, length in parts) > _MOST_BYTES:
        raise UnsupportedError(
            f"{path}: over 2 GB with its data files, and one ONNX file holds no more. Give a smaller model."
        )
    for tensor, (file, offset, length) in zip(outside, parts, strict=True):
        with file.open("rb") as data:
            data.seek(offset)
            tensor.raw_data = data.read(length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return model


def data_files(path: Path) -> tuple[Path, ...]:
    """The files beside an ONNX file that hold its tensors; none where it holds all of them, or is no ONNX file.

    Raises:
        InputError: one is missing, too short, or lies elsewhere than beside the model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except (DecodeError, OSError):
        return ()  # whoever reads it says what it is
    return tuple(sorted({_part(path, tensor)[0] for tensor in tensors_of(model) if _is_outside(tensor)}))


def tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model: those of its graph, of its nodes, and of the graphs in them."""
    for graph in graphs_of(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from _attached(graph.node)
    for function in model.functions:
        yield from _attached(function.node)


def dims_of(value: ValueInfoProto) -> tuple[int, ...]:
    """The shape of an input or output, -1 where it is free."""
    shape = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in shape)


def constants_of(graph: GraphProto) -> dict[str, NDArray[Any]]:
    """The integers that a graph holds, in its initializers and Constant nodes: shapes, axes and the like."""
    from onnx import TensorProto, numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    made = ((node.output[0], each) for node in graph.node if node.op_type == "Constant" for each in node.attribute)
    tensors |= {name: each.t for name, each in made if each.name == "value"}
    return {
        name: numpy_helper.to_array(tensor) for name, tensor in tensors.items() if tensor.data_type == TensorProto.INT64
    }


def _attached(nodes: Iterator[NodeProto] | list[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t


def _is_outside(tensor: TensorProto) -> bool:
    import onnx

    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _part(model: Path, tensor: TensorProto) -> tuple[Path, int, int]:
    """Where a tensor lies: the file, the offset and the length in bytes."""
    import onnx

    told = {entry.key: entry.value for entry in tensor.external_data}
    location = told.get("location", "")
    place = PurePosixPath(location)
    if not location or "\\" in location or "\0" in location or place.is_absolute() or ".." in place.parts:
        raise InputError(
            f"{model}: its tensor {tensor.name} lies in {location!r}, which is no file of the model's own folder. "
            "Save the model again with its data beside it."
        )
    file = model.parent / place
    if not file.is_file():
        raise InputError(
            f"{model}: its weights lie in {place}, which is not there. Put that file beside it: both are the model."
        )
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    needed = prod(tensor.dims) * kind.itemsize
    try:
        offset, length = int(told.get("offset") or 0), int(told.get("length") or needed)
    except ValueError:
        offset = length = -1
    if offset < 0 or length != needed:
        raise InputError(
            f"{model}: says of its tensor {tensor.name} in {place} what cannot be right. Export the model again."
        )
    if file.stat().st_size < offset + length:
        raise InputError(
            f"{file}: cut short: {file.stat().st_size} bytes, {tensor.name} of {model.name} ends at byte "
            f"{offset + length}. Copy the file again, or export the model again."
        )
    return file, offset, length


def forget_empty_shapes(model: ModelProto) -> bool:
    """Take shapes without sizes from the outputs, which some write for "unknown"; whether one has none now.

    ONNX infers the shape of an output that states none, and finds one number where there is one.
    """
    kinds = [value.type.tensor_type for value in model.graph.output if value.type.HasField("tensor_type")]
    empty = [kind for kind in kinds if not kind.shape.dim]
    for kind in empty:
        kind.ClearField("shape")
    return bool(empty)
