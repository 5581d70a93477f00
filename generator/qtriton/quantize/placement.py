"""Which nodes are quantized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qtriton.quantize.bounds import PASS_THROUGH, passes_through
from qtriton.quantize.graph import GraphView, attribute
from qtriton.quantize.match import Layer
from qtriton.quantize.ranges import Ranges
from qtriton.quantize.tails import is_in_tail, is_mean_of_bins

if TYPE_CHECKING:
    from onnx import NodeProto

ACTIVATIONS: Final = ("Relu", "Clip")
#: Moving bytes is cheaper than moving floats, so these are quantized behind the last quantized layer too.
MOVES: Final = frozenset({"Reshape", "Transpose", "Flatten"})
#: Ops that ONNX Runtime has integer kernels for, when all they read and write is quantized.
BETWEEN: Final = PASS_THROUGH | {
    "Add", "Mul", "Sigmoid", "Concat", "LeakyRelu", "GlobalAveragePool", "AveragePool", *ACTIVATIONS,
}  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """What is decided by speed, measured in ONNX Runtime on x86 (see Placement)."""

    #: A convolution of the input image (at most 4 channels) is slower when it is quantized: 7.1 ms, not 4.7,
    #: for yolov5n's, 0.55, not 0.35, for MobileNet's.
    image_layer: bool = False
    #: Layers from which no layer with trained weights is reached: quantized, yolov5n's heads are 2 % faster, and mAP
    #: drops by 0.7 to 1 point.
    last_layers: bool = False
    #: What stands between layers (SiLU, Add, Concat ...) is quantized too, as ONNX Runtime has kernels for it; without
    #: this, only what a layer reads is quantized, for a runtime that fuses the rest into the layer before.
    between: bool = True
    #: Without `between`: what additions and concatenations join is quantized too, where a layer reads the result.
    joins: bool = False
    #: What the lowest and the highest value of a pixel become, where each value is a step of that range: it is known,
    #: need not be learnt, and quantizing gives back the pixels.
    pixels: tuple[float, float] | None = None
    #: Layers, as ACT's scales name them, that are kept in floating point to stay within the accuracy budget.
    float_layers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Placement:
    """The nodes that are quantized, by output name, and the activations that get a Q/DQ pair."""

    nodes: frozenset[str]
    tensors: frozenset[str]
    #: Why a layer with weights is kept in floating point, by output name.
    float_reasons: Mapping[str, str]


def place(view: GraphView, layers: Mapping[str, Layer], ranges: Ranges, policy: Policy) -> Placement:
    float_reasons: dict[str, str] = {}
    nodes: set[str] = set()
    for name, layer in layers.items():
        reason = _float_reason(view, layer, ranges, policy)
        if reason is None:
            nodes.add(name)
        else:
            float_reasons[name] = reason
    if not policy.between:
        inputs = {layers[name].node.input[0] for name in nodes}
        return Placement(
            frozenset(nodes),
            frozenset(inputs | _join_inputs(view, inputs, ranges) if policy.joins else inputs),
            float_reasons,
        )
    nodes |= {
        node.output[0]
        for node in view.nodes
        if node.output[0] not in layers and node.op_type in BETWEEN and _has_kernel(view, node, ranges)
    }
    _prune(view, nodes, layers)
    return Placement(frozenset(nodes), frozenset(_tensors(view, nodes, layers)), float_reasons)


def _join_inputs(view: GraphView, inputs: set[str], ranges: Ranges) -> set[str]:
    """What additions and concatenations join on the way to the tensors that quantized layers read."""
    tensors: set[str] = set()
    queue = sorted(inputs)
    while queue:
        producer = view.producer.get(queue.pop())
        if producer is None:
            continue
        sources = view.activations(producer)
        if producer.op_type in ("Add", "Concat") and len(sources) > 1 and all(ranges.of(name) for name in sources):
            queue += sorted({*sources} - tensors)
            tensors.update(sources)
        elif passes_through(producer) or producer.op_type in ACTIVATIONS:
            queue.append(producer.input[0])
    return tensors


def result(view: GraphView, node: NodeProto) -> str:
    """The output of a node, or of the activation that ONNX Runtime folds into it, if there is one."""
    after = view.only_reader(node.output[0], *ACTIVATIONS)
    return str(node.output[0] if after is None or node.op_type in ACTIVATIONS else after.output[0])


def _float_reason(view: GraphView, layer: Layer, ranges: Ranges, policy: Policy) -> str | None:
    node, source = layer.node, layer.node.input[0]
    if layer.learnt.name in policy.float_layers:
        return "costs too much accuracy when quantized"
    if is_mean_of_bins(view, node):
        return "takes the mean of a distribution, and has learnt nothing"
    if layer.node.op_type == "Conv" and source in view.inputs and layer.weight.shape[1] <= 4 and not policy.image_layer:
        return "reads the image: floating point is faster"
    if ranges.of(source) is None:
        return "the range of its input is unknown"
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return "ONNX Runtime has no integer kernel for a transposed input"
    if node.op_type == "Conv" and ranges.of(result(view, node)) is None:
        return "the range of its output is unknown"
    if not policy.last_layers and is_in_tail(view, node):
        return "one of the last layers"
    return None


def _has_kernel(view: GraphView, node: NodeProto, ranges: Ranges) -> bool:
    inputs = view.activations(node)
    if node.op_type in ("Add", "Mul") and len(inputs) != 2:
        return False
    if node.op_type == "Resize" and attribute(node, "mode", b"nearest") not in (b"nearest", b"linear"):
        return False
    return all(ranges.of(name) is not None for name in (*inputs, node.output[0]))


def _prune(view: GraphView, nodes: set[str], layers: Mapping[str, Layer]) -> None:
    """Drop what would need a conversion of its own: an op pays only between quantized producers and readers."""
    changed = True
    while changed:
        changed = False
        for node in view.nodes:
            name = node.output[0]
            if name not in nodes or name in layers:
                continue
            has_quantized_inputs = all(_is_quantized_source(view, item, nodes) for item in view.activations(node))
            has_quantized_reader = any(
                reader.output[0] in nodes for each in node.output for reader in view.readers(each)
            )
            is_folded = node.op_type in ACTIVATIONS and _folds(view, node, nodes)
            is_move = node.op_type in MOVES and node.output[0] not in view.outputs
            if not has_quantized_inputs or not (has_quantized_reader or is_folded or is_move):
                nodes.discard(name)
                changed = True


def _folds(view: GraphView, node: NodeProto, nodes: set[str]) -> bool:
    producer = view.producer.get(node.input[0])
    return producer is not None and producer.output[0] in nodes and result(view, producer) == node.output[0]


def _is_quantized_source(view: GraphView, tensor: str, nodes: set[str]) -> bool:
    producer = view.producer.get(tensor)
    if producer is None:
        return False
    if producer.output[0] in nodes:
        return True
    # A float tensor that a quantized layer reads anyway is quantized once for all its readers.
    return any(
        reader.output[0] in nodes and reader.op_type in ("Conv", "Gemm", "MatMul") for reader in view.readers(tensor)
    )


def _tensors(view: GraphView, nodes: set[str], layers: Mapping[str, Layer]) -> set[str]:
    tensors: set[str] = set()
    for node in view.nodes:
        name = node.output[0]
        if name not in nodes:
            continue
        is_folded = node.op_type in ACTIVATIONS and _folds(view, node, nodes)
        if not is_folded:
            tensors.update([node.input[0]] if name in layers else view.activations(node))
        output = result(view, node)
        float_result = name in layers and node.op_type != "Conv"
        if output == name or output in nodes:
            is_read = any(reader.output[0] in nodes for reader in view.readers(output))
            if is_read or not float_result:
                tensors.update((output, *node.output[1:]))
    return tensors
