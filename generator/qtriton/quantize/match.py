"""Which layer that was learnt is which node of the ONNX graph: decided by what both read and give, never by order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.scales import LearntLayer
from qtriton.errors import CompressionError
from qtriton.quantize.graph import GraphView, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

CONVOLUTIONS: Final = frozenset({"conv2d", "depthwise_conv2d"})
#: How far the fingerprints of one tensor in two runtimes may differ, of their size. Over the zoo that is 2e-3 at most,
#: but for means over an image that come near zero: 3e-2 in yolov6lite_l0, whose outputs then differ by 1e-5.
_SAME_WITHIN: Final = 2e-2
#: How many times farther than the nearest the next candidate must be; two tensors that are equal are as near.
_CLEARLY: Final = 4.0
#: The part of a fingerprint that does not depend on the order of the elements.
_UNORDERED: Final = 4


@dataclass(frozen=True, eq=False)
class Layer:
    """A node with constant weights and what was learnt about it; channel is the weight's output axis."""

    node: NodeProto
    weight: NDArray[np.float32]
    channel: int
    learnt: LearntLayer


def pair_layers(
    view: GraphView, learnt: Sequence[LearntLayer], fingerprints: Mapping[str, NDArray[np.float64]]
) -> tuple[LearntLayer, ...]:
    """Give each layer that was learnt the name of its ONNX node, by weights and by what it reads and gives.

    Args:
        view: the FP32 graph.
        learnt: the layers, with fingerprints of what they read and give on the probe images.
        fingerprints: those of the graph's tensors on the same images, float64 [probes, features].

    Raises:
        CompressionError: a node has no counterpart, or several that differ in their ranges.
    """
    paired: list[LearntLayer] = []
    free = list(learnt)
    for node, weight in layers_of(view):
        candidates = [each for each in free if _has_weights(node, weight, each)]
        if not candidates:
            raise _no_counterpart(node, weight, learnt)
        counterpart = _nearest(view, node, candidates, fingerprints)
        free.remove(counterpart)
        paired.append(replace(counterpart, node=node.output[0]))
    return (*paired, *free)


def match_layers(view: GraphView, learnt: Sequence[LearntLayer]) -> dict[str, Layer]:
    """Every Conv, Gemm and MatMul with constant weights, by the name of its output; each must have a counterpart.

    Raises:
        CompressionError: a node has none, or its layers were not paired and several have the same weights.
    """
    by_node = {each.node: each for each in learnt if each.node is not None}
    matched: dict[str, Layer] = {}
    for node, weight in layers_of(view):
        counterpart = by_node.get(node.output[0])
        if counterpart is None and not by_node:
            candidates = [each for each in learnt if _has_weights(node, weight, each)]
            if len(candidates) > 1:
                raise _several(node)
            counterpart = next(iter(candidates), None)
        if counterpart is None:
            raise _no_counterpart(node, weight, learnt)
        matched[node.output[0]] = Layer(node, weight, output_axis(node), counterpart)
    return matched


def layer_weight(view: GraphView, node: NodeProto) -> NDArray[np.float32] | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
        return None
    weight = view.constants.get(node.input[1])
    if weight is None or (node.op_type != "Conv" and (weight.ndim != 2 or node.input[0] in view.constants)):
        return None
    return weight.astype(np.float32)


def output_axis(node: NodeProto) -> int:
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1


def layer_result(view: GraphView, node: NodeProto) -> str:
    """The output of a layer, with the addition of a constant that follows a matrix product."""
    after = view.only_reader(node.output[0], "Add")
    is_bias = node.op_type == "MatMul" and after is not None and any(name in view.constants for name in after.input)
    return str(after.output[0] if is_bias and after is not None else node.output[0])


def layers_of(view: GraphView) -> list[tuple[NodeProto, NDArray[np.float32]]]:
    """The nodes with constant weights that can be quantized, in the order of the graph, and their weights."""
    weights = ((node, layer_weight(view, node)) for node in view.nodes)
    return [(node, weight) for node, weight in weights if weight is not None]


def layer_tensors(view: GraphView) -> tuple[str, ...]:
    """What the layers read and give, each tensor once."""
    return tuple(
        dict.fromkeys(name for node, _ in layers_of(view) for name in (node.input[0], layer_result(view, node)))
    )


def _nearest(
    view: GraphView,
    node: NodeProto,
    candidates: Sequence[LearntLayer],
    fingerprints: Mapping[str, NDArray[np.float64]],
) -> LearntLayer:
    """The candidate that reads, and gives, what the node does."""
    source, result = fingerprints.get(node.input[0]), fingerprints.get(layer_result(view, node))
    near = [
        each
        for each in candidates
        if min(_distance(source, each.read, _UNORDERED), _distance(result, each.given)) <= _SAME_WITHIN
    ]
    if not near:
        raise CompressionError(
            f"{_described(node)}: the compressed model has a layer with its weights, but it reads other values. The "
            "conversion changed the model. Use --precision fp32, or export the model again."
        )
    if len(near) == 1:
        return near[0]

    def distance(each: LearntLayer) -> float:
        return max(_distance(source, each.read), _distance(result, each.given))

    first, second, *_ = sorted(near, key=distance)
    if distance(second) < _CLEARLY * distance(first) + 1e-5 and not _have_same_ranges(first, second):
        raise _several(node)
    return first


def _distance(
    expected: NDArray[np.float64] | None, actual: NDArray[np.float64] | None, features: int | None = None
) -> float:
    """The largest difference of two fingerprints, of the sum of absolute values; 0 where one is not known."""
    if expected is None or actual is None or len(expected) != len(actual):
        return 0.0
    size = np.maximum(np.maximum(expected[:, 2:3], actual[:, 2:3]), 1e-30)
    scales = np.repeat(size, expected.shape[1], axis=1)
    for own in (0, 3):  # the largest value and the sum of squares have sizes of their own
        scales[:, own] = np.maximum(np.maximum(expected[:, own], actual[:, own]), 1e-30)
    return float((np.abs(expected - actual) / scales)[:, :features].max())


def _have_same_ranges(one: LearntLayer, other: LearntLayer) -> bool:
    inputs = one.input_threshold, other.input_threshold
    outputs = one.output_threshold or 0.0, other.output_threshold or 0.0
    return all(abs(a - b) <= 1e-3 * max(abs(a), abs(b)) for a, b in (inputs, outputs))


def _described(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]}"


def _several(node: NodeProto) -> CompressionError:
    return CompressionError(
        f"{_described(node)}: several layers have its weights and read the same, and their ranges differ, so which one "
        "it is cannot be told. Pass --learner onnxruntime, or --precision fp32."
    )


def _no_counterpart(node: NodeProto, weight: NDArray[np.float32], learnt: Sequence[LearntLayer]) -> CompressionError:
    return CompressionError(
        f"{_described(node)} (weights {weight.shape}) is not among the {len(learnt)} layers whose ranges were learnt: "
        "the FP32 ONNX and the compressed model are not the same network. Compress this ONNX model again."
    )


def _has_weights(node: NodeProto, weight: NDArray[np.float32], item: LearntLayer) -> bool:
    """Equal up to one factor per output channel, since exporters fold a batch normalisation into the weights."""
    is_conv = node.op_type == "Conv"
    if is_conv != (item.op in CONVOLUTIONS):
        return False
    rows = np.moveaxis(weight, output_axis(node), 0)
    # Paddle keeps the weights of a matrix product as (in, out), or as (out, in) with a transposing attribute.
    layouts = (as_convolution(item.weight, rows.ndim),) if is_conv else (item.weight.T, item.weight)
    return any(_same_directions(rows, other) for other in layouts if other.shape == rows.shape)


def as_convolution(weight: NDArray[np.float32], rank: int) -> NDArray[np.float32]:
    """Paddle's weights in the rank of the ONNX node: a convolution of sequences is imported as one of height 1."""
    return weight[:, :, 0] if rank == 3 and weight.ndim == 4 and weight.shape[2] == 1 else weight


def _same_directions(weight: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return np.array_equal(other, weight) or np.allclose(_directions(weight), _directions(other), atol=2e-3)


def _directions(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = weight.reshape(weight.shape[0], -1)
    first = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    directions: NDArray[np.float32] = rows / np.where(first == 0, 1, first)[:, None]
    return directions
