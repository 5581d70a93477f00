"""What of an ONNX file can be judged without its weights and a runtime: does it parse, which ONNX is it written in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.onnx_operators import IMAGE_OPSET, ONNX, operators, opset

#: The newest opset and IR version of any ONNX release so far, 1.20, with room for the next.
MAX_OPSET: Final = 26
MAX_IR: Final = 14
#: The IR version that the ONNX Runtime 1.19.2 of the image 24.10 takes; the embedded server has the one installed.
IMAGE_IR: Final = 10
#: No tensor of a shape is longer.
_SHAPE_BYTES: Final = 1024


def read_graph(path: Path) -> Any:
    """The ModelProto without its external data, or the reason why there is none."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (FileNotFoundError, DecodeError, ValueError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    # An empty or a foreign file can parse into a message in which nothing is set.
    if not model.ir_version or not model.graph.output:
        return "it has no graph"
    return model


def unheard_of(model: Any) -> Iterator[str]:
    """What of IR version and opset no ONNX Runtime takes."""
    if model.ir_version > MAX_IR:
        yield f"IR version {model.ir_version}"
    if opset(model) > MAX_OPSET:
        yield f"opset {opset(model)}"


def too_new(model: Any) -> str:
    """What of a model is newer than the ONNX Runtime of the image 24.10 takes; "" where nothing is."""
    if opset(model) > IMAGE_OPSET:
        return f"opset {opset(model)}"
    return f"IR version {model.ir_version}" if model.ir_version > IMAGE_IR else ""


def infer_outputs(model: Any) -> Any:
    """The outputs as a runtime sees them: a size that the file leaves free can follow from the graph.

    Args:
        model: a ModelProto, whose large weights lose their numbers.

    Returns:
        ValueInfoProtos. They are as the file has them where it leaves nothing free or ONNX cannot tell.
    """
    from onnx import shape_inference

    outputs = model.graph.output
    if all(size.HasField("dim_value") for value in outputs for size in value.type.tensor_type.shape.dim):
        return outputs
    for tensor in model.graph.initializer:
        # Shapes follow from small integers; weights would only be copied.
        if len(tensor.raw_data) > _SHAPE_BYTES:
            tensor.ClearField("raw_data")
    try:
        return shape_inference.infer_shapes(model, data_prop=True).graph.output
    except (shape_inference.InferenceError, RuntimeError, ValueError):
        return outputs


def only_onnx(model: Any) -> bool:
    """Whether ONNX has every operator, so that what it infers is all that a runtime can."""
    return all(operator.domain in ONNX for operator in operators(model))
