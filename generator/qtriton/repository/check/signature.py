"""Rules of a model file's inputs and outputs against its config.pbtxt, as the backends of Triton 24.10 compare them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from qtriton.repository.check.model import Model, dims_text, dtype_name
from qtriton.repository.check.rules import Finding, Rule, error

UNLISTED: Final = error("file-input-unlisted", "needs the input {name!r}, which config.pbtxt does not list", "Add it")
UNKNOWN: Final = error("file-tensor-unknown", "has no {kind} {name!r} (it has {names})", "Correct config.pbtxt")
TYPE: Final = error("file-type", "{kind} {name!r} is {actual}, config.pbtxt says {stated}", "Correct config.pbtxt")
BATCH: Final = error(
    "file-batch",
    "{kind} {name!r} has shape {shape}, batches need a free first size",
    "Export it with a free batch, or set max_batch_size to 0",
)
DIMS: Final = error(
    "file-dims", "{kind} {name!r} has dims {actual}, config.pbtxt says {stated}", "Correct config.pbtxt"
)
OPTIONAL: Final = error(
    "file-optional-batched",
    "the backend takes no optional input such as {name!r} with batching",
    "Remove optional, or set max_batch_size to 0",
)
CONTROL: Final = error(
    "file-control",
    "sequence control {name!r} has dims {actual} in the file",
    "Export it with dims [1], behind the batch where there is one",
)
SIGNATURE_RULES: Final[tuple[Rule, ...]] = (UNLISTED, UNKNOWN, TYPE, BATCH, DIMS, OPTIONAL, CONTROL)

#: The backends that serve a batch that the file fixes.
_FIXED_BATCH: Final = ("openvino", "paddle")


@dataclass(frozen=True)
class FileTensor:
    """What a model file says of an input or output."""

    #: Triton's name without TYPE_; "" where Triton has none.
    dtype: str
    #: With the batch, -1 where a size is free; None where the file does not say.
    shape: list[int] | None
    #: Whether a size of -1 is free to the runtime as well, which may infer more than can be told here.
    known: bool = True


def signature(
    model: Model,
    where: str,
    inputs: Mapping[str, FileTensor],
    outputs: Mapping[str, FileTensor],
    defaults: Collection[str] = (),
) -> Iterator[Finding]:
    """In what a file and its config differ.

    Args:
        model: the model with the config.
        where: the file, inside the model's folder.
        inputs: those that a request must give.
        outputs: all of them; the config need not list every one.
        defaults: names that a request may give beside the inputs.
    """
    config, sequence = model.config, model.config.sequence_batching
    controls = sorted({tensor.name for tensor in sequence.control_input})
    listed = {tensor.name for tensor in config.input} | {*controls, *(state.input_name for state in sequence.state)}
    listed |= {name for entry in config.batch_input for name in entry.target_name}
    for name in sorted(inputs.keys() - listed):
        yield UNLISTED.found(where=where, name=name)
    scattered = {name for entry in config.batch_output for name in entry.target_name}
    for kind, configured, tensors in (("input", config.input, inputs), ("output", config.output, outputs)):
        for tensor in configured:
            if tensor.name in tensors:
                loose = tensor.name in scattered if kind == "output" else tensor.allow_ragged_batch
                yield from _tensor(model, where, kind, tensor, tensors[tensor.name], loose)
            elif kind == "output" or tensor.name not in defaults:
                yield UNKNOWN.found(where=where, kind=kind, name=tensor.name, names=", ".join(tensors) or "none")
    for name in controls:
        if name not in inputs:
            yield UNKNOWN.found(where=where, kind="input", name=name, names=", ".join(inputs) or "none")
        elif (shape := inputs[name].shape) is not None and shape[config.max_batch_size > 0 :] != [1]:
            yield CONTROL.found(where=where, name=name, actual=dims_text(shape))
    for tensor in config.input:
        if tensor.optional and config.max_batch_size and model.kind == "onnxruntime":
            yield OPTIONAL.found(where=where, name=tensor.name)


def _tensor(model: Model, where: str, kind: str, tensor: Any, actual: FileTensor, loose: bool) -> Iterator[Finding]:
    names = {"where": where, "kind": kind, "name": tensor.name}
    stated, shape, batch = dtype_name(tensor.data_type).removeprefix("TYPE_"), actual.shape, model.config.max_batch_size
    # A type that is not set is told of already.
    if tensor.data_type and actual.dtype != stated:
        yield TYPE.found(**names, actual=actual.dtype or "of a type that Triton does not have", stated=stated)
    if shape is None or loose:
        return
    dims = list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)
    if not shape:
        if any(size != 1 for size in dims):
            yield DIMS.found(**names, actual="[], a scalar", stated=dims_text(dims))
        return
    if batch > 0 and shape[:1] not in ([-1], [batch] * (model.kind in _FIXED_BATCH)):
        yield BATCH.found(**names, shape=dims_text(shape))
        return
    expected = shape[1:] if batch > 0 else shape
    exact = kind == "output" and model.kind == "onnxruntime" and actual.known
    if len(dims) != len(expected) or not all(_fits(a, b, exact) for a, b in zip(expected, dims, strict=True)):
        yield DIMS.found(**names, actual=dims_text(expected), stated=dims_text(dims))


def _fits(actual: int, stated: int, exact: bool) -> bool:
    """ONNX Runtime's backend compares outputs exactly; a free size of an input may be fixed in the config."""
    return actual == stated or (actual == -1 and not exact)
