"""Bring the FP32 weights into the one form that every later stage reads: an ONNX file that fits the spec."""

import shutil
from pathlib import Path
from typing import Any, Final

from qtriton.backends.runner import Signature, TensorInfo
from qtriton.builder.feeding import match_inputs
from qtriton.compress.act import export_fp32
from qtriton.errors import ModelError
from qtriton.spec import ModelSpec

#: Triton's names of ONNX's types, where they differ.
_DATATYPES: Final = {"FLOAT": "FP32", "FLOAT16": "FP16", "DOUBLE": "FP64"}


def write_fp32_onnx(weights: Path, spec: ModelSpec, out: Path) -> None:
    """Write the FP32 ONNX model of an ONNX file or a Paddle inference folder."""
    if weights.is_dir():
        export_fp32(weights, out)
    else:
        shutil.copyfile(weights, out)
    read_signature(out, spec)


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
        raise ModelError(
            f"{spec.name}: the weights are no valid ONNX model ({_first_line(error)}). "
            "Export the model again, or give another file with --weights."
        ) from error
    constants = {tensor.name for tensor in graph.initializer}
    signature = Signature(
        tuple(_tensor(value) for value in graph.input if value.name not in constants),
        tuple(_tensor(value) for value in graph.output),
    )
    _check_inputs(signature, spec)
    return signature


def _check_inputs(signature: Signature, spec: ModelSpec) -> None:
    shapes = {tensor.name: tensor.shape for tensor in signature.inputs}
    names = match_inputs(spec, tuple(shapes))  # a single input may be called as it likes: home projects rename it
    for name, dims in spec.inputs:
        shape = shapes[names[name]]
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
