"""Bring the FP32 weights into the one form that every later stage reads: an ONNX file that fits the spec."""

import shutil
from pathlib import Path
from typing import Any

from qtriton.errors import ModelError
from qtriton.spec import ModelSpec


def fp32_onnx(weights: Path, spec: ModelSpec, out: Path) -> None:
    """Write the FP32 ONNX model of an ONNX file or a Paddle inference folder."""
    if weights.is_dir():
        from qtriton.compress.act import export_fp32

        export_fp32(weights, out)
    else:
        shutil.copyfile(weights, out)
    signature(out, spec)


class Signature:
    """The outputs of an ONNX model: (name, dims without the batch), -1 where a size is free."""

    def __init__(self, outputs: tuple[tuple[str, tuple[int, ...]], ...]) -> None:
        self.outputs = outputs


def signature(model: Path, spec: ModelSpec) -> Signature:
    """Check an ONNX file against the spec and read what the spec does not state.

    Raises:
        ModelError: not an ONNX model, or its input is not the one in the spec.
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
    inputs = {value.name: _dims(value) for value in graph.input if value.name not in constants}
    wanted = spec.input
    if list(inputs) != [wanted.name]:
        raise ModelError(
            f"{spec.name}: the spec's input is {wanted.name}, the ONNX model takes {', '.join(inputs) or 'nothing'}. "
            "Correct input.name in the spec, or give other weights."
        )
    dims = inputs[wanted.name]
    if len(dims) != 4 or any(a not in (-1, b) for a, b in zip(dims[1:], wanted.dims, strict=True)):
        raise ModelError(
            f"{spec.name}: the spec's input is [batch, {', '.join(map(str, wanted.dims))}], the ONNX model's is "
            f"{list(dims)}. Correct input.dims in the spec, or give other weights."
        )
    if dims[0] not in (-1, 1):
        raise ModelError(f"{spec.name}: the ONNX model's batch is fixed at {dims[0]}. Export it with a free batch.")
    if dims[0] == 1 and spec.max_batch_size > 1:
        raise ModelError(
            f"{spec.name}: the ONNX model's batch is fixed at 1. Write max_batch_size: 1 in the spec, "
            "or export the model with a free batch."
        )
    return Signature(tuple((value.name, _dims(value)[1:]) for value in graph.output))


def _dims(value: Any) -> tuple[int, ...]:
    shape = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in shape)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
