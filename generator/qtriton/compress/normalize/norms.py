"""Normalisations in elementary operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qtriton.compress.normalize.graph import Graph, Replacement, attributes_of, describe, has_input
from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import NodeProto


def layer_normalization(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """Not ONNX's own function body: that takes E[x^2] - E[x]^2 for the variance, which cancels out."""
    if any(node.output[1:]):
        raise ConversionError(f"{describe(node)}: it also gives its mean")
    new, attributes = Replacement(graph, node), attributes_of(node)
    rank = len(graph.shape(node.input[0], node))
    axes = list(range(attributes.get("axis", -1) % rank, rank))
    normal = _normalized(new, node.input[0], axes, attributes.get("epsilon", 1e-5))
    if not has_input(node, 2):
        return new.result("Mul", normal, node.input[1])
    return new.result("Add", new("Mul", normal, node.input[1]), node.input[2])


def group_normalization(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """Scale and bias are those of channels; opset 18 had those of groups."""
    new, attributes = Replacement(graph, node), attributes_of(node)
    shape, groups = graph.shape(node.input[0], node), attributes["num_groups"]
    grouped = new.reshape(node.input[0], [shape[0], groups, int(np.prod(shape[1:])) // groups])
    normal = new.reshape(_normalized(new, grouped, [2], attributes.get("epsilon", 1e-5)), shape)
    scale, bias = (_per_channel(graph, node, new, index, shape) for index in (1, 2))
    return new.result("Add", new("Mul", normal, scale), bias)


def instance_normalization(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """Over each channel of each image."""
    new, shape = Replacement(graph, node), graph.shape(node.input[0], node)
    epsilon = attributes_of(node).get("epsilon", 1e-5)
    normal = _normalized(new, node.input[0], list(range(2, len(shape))), epsilon)
    scale, bias = (_per_channel(graph, node, new, index, shape) for index in (1, 2))
    return new.result("Add", new("Mul", normal, scale), bias)


def _per_channel(graph: Graph, node: NodeProto, new: Replacement, index: int, shape: tuple[int, ...]) -> str:
    values = graph.constant(node, index)
    if values is None:
        raise ConversionError(f"{describe(node)}: its weights are computed")
    return new.constant(np.repeat(values, shape[1] // len(values)).reshape(-1, *(1 for _ in shape[2:])))


def _normalized(new: Replacement, source: str, axes: list[int], epsilon: float) -> str:
    deviation = new("Sub", source, new("ReduceMean", source, axes=axes, keepdims=1))
    variance = new("ReduceMean", new("Mul", deviation, deviation), axes=axes, keepdims=1)
    return new("Div", deviation, new("Sqrt", new("Add", variance, new.constant([epsilon]))))
