"""Rules of Paddle's files: the program, whose inputs and outputs the config must name, and the weights beside it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.model import Model
from qtriton.repository.check.rules import Finding, Rule, error
from qtriton.repository.check.signature import FileTensor, signature
from qtriton.repository.check.versions import PUBLISH_AGAIN, is_ours

BROKEN: Final = error("paddle-broken", "is not a program of Paddle ({reason})", "Export the model again{qtriton}")
WEIGHTS: Final = error(
    "paddle-weights", "is missing, and {program} needs it", "Put the weights beside the program, under the same name"
)

#: Triton's names without TYPE_ by the numbers of Paddle's framework.proto.
_TYPES: Final = {
    0: "BOOL", 1: "INT16", 2: "INT32", 3: "INT64", 4: "FP16", 5: "FP32", 6: "FP64", 20: "UINT8", 21: "INT8", 22: "BF16",
}  # fmt: skip


def _paddle(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    """What is wrong with a program, and in what it differs from config.pbtxt."""
    for where, path in model.files() if model.kind == "paddle" else ():
        weights = path.with_suffix(".pdiparams")
        if not weights.is_file():
            yield WEIGHTS.found(where=f"{where.split('/')[0]}/{weights.name}", program=path.name)
        read = _read(path)
        if isinstance(read, str):
            yield BROKEN.found(where=where, reason=read, qtriton=PUBLISH_AGAIN if is_ours(path.parent) else "")
        elif read is not None:
            yield from signature(model, where, *read)


def _read(path: Path) -> tuple[dict[str, FileTensor], dict[str, FileTensor]] | str | None:
    """The inputs and outputs of a program, or the reason why it is none; None where Paddle is not installed."""
    from google.protobuf.message import DecodeError

    proto = messages()
    if proto is None:
        return None
    try:
        blocks = proto.ProgramDesc.FromString(path.read_bytes()).blocks
    except DecodeError as problem:
        return str(problem)
    if not blocks or not any(op.type == "fetch" for op in blocks[0].ops):
        return "it has no outputs"
    tensors = {var.name: var.type.lod_tensor.tensor for var in blocks[0].vars}
    fed = [name for op in blocks[0].ops if op.type == "feed" for name in op.outputs[0].arguments]
    fetched = [name for op in blocks[0].ops if op.type == "fetch" for name in op.inputs[0].arguments]
    inputs = {name: _tensor(tensors[name], list(tensors[name].dims)) for name in fed if name in tensors}
    known = not any(_squeezes_all(op) for block in blocks for op in block.ops)
    outputs = {name: _tensor(tensors[name], _free(tensors[name].dims, known)) for name in fetched if name in tensors}
    return inputs, outputs


def _free(dims: Sequence[int], known: bool) -> list[int] | None:
    """What the program says of an output's shape for certain: how many sizes it has, which are free as in a run.

    The sizes themselves are what its operators made of the sizes at export. Of a scalar not even their number is
    certain: before 2.5 Paddle had none, and called it [1].
    """
    return [-1] * len(dims) if known and len(dims) > 1 else None


def _squeezes_all(op: Any) -> bool:
    """Whether an operator takes away every size that is 1 in a run, as a batch may be."""
    axes = [number for attribute in op.attrs if attribute.name == "axes" for number in attribute.ints]
    return op.type in ("squeeze", "squeeze2") and not axes


def _tensor(tensor: Any, shape: list[int] | None) -> FileTensor:
    return FileTensor(_TYPES.get(tensor.data_type, ""), shape)


def messages() -> Any:
    """Paddle's protobuf by its file: importing paddle itself takes seconds, and crashes beside newer packages."""
    name = "qtriton_paddle_framework_pb2"
    if name in sys.modules:
        return sys.modules[name]
    package = importlib.util.find_spec("paddle")
    for folder in package.submodule_search_locations or () if package else ():
        file = Path(folder) / "base" / "proto" / "framework_pb2.py"
        spec = importlib.util.spec_from_file_location(name, file) if file.is_file() else None
        if spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules[name] = module
            return module
    return None


PADDLE_RULES: Final[tuple[Rule, ...]] = (BROKEN, WEIGHTS)
PADDLE_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_paddle,)
