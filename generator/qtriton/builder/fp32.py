"""Bring the FP32 weights into the one form that every later stage reads: an ONNX file that fits the spec."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtriton.backends.runner import Signature, TensorInfo
from qtriton.builder.feeding import match_inputs
from qtriton.builder.fitting import fit
from qtriton.builder.onnx_files import data_files, load_whole
from qtriton.compress.act import export_fp32
from qtriton.errors import ModelError, UnsupportedError
from qtriton.quantize.graph import inputs_of
from qtriton.repository.config import DataType
from qtriton.spec import ModelSpec

#: Triton's names of ONNX's types, where they differ.
_DATATYPES: Final = {"FLOAT": "FP32", "FLOAT16": "FP16", "DOUBLE": "FP64"}

if TYPE_CHECKING:
    from onnx import ModelProto


def write_fp32_onnx(weights: Path, spec: ModelSpec, out: Path) -> None:
    """Write the FP32 ONNX model of an ONNX file, with what lies beside it, or of a Paddle inference folder.

    Raises:
        InputError: a file that belongs to it is missing or cut short.
        ModelError: no ONNX model, or not the one that the spec describes.
        UnsupportedError: it takes or gives what this version cannot feed or read.
    """
    source = weights
    if weights.is_dir():
        export_fp32(weights, out)
        source = out
    model = _load(source, spec)
    for value in inputs_of(model.graph):
        if value.name == spec.input.name or len(spec.inputs) == 1:
            _check_layout(_dims(value), spec)  # before free sizes get those of the spec
    if fit(model, spec) or data_files(source):
        out.write_bytes(model.SerializeToString(deterministic=True))
    elif source != out:
        shutil.copyfile(source, out)
    _check_datatypes(read_signature(out, spec), spec)


def _load(source: Path, spec: ModelSpec) -> "ModelProto":
    from google.protobuf.message import DecodeError

    try:
        return load_whole(source)
    except (DecodeError, OSError) as error:
        raise _no_model(spec, error) from error


def _no_model(spec: ModelSpec, error: Exception) -> ModelError:
    return ModelError(
        f"{spec.name}: the weights are no valid ONNX model ({_first_line(error)}). "
        "Export the model again, or give another file with --weights."
    )


def read_signature(model: Path, spec: ModelSpec) -> Signature:
    """Check an ONNX file against the spec and read what the spec does not state.

    Raises:
        ModelError: not an ONNX model, or its inputs are not those in the spec.
    """
    import onnx

    try:
        graph = onnx.load(str(model)).graph
        onnx.checker.check_model(str(model))
    except Exception as error:  # protobuf and the checker raise their own kinds
        raise _no_model(spec, error) from error
    signature = Signature(
        tuple(_tensor(value) for value in inputs_of(graph)),
        tuple(_tensor(value) for value in graph.output),
    )
    _check_inputs(signature, spec)
    return signature


def _check_inputs(signature: Signature, spec: ModelSpec) -> None:
    shapes = {tensor.name: tensor.shape for tensor in signature.inputs}
    names = match_inputs(spec, tuple(shapes))  # a single input may be called as it likes: home projects rename it
    for name, dims in spec.inputs:
        shape = shapes[names[name]]
        if name == spec.input.name:
            _check_layout(shape, spec)
        if len(shape) != len(dims) + 1 or any(a not in (-1, b) for a, b in zip(shape[1:], dims, strict=True)):
            raise ModelError(
                f"{spec.name}: the spec's input {name} is [batch, {', '.join(map(str, dims))}], the ONNX model's is "
                f"{list(shape)}. Correct the spec, or give other weights."
            )
    batch = shapes[names[spec.input.name]][0]
    if batch not in (-1, 1):
        raise ModelError(f"{spec.name}: the ONNX model's batch is fixed at {batch}. Export it with a free batch.")
    if batch == 1 and spec.max_batch_size:
        raise ModelError(
            f"{spec.name}: the ONNX model's batch is fixed at 1. Write max_batch_size: 0 in the spec, "
            "or export the model with a free batch."
        )


def _check_layout(shape: tuple[int, ...], spec: ModelSpec) -> None:
    """Raise UnsupportedError where the image is not [3, height, width], by the model or by the spec."""
    whose = {"the ONNX model's": shape[1:], "the spec's": spec.input.dims}
    for owner, (first, *_, last) in ((owner, dims) for owner, dims in whose.items() if len(dims) == 3):
        what = f"{spec.name}: {owner} image {list(whose[owner])}"
        if last in (1, 3, 4) and first not in (1, 3, 4):
            raise UnsupportedError(
                f"{what} has its channels last, which this version does not feed. "
                "Export the model with channels first: [3, height, width]."
            )
        if first in (1, 2, 4):
            raise UnsupportedError(
                f"{what} has {first} channel{'s' * (first > 1)}. This version feeds the 3 of colour images only: "
                "put a layer in front of the model that makes its channels of those 3, and export it again."
            )


def _check_datatypes(signature: Signature, spec: ModelSpec) -> None:
    """Raise UnsupportedError where an input is no FP32, or an output is nothing that a client is given."""
    for port in signature.inputs:
        if port.datatype != "FP32":
            raise UnsupportedError(
                f"{spec.name}: the model's input {port.name} is {port.datatype}, and this version feeds FP32 only. "
                "Export the model with a float input, and say in preprocess how pixels become floats."
            )
    known = [kind.value for kind in DataType if kind is not DataType.STRING]
    for port in signature.outputs:
        if not port.shape:
            raise UnsupportedError(
                f"{spec.name}: the model's output {port.name} is a single number, or of no stated shape, which Triton "
                "does not serve. Name the outputs that you need in the spec (outputs: [...])."
            )
        if port.datatype not in known:
            raise UnsupportedError(
                f"{spec.name}: the model's output {port.name} is {port.datatype}; this version reads "
                f"{', '.join(known)}. Name the outputs that you need in the spec (outputs: [...]), or export the model "
                "with another type."
            )


def _tensor(value: Any) -> TensorInfo:
    from onnx import TensorProto

    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return TensorInfo(value.name, _DATATYPES.get(kind, kind), _dims(value))


def _dims(value: Any) -> tuple[int, ...]:
    shape = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in shape)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
