"""Rules of an ONNX file against its config.pbtxt, as the backends of Triton 24.10 compare them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.model import Model, dims_text, dtype_name
from qtriton.repository.check.onnx_graph import graph_problems, read_graph, too_new
from qtriton.repository.check.rules import Finding, Rule, error, warning
from qtriton.repository.check.versions import PUBLISH_AGAIN, is_ours

BROKEN: Final = error("onnx-broken", "is not an ONNX model ({reason})", "Export it again{qtriton}")
GRAPH: Final = error("onnx-graph", "{reason}", "Export it for the server's ONNX Runtime")
NEWER: Final = warning(
    "onnx-opset",
    "has {what}, newer than what the ONNX Runtime of the server's image 24.10 takes",
    "Export it with opset 21 or less, or serve it with a newer one",
)
DATA: Final = error("onnx-external-data", "{reason}", "Put the weights beside the model, whole")
UNLISTED: Final = error("onnx-input-unlisted", "needs the input {name!r}, which config.pbtxt does not list", "Add it")
UNKNOWN: Final = error("onnx-tensor-unknown", "has no {kind} {name!r} (it has {names})", "Correct config.pbtxt")
TYPE: Final = error("onnx-type", "{kind} {name!r} is {actual}, config.pbtxt says {stated}", "Correct config.pbtxt")
BATCH: Final = error(
    "onnx-batch",
    "{kind} {name!r} has shape {shape}, batches need a free first size",
    "Export it with a free batch, or set max_batch_size to 0",
)
DIMS: Final = error(
    "onnx-dims", "{kind} {name!r} has dims {actual}, config.pbtxt says {stated}", "Correct config.pbtxt"
)
OPTIONAL: Final = error(
    "onnx-optional-batched",
    "the backend takes no optional input such as {name!r} with batching",
    "Remove optional, or set max_batch_size to 0",
)
CONTROL: Final = error(
    "onnx-control",
    "sequence control {name!r} has dims {actual} in the file",
    "Export it with dims [1], behind the batch where there is one",
)

#: Triton's names without TYPE_ by onnx.TensorProto's numbers.
_TYPES: Final = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING",
    9: "BOOL", 10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip

#: The backends that load ONNX files, and whether they serve a batch that the file fixes.
_READERS: Final = {"onnxruntime": False, "openvino": True}


def _onnx(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    """What differs between config.pbtxt and an ONNX file that its backend would load."""
    for where, path in model.files() if model.kind in _READERS else ():
        if path.suffix != ".onnx":
            continue
        # A large model may be a folder with the file in it.
        place, file = (f"{where}/model.onnx", path / "model.onnx") if path.is_dir() else (where, path)
        read = read_graph(file)
        if isinstance(read, str):
            yield BROKEN.found(where=place, reason=read, qtriton=PUBLISH_AGAIN if is_ours(path.parent) else "")
            continue
        yield from (GRAPH.found(where=place, reason=reason) for reason in graph_problems(read))
        if model.kind == "onnxruntime" and (what := too_new(read)):
            yield NEWER.found(where=place, what=what)
        yield from (DATA.found(where=place, reason=reason) for reason in _external(file, read))
        yield from _signature(model, read.graph, place)


def _external(file: Path, model: Any) -> Iterator[str]:
    """What of the external data is not there, or is too short."""
    needed: dict[str, int] = {}
    for tensor in model.graph.initializer:
        entry = {each.key: each.value for each in tensor.external_data} if tensor.data_location == 1 else {}
        if "location" in entry:
            numbers = [
                int(entry.get(key) or 0) if (entry.get(key) or "0").isdecimal() else 0 for key in ("offset", "length")
            ]
            needed[entry["location"]] = max(needed.get(entry["location"], 0), sum(numbers))
    for name, size in sorted(needed.items()):
        path = file.parent / name
        if not path.is_file():
            yield f"keeps its weights in {name!r}, which is not there"
        elif path.stat().st_size < size:
            yield f"keeps its weights in {name!r}, which has {path.stat().st_size} bytes of {size}"


def _signature(model: Model, graph: Any, where: str) -> Iterator[Finding]:
    config, sequence = model.config, model.config.sequence_batching
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in constants}
    outputs = {value.name: value for value in graph.output}
    listed = {tensor.name for tensor in config.input} | {tensor.name for tensor in sequence.control_input}
    listed |= {state.input_name for state in sequence.state}
    listed |= {name for entry in config.batch_input for name in entry.target_name}
    # Unused outputs may be missing; an initializer with the name of an input has a default.
    for name in sorted(inputs.keys() - listed):
        yield UNLISTED.found(where=where, name=name)
    scattered = {name for entry in config.batch_output for name in entry.target_name}
    for kind, configured, tensors in (("input", config.input, inputs), ("output", config.output, outputs)):
        for tensor in configured:
            if tensor.name in tensors:
                loose = tensor.name in scattered if kind == "output" else tensor.allow_ragged_batch
                yield from _tensor(model, where, kind, tensor, tensors[tensor.name], loose)
            elif kind == "output" or tensor.name not in constants:
                names = ", ".join(tensors) or "none"
                yield UNKNOWN.found(where=where, kind=kind, name=tensor.name, names=names)
    for name in sorted(tensor.name for tensor in sequence.control_input):
        if name not in inputs:
            yield UNKNOWN.found(where=where, kind="input", name=name, names=", ".join(inputs) or "none")
        elif (shape := _shape(inputs[name])) is not None and shape[config.max_batch_size > 0 :] != [1]:
            yield CONTROL.found(where=where, name=name, actual=dims_text(shape))
    for tensor in config.input:
        if tensor.optional and config.max_batch_size and model.kind == "onnxruntime":
            yield OPTIONAL.found(where=where, name=tensor.name)


def _shape(value: Any) -> list[int] | None:
    """The shape that a file states, -1 where a size is free; None where it states none."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return [size.dim_value if size.HasField("dim_value") else -1 for size in value.type.tensor_type.shape.dim]


def _tensor(model: Model, where: str, kind: str, tensor: Any, value: Any, loose: bool) -> Iterator[Finding]:
    names = {"where": where, "kind": kind, "name": tensor.name}
    actual = _TYPES.get(value.type.tensor_type.elem_type, "")
    stated = dtype_name(tensor.data_type).removeprefix("TYPE_")
    if actual != stated:
        yield TYPE.found(**names, actual=actual or "of a type that Triton does not have", stated=stated)
    shape = _shape(value)
    if shape is None or loose:
        return
    batch, dims = model.config.max_batch_size, list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
    if not shape:
        if any(size != 1 for size in dims):
            yield DIMS.found(**names, actual="[], a scalar", stated=dims_text(dims))
        return
    if batch > 0 and shape[:1] not in ([-1], [batch] * _READERS[model.kind]):
        yield BATCH.found(**names, shape=dims_text(shape))
        return
    expected = shape[1:] if batch > 0 else shape
    if len(dims) != len(expected) or not all(
        _fits(a, b, kind == "output" and model.kind == "onnxruntime") for a, b in zip(expected, dims, strict=True)
    ):
        yield DIMS.found(**names, actual=dims_text(expected), stated=dims_text(dims))


def _fits(actual: int, stated: int, exact: bool) -> bool:
    """ONNX Runtime's backend compares outputs exactly; a free size of an input may be fixed in the config."""
    return actual == stated or (actual == -1 and not exact)


ONNX_RULES: Final[tuple[Rule, ...]] = (
    BROKEN, GRAPH, NEWER, DATA, UNLISTED, UNKNOWN, TYPE, BATCH, DIMS, OPTIONAL, CONTROL,
)  # fmt: skip
ONNX_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_onnx,)
