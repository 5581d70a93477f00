"""What of an ONNX file can be judged without its weights and a runtime: does it parse, are its operators known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

#: The newest opset and IR version of any ONNX release so far, 1.20, with room for the next.
MAX_OPSET: Final = 26
MAX_IR: Final = 14
#: What the ONNX Runtime 1.19.2 of the image 24.10 takes; the embedded server has the one that is installed.
IMAGE_OPSET: Final = 21
IMAGE_IR: Final = 10
#: The names of ONNX's own domain.
_ONNX: Final = ("", "ai.onnx")
#: No tensor of a shape is longer.
_SHAPE_BYTES: Final = 1024


def read_graph(path: Path) -> Any:
    """The ModelProto without its external data, or the reason why there is none."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError, ValueError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    # An empty or a foreign file can parse into a message in which nothing is set.
    if not model.ir_version or not model.graph.output:
        return "it has no graph"
    return model


def graph_problems(model: Any) -> Iterator[str]:
    """Why ONNX Runtime would not take the graph: opset, IR version, operators that no opset has."""
    if model.ir_version > MAX_IR:
        yield f"has IR version {model.ir_version}, which no ONNX Runtime takes"
    version = opset(model)
    if version > MAX_OPSET:
        yield f"has opset {version}, which no ONNX Runtime takes"
    for name in sorted(_unknown(model, version)):
        yield f"has an operator {name}, which ONNX does not have in opset {version}"


def opset(model: Any) -> int:
    """The version of ONNX's own operators that a model is written in."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    return int(opsets.get("", opsets.get("ai.onnx", 1)))


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
    return all(node.domain in _ONNX for node in model.graph.node)


def _unknown(model: Any, version: int) -> set[str]:
    """The operators of ONNX's own domain that are not in its opset; further domains are the runtime's business."""
    from onnx import defs

    functions = {function.name for function in model.functions if function.domain in _ONNX}
    names = {node.op_type for node in model.graph.node if node.domain in _ONNX} - functions
    # Of a newer opset than the installed onnx has, nothing can be said.
    return {name for name in names if not _has(defs, name, version)} if version <= defs.onnx_opset_version() else set()


def _has(defs: Any, name: str, version: int) -> bool:
    if name in _OF_RUNTIME:
        return True
    try:
        defs.get_schema(name, version, "")
    except defs.SchemaError:
        return False
    return True


#: ONNX Runtime takes these in ONNX's domain, too, though no opset has them.
_OF_RUNTIME: Final = (
    "Affine",
    "Crop",
    "ImageScaler",
    "MeanVarianceNormalization",
    "ParametricSoftplus",
    "ScaledTanh",
    "ThresholdedRelu",
)
