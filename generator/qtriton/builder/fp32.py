"""Bring the FP32 weights into the one form that every later stage reads: an ONNX file that fits the spec."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtriton.backends.runner import Signature, TensorInfo
from qtriton.builder.feeding import match_inputs
from qtriton.builder.fitting import fit
from qtriton.builder.layouts import fits, is_channels_last
from qtriton.builder.node_order import sort_nodes
from qtriton.builder.onnx_files import data_files, dims_of, load_whole
from qtriton.compress.act import export_fp32
from qtriton.errors import ModelError, UnsupportedError
from qtriton.quantize.graph import inputs_of
from qtriton.repository.config import DataType
from qtriton.spec import ModelSpec

#: Triton's names of ONNX's types, where they differ.
_DATATYPES: Final = {"FLOAT": "FP32", "FLOAT16": "FP16", "DOUBLE": "FP64"}

if TYPE_CHECKING:
    from onnx import ModelProto


def write_fp32_onnx(weights: Path, spec: ModelSpec, out: Path) -> tuple[str, ...]:
    """Write the FP32 ONNX model of an ONNX file, with what lies beside it, or of a Paddle inference folder.

    Returns:
        what a user should know of the form that it was given.

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
    sorted_anew = sort_nodes(model.graph)
    fitted = fit(model, spec)
    if fitted.unified and weights.is_dir():
        raise UnsupportedError(
            f"{spec.name}: {', '.join(fitted.notes)}, which this version does to ONNX files only. Give the model as "
            "ONNX with --weights."
        )
    if fitted.changed or sorted_anew or data_files(source):
        out.write_bytes(model.SerializeToString(deterministic=True))
    elif source != out:
        shutil.copyfile(source, out)
    _check_datatypes(read_signature(out, spec), spec)
    return fitted.notes


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
        if not fits(shape[1:], dims):
            hint = _other_channels(shape[1:], dims) or "Correct the spec, or give other weights."
            raise ModelError(
                f"{spec.name}: the spec's input {name} is [batch, {', '.join(map(str, dims))}], the ONNX model's is "
                f"{list(shape)}. {hint}"
            )
    batch = shapes[names[spec.input.name]][0]
    if batch not in (-1, 1):
        raise ModelError(f"{spec.name}: the ONNX model's batch is fixed at {batch}. Export it with a free batch.")


def _other_channels(shape: tuple[int, ...], dims: tuple[int, ...]) -> str:
    """What to do where only the number of channels differs; "" where more does."""
    rest = dims[1:]
    found = next((n for n in (1, 2, 3, 4) if fits(shape, (n, *rest)) or is_channels_last(shape, (n, *rest))), 0)
    if len(dims) != 3 or not found:
        return ""
    right = f"Write dims: {[found, *rest]} in the spec"
    if found == 1:
        return f"{right}, and {{op: grey}} in preprocess, in the place of {{op: rgb}}."
    if found == 3:
        return f"{right}, and no {{op: grey}} in preprocess."
    return (
        f"It has {found} channels, and this version feeds 1 or 3: put a layer in front of the model that makes its "
        "channels of those, and export it again."
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
    return TensorInfo(value.name, _DATATYPES.get(kind, kind), dims_of(value))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
