"""Which layer of Paddle's program is which node of the ONNX graph: decided by the weights themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.scales import LearntLayer
from qtriton.errors import CompressionError
from qtriton.quantize.graph import GraphView, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

CONVOLUTIONS: Final = frozenset({"conv2d", "depthwise_conv2d"})


@dataclass(frozen=True, eq=False)
class Layer:
    """A node with constant weights and what ACT learnt about it; channel is the weight's output axis."""

    node: NodeProto
    weight: NDArray[np.float32]
    channel: int
    learnt: LearntLayer


def match_layers(view: GraphView, learnt: Sequence[LearntLayer]) -> dict[str, Layer]:
    """Every Conv, Gemm and MatMul with constant weights, by the name of its output; each must have a counterpart."""
    candidates = list(learnt)
    matched: dict[str, Layer] = {}
    for node in view.nodes:
        weight = layer_weight(view, node)
        if weight is None:
            continue
        channel = output_axis(node)
        counterpart = next(
            (item for item in candidates if _same(node.op_type, np.moveaxis(weight, channel, 0), item)), None
        )
        if counterpart is None:
            raise CompressionError(
                f"{node.op_type} {node.name or node.output[0]} (weights {weight.shape}) is not among the "
                f"{len(learnt)} layers that ACT quantized: the FP32 ONNX and the compressed model are not the "
                "same network. Compress this ONNX model again."
            )
        candidates.remove(counterpart)
        matched[node.output[0]] = Layer(node, weight, channel, counterpart)
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


def _same(op_type: str, weight: NDArray[np.float32], item: LearntLayer) -> bool:
    """Equal up to one factor per output channel, since exporters fold a batch normalisation into the weights."""
    is_conv = op_type == "Conv"
    if is_conv != (item.op in CONVOLUTIONS):
        return False
    # Paddle keeps the weights of a matrix product as (in, out), or as (out, in) with a transposing attribute.
    layouts = (as_convolution(item.weight, weight.ndim),) if is_conv else (item.weight.T, item.weight)
    return any(_same_directions(weight, other) for other in layouts if other.shape == weight.shape)


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
