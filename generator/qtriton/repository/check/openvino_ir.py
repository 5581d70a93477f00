"""Rules of OpenVINO's IR: the XML, whose inputs and outputs the config must name, and the weights beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.model import Model
from qtriton.repository.check.rules import Finding, Rule, error
from qtriton.repository.check.signature import FileTensor, signature
from qtriton.repository.check.versions import PUBLISH_AGAIN, is_ours

BROKEN: Final = error("openvino-broken", "is not an OpenVINO IR ({reason})", "Convert the model again{qtriton}")
WEIGHTS: Final = error(
    "openvino-weights", "is missing, and {xml} needs it", "Put the weights beside the XML, under the same name"
)

#: Triton's names without TYPE_ by OpenVINO's, in either spelling of the IR.
_TYPES: Final = {
    "f32": "FP32", "f16": "FP16", "bf16": "BF16", "f64": "FP64", "i8": "INT8", "i16": "INT16", "i32": "INT32",
    "i64": "INT64", "u8": "UINT8", "u16": "UINT16", "u32": "UINT32", "u64": "UINT64", "boolean": "BOOL",
    "string": "STRING",
}  # fmt: skip


def _openvino(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    """What is wrong with an IR, and in what it differs from config.pbtxt."""
    for where, path in model.files() if model.kind == "openvino" else ():
        if path.suffix != ".xml":
            continue
        weights = path.with_suffix(".bin")
        read = _read(path)
        if isinstance(read, str):
            yield BROKEN.found(where=where, reason=read, qtriton=PUBLISH_AGAIN if is_ours(path.parent) else "")
            continue
        if read.constants and not weights.is_file():
            yield WEIGHTS.found(where=f"{where.split('/')[0]}/{weights.name}", xml=path.name)
        yield from signature(model, where, read.inputs, read.outputs)


@dataclass(frozen=True)
class _Net:
    """What an IR says of itself."""

    inputs: dict[str, FileTensor]
    outputs: dict[str, FileTensor]
    #: Whether there is anything in the file of weights.
    constants: bool


def _read(path: Path) -> _Net | str:
    """What an IR says, or the reason why it is none."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as problem:
        return str(problem)
    if root.tag != "net" or root.find("layers") is None:
        return f"its root is {root.tag!r}, not a net with layers"
    layers = {layer.get("id"): layer for layer in root.iterfind("layers/layer")}
    edges = root.iterfind("edges/edge")
    sources = {edge.get("to-layer"): (edge.get("from-layer"), edge.get("from-port")) for edge in edges}
    inputs: dict[str, FileTensor] = {}
    outputs: dict[str, FileTensor] = {}
    for name, layer in layers.items():
        if layer.get("type") == "Parameter":
            inputs.update([_port(layer, next(layer.iterfind("output/port"), None))])
        elif layer.get("type") == "Result" and name in sources:
            source = layers.get(sources[name][0])
            if source is not None:
                ports = {port.get("id"): port for port in source.iterfind("output/port")}
                outputs.update([_port(source, ports.get(sources[name][1]))])
    constants = any(layer.get("type") == "Const" for layer in layers.values())
    return _Net(inputs, outputs, constants) if outputs else "it has no results"


def _port(layer: Any, port: Any) -> tuple[str, FileTensor]:
    """The name of a tensor, one of several that it may have, and what is said of it."""
    if port is None:
        return str(layer.get("name")), FileTensor("", None)
    name = sorted(filter(None, (port.get("names") or "").split(","))) or [str(layer.get("name"))]
    data = layer.find("data")
    kind = (data.get("element_type") if data is not None else None) or _PRECISIONS.get(port.get("precision") or "", "")
    shape = [int(dim.text) if (dim.text or "").lstrip("-").isdecimal() else -1 for dim in port.iterfind("dim")]
    return name[0], FileTensor(_TYPES.get(kind, ""), shape)


#: The types of ports, which are spelled otherwise than those of data.
_PRECISIONS: Final = {
    "FP32": "f32", "FP16": "f16", "BF16": "bf16", "FP64": "f64", "I8": "i8", "I16": "i16", "I32": "i32", "I64": "i64",
    "U8": "u8", "U16": "u16", "U32": "u32", "U64": "u64", "BOOL": "boolean", "STRING": "string",
}  # fmt: skip

OPENVINO_RULES: Final[tuple[Rule, ...]] = (BROKEN, WEIGHTS)
OPENVINO_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_openvino,)
