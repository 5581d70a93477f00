"""Rules of an ONNX file: can it be read, does a runtime take its graph, and are its weights there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.model import Model
from qtriton.repository.check.onnx_graph import infer_outputs, only_onnx, read_graph, too_new, unheard_of
from qtriton.repository.check.onnx_operators import text, unknown
from qtriton.repository.check.rules import Finding, Rule, error, note, warning
from qtriton.repository.check.signature import FileTensor, signature
from qtriton.repository.check.versions import PUBLISH_AGAIN, is_ours

BROKEN: Final = error("onnx-broken", "is not an ONNX model ({reason})", "Export it again{qtriton}")
VERSION: Final = error(
    "onnx-version", "has {what}, which no ONNX Runtime takes", "Export it for the server's ONNX Runtime"
)
OPERATOR: Final = error(
    "onnx-operator",
    "has an operator {name}, which {lack}",
    "Export it without{library}",
)
LIBRARY: Final = note(
    "onnx-library",
    "op_library_filename {library!r} is not here: only the server's machine can tell whether it has the library",
    "Look there",
)
NEWER: Final = warning(
    "onnx-opset",
    "has {what}, newer than what the ONNX Runtime of the server's image 24.10 takes",
    "Export it with opset 21 or less, or serve it with a newer one",
)
DATA: Final = error(
    "onnx-external-data", "keeps its weights in {name!r}, which {lack}", "Put the weights beside the model, whole"
)

_LIBRARY: Final = ", or name the library that has it in model_operations.op_library_filename"
#: Triton's names without TYPE_ by onnx.TensorProto's numbers.
_TYPES: Final = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING",
    9: "BOOL", 10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 16: "BF16",
}  # fmt: skip
#: The backends that load ONNX files.
_READERS: Final = ("onnxruntime", "openvino")


def _onnx(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    """What is wrong with an ONNX file that its backend would load, and in what it differs from config.pbtxt."""
    for where, path in model.files() if model.kind in _READERS else ():
        # ONNX Runtime takes any name for ONNX, but for that of its own format.
        if path.suffix == ".ort" or (model.kind != "onnxruntime" and path.suffix != ".onnx"):
            continue
        # A large model may be a folder with the file in it.
        place, file = (f"{where}/model.onnx", path / "model.onnx") if path.is_dir() else (where, path)
        read = read_graph(file)
        if isinstance(read, str):
            yield BROKEN.found(where=place, reason=read, qtriton=PUBLISH_AGAIN if is_ours(path.parent) else "")
            continue
        yield from (VERSION.found(where=place, what=what) for what in unheard_of(read))
        foreign = model.kind == "onnxruntime" and not _brings_operators(model.config)
        for name, lack in unknown(read, foreign):
            yield OPERATOR.found(where=place, name=name, lack=lack, library=_LIBRARY if ":" in name else "")
        if model.kind == "onnxruntime" and (what := too_new(read)):
            yield NEWER.found(where=place, what=what)
        yield from (DATA.found(where=place, name=name, lack=lack) for name, lack in _external(file, read))
        constants = {text(tensor.name) for tensor in read.graph.initializer}
        inputs = {text(each.name): _tensor(each) for each in read.graph.input if text(each.name) not in constants}
        known = only_onnx(read)
        outputs = {text(each.name): _tensor(each, known) for each in infer_outputs(read)}
        # An initializer with the name of an input has a default.
        yield from signature(model, place, inputs, outputs, constants)


def _tensor(value: Any, known: bool = True) -> FileTensor:
    tensor = value.type.tensor_type
    shape = [size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim]
    return FileTensor(_TYPES.get(tensor.elem_type, ""), shape if tensor.HasField("shape") else None, known)


def _brings_operators(config: Any) -> bool:
    """Whether a library or an accelerator may have operators that ONNX Runtime itself has not."""
    accelerators = config.optimization.execution_accelerators
    return bool(
        config.model_operations.op_library_filename
        or accelerators.gpu_execution_accelerator
        or accelerators.cpu_execution_accelerator
    )


def _libraries(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for library in model.config.model_operations.op_library_filename if model.kind == "onnxruntime" else ():
        if not Path(library).exists():
            yield LIBRARY.found("model_operations", "op_library_filename", library=library)


def _external(file: Path, model: Any) -> Iterator[tuple[str, str]]:
    """The files of external data that are not there, or too short, each with what is missing."""
    needed: dict[str, int] = {}
    for tensor in model.graph.initializer:
        entry = {each.key: text(each.value) for each in tensor.external_data} if tensor.data_location == 1 else {}
        if "location" in entry:
            end = sum(int(entry[key]) for key in ("offset", "length") if entry.get(key, "").isdecimal())
            needed[entry["location"]] = max(needed.get(entry["location"], 0), end)
    for name, size in sorted(needed.items()):
        path = file.parent / name
        if not path.is_file():
            yield name, "is not there"
        elif path.stat().st_size < size:
            yield name, f"has {path.stat().st_size} bytes of {size}"


ONNX_RULES: Final[tuple[Rule, ...]] = (BROKEN, VERSION, OPERATOR, LIBRARY, NEWER, DATA)
ONNX_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_onnx, _libraries)
