"""Which nodes run in integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qtriton.quantize.graph import GraphView, attribute
from qtriton.quantize.match import Layer
from qtriton.quantize.ranges import PASS_THROUGH, Ranges

if TYPE_CHECKING:
    from onnx import NodeProto

ACTIVATIONS: Final = ("Relu", "Clip")
#: Moving bytes is cheaper than moving floats, so these go along behind the last integer layer too.
MOVES: Final = frozenset({"Reshape", "Transpose", "Flatten"})
#: Ops that ONNX Runtime has integer kernels for, when all they read and write is quantized.
BETWEEN: Final = PASS_THROUGH | {
    "Add", "Mul", "Sigmoid", "Concat", "LeakyRelu", "GlobalAveragePool", "AveragePool", *ACTIVATIONS,
}  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """What is decided by speed, measured in ONNX Runtime on x86 (see Placement)."""

    #: A convolution of the input image (at most 4 channels) is slower in integers than in float: 7.1 against 4.7 ms
    #: for yolov5n's, 0.55 against 0.35 for MobileNet's.
    image_layer: bool = False
    #: Layers from which only float ops lead to the output: for yolov5n's heads integers give 2 % of speed and take
    #: 0.7 to 1 point of mAP.
    last_layers: bool = False
    #: What stands between layers (SiLU, Add, Concat ...) runs in integers too, as ONNX Runtime has kernels for it;
    #: without, only what a layer reads is quantized, for a runtime that fuses the rest into the layer before.
    between: bool = True
    #: Without `between`: what additions and concatenations join is quantized too, where a layer reads the result.
    joins: bool = False
    #: Layers, as ACT's scales name them, that cost more accuracy than the budget has.
    float_layers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Placement:
    """The nodes that run in integers, by output name, and the activations that get a Q/DQ pair."""

    nodes: frozenset[str]
    tensors: frozenset[str]
    #: Why a layer with weights stays float, by output name.
    left: Mapping[str, str]


def place(view: GraphView, layers: Mapping[str, Layer], ranges: Ranges, policy: Policy) -> Placement:
    left: dict[str, str] = {}
    chosen: set[str] = set()
    for name, layer in layers.items():
        reason = _why_float(view, layer, ranges, policy)
        if reason is None:
            chosen.add(name)
        else:
            left[name] = reason
    if not policy.between:
        read = {layers[name].node.input[0] for name in chosen}
        return Placement(
            frozenset(chosen), frozenset(read | _joined(view, read, ranges) if policy.joins else read), left
        )
    chosen |= {
        node.output[0]
        for node in view.nodes
        if node.output[0] not in layers and node.op_type in BETWEEN and _is_able(view, node, ranges)
    }
    _prune(view, chosen, layers)
    return Placement(frozenset(chosen), frozenset(_tensors(view, chosen, layers)), left)


def _joined(view: GraphView, read: set[str], ranges: Ranges) -> set[str]:
    """What additions and concatenations join on the way to the tensors that layers read in integers."""
    found: set[str] = set()
    waiting = sorted(read)
    while waiting:
        maker = view.producer.get(waiting.pop())
        if maker is None:
            continue
        sources = view.activations(maker)
        if maker.op_type in ("Add", "Concat") and len(sources) > 1 and all(ranges.of(name) for name in sources):
            waiting += sorted({*sources} - found)
            found.update(sources)
        elif maker.op_type in PASS_THROUGH or maker.op_type in ACTIVATIONS:
            waiting.append(maker.input[0])
    return found


def result(view: GraphView, node: NodeProto) -> str:
    """What a node hands on: behind the activation that ONNX Runtime folds into it, if there is one."""
    after = view.only_reader(node.output[0], *ACTIVATIONS)
    return str(node.output[0] if after is None or node.op_type in ACTIVATIONS else after.output[0])


def _why_float(view: GraphView, layer: Layer, ranges: Ranges, policy: Policy) -> str | None:
    node, source = layer.node, layer.node.input[0]
    if layer.learnt.name in policy.float_layers:
        return "costs too much accuracy in integers"
    if layer.node.op_type == "Conv" and source in view.inputs and layer.weight.shape[1] <= 4 and not policy.image_layer:
        return "reads the image: float is faster"
    if ranges.of(source) is None:
        return "the range of its input is unknown"
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return "ONNX Runtime has no integer kernel for a transposed input"
    if node.op_type == "Conv" and ranges.of(result(view, node)) is None:
        return "the range of its output is unknown"
    if not policy.last_layers and not _leads_to_layer(view, node.output[0], set()):
        return "a last layer"
    return None


def _leads_to_layer(view: GraphView, tensor: str, seen: set[str]) -> bool:
    for node in view.readers(tensor):
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            return True
        if node.output[0] not in seen:
            seen.add(node.output[0])
            if any(_leads_to_layer(view, name, seen) for name in node.output):
                return True
    return False


def _is_able(view: GraphView, node: NodeProto, ranges: Ranges) -> bool:
    read = view.activations(node)
    if node.op_type in ("Add", "Mul") and len(read) != 2:
        return False
    if node.op_type == "Resize" and attribute(node, "mode", b"nearest") not in (b"nearest", b"linear"):
        return False
    return all(ranges.of(name) is not None for name in (*read, node.output[0]))


def _prune(view: GraphView, chosen: set[str], layers: Mapping[str, Layer]) -> None:
    """Drop what would need a conversion of its own: an op counts only between integer producers and readers."""
    changed = True
    while changed:
        changed = False
        for node in view.nodes:
            name = node.output[0]
            if name not in chosen or name in layers:
                continue
            fed = all(_is_quantized_source(view, item, chosen) for item in view.activations(node))
            read = any(reader.output[0] in chosen for reader in view.readers(name))
            folded = node.op_type in ACTIVATIONS and _folds(view, node, chosen)
            moved = node.op_type in MOVES and node.output[0] not in view.outputs
            if not fed or not (read or folded or moved):
                chosen.discard(name)
                changed = True


def _folds(view: GraphView, node: NodeProto, chosen: set[str]) -> bool:
    maker = view.producer.get(node.input[0])
    return maker is not None and maker.output[0] in chosen and result(view, maker) == node.output[0]


def _is_quantized_source(view: GraphView, tensor: str, chosen: set[str]) -> bool:
    maker = view.producer.get(tensor)
    if maker is None:
        return False
    if maker.output[0] in chosen:
        return True
    # A float tensor that an integer layer reads anyway is quantized once for all its readers.
    return any(
        reader.output[0] in chosen and reader.op_type in ("Conv", "Gemm", "MatMul") for reader in view.readers(tensor)
    )


def _tensors(view: GraphView, chosen: set[str], layers: Mapping[str, Layer]) -> set[str]:
    found: set[str] = set()
    for node in view.nodes:
        name = node.output[0]
        if name not in chosen:
            continue
        folded = node.op_type in ACTIVATIONS and _folds(view, node, chosen)
        if not folded:
            found.update([node.input[0]] if name in layers else view.activations(node))
        handed = result(view, node)
        float_result = name in layers and node.op_type != "Conv"
        if handed == name or handed in chosen:
            needed = any(reader.output[0] in chosen for reader in view.readers(handed))
            if needed or not float_result:
                found.add(handed)
    return found
