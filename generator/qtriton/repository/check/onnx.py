"""Checks of an ONNX model against its config.pbtxt."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.model import Finding, Model, dims_text, dtype_name

#: Triton's names without TYPE_ by onnx.TensorProto's numbers.
_TYPES: Final = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING",
    9: "BOOL", 10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip

#: The backends that load ONNX files, and whether they serve a batch that the file fixes.
_READERS: Final = {"onnxruntime": False, "openvino": True}


def onnx_problems(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    """What differs between config.pbtxt and an ONNX file that its backend would load."""
    for where, path in model.files() if model.kind in _READERS else ():
        if path.suffix != ".onnx":
            continue
        graph = _graph(path)
        if isinstance(graph, str):
            yield where, f"is not an ONNX model ({graph}). Publish the model again."
        else:
            yield from ((where, reason) for reason in _signature(model, graph, _READERS[model.kind]))


def _graph(path: Path) -> Any:
    """The graph without its external data, or the reason why there is none."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError, ValueError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    # An empty or a foreign file can parse into a message in which nothing is set.
    if not model.ir_version or not model.graph.output:
        return "it has no graph"
    return model.graph


def _signature(model: Model, graph: Any, fixed: bool) -> Iterator[str]:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in constants}
    outputs = {value.name: value for value in graph.output}
    for kind, configured, tensors in (
        ("input", model.config.input, inputs),
        ("output", model.config.output, outputs),
    ):
        names = {tensor.name for tensor in configured}
        # Unused outputs may be missing; an initializer with the name of an input has a default.
        for name in sorted(tensors.keys() - names) if kind == "input" else ():
            yield f"needs the input {name!r}, which config.pbtxt does not list. Add it."
        for tensor in configured:
            if tensor.name in tensors:
                batch = model.config.max_batch_size
                yield from _tensor(f"{kind} {tensor.name!r}", tensor, tensors[tensor.name], batch, fixed)
            elif kind == "output" or tensor.name not in constants:
                names_in_file = ", ".join(tensors) or "none"
                yield f"has no {kind} {tensor.name!r} (it has {names_in_file}). Correct config.pbtxt."


def _tensor(label: str, tensor: Any, value: Any, max_batch_size: int, fixed: bool) -> Iterator[str]:
    actual = _TYPES.get(value.type.tensor_type.elem_type, "")
    stated = dtype_name(tensor.data_type).removeprefix("TYPE_")
    if actual != stated:
        type_in_file = actual or "of a type that Triton does not have"
        yield f"{label} is {type_in_file}, config.pbtxt says {stated}. Correct config.pbtxt."
    if not value.type.tensor_type.HasField("shape"):
        return
    shape = [size.dim_value if size.HasField("dim_value") else -1 for size in value.type.tensor_type.shape.dim]
    if max_batch_size > 0 and shape[:1] not in ([-1], [max_batch_size] * fixed):
        yield f"{label} has shape {dims_text(shape)}, batches need a free first size. Export it with a free batch."
        return
    expected = shape[1:] if max_batch_size > 0 else shape
    dims = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
    if len(dims) != len(expected) or any(b not in (-1, a) for a, b in zip(dims, expected, strict=True)):
        yield f"{label} has dims {dims_text(expected)}, config.pbtxt says {dims_text(dims)}. Correct config.pbtxt."
