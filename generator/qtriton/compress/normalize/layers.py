"""Layers with weights and poolings, in the one form that x2paddle reads and Paddle quantizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from qtriton.compress.normalize.graph import Graph, Replacement, attributes_of, describe, has_input, set_attribute
from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import NodeProto

#: Attributes with one number an axis of the image, and how a 1-D one becomes a 2-D one of height 1.
_SPATIAL: Final = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}


def gemm(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """A Gemm of two or three plain operands: the factors and the transpositions go into the constants.

    x2paddle needs C and takes no alpha; Paddle 2.6.2 quantizes transposed weights along the wrong axis.
    """
    new, attributes = Replacement(graph, node), attributes_of(node)
    first, second = node.input[0], node.input[1]
    if attributes.get("transA"):
        first = new("Transpose", first, perm=[1, 0])
    second = _scaled(graph, new, second, attributes.get("alpha", 1.0), bool(attributes.get("transB")))
    beta = attributes.get("beta", 1.0)
    if not has_input(node, 2) or beta == 0:
        return new.result("MatMul", first, second)
    third = _scaled(graph, new, node.input[2], beta, False)
    return new.result("Gemm", first, second, third)


def _scaled(graph: Graph, new: Replacement, name: str, factor: float, transpose: bool) -> str:
    """A tensor times a factor and transposed, if that changes anything: at once where it is a constant."""
    constant = graph.constants.get(name)
    if constant is None:
        name = new("Transpose", name, perm=[1, 0]) if transpose else name
        return name if factor == 1 else new("Mul", name, new.constant([factor]))
    if factor == 1 and not transpose:
        return name
    return new.constant((constant.T if transpose else constant) * np.float32(factor))


def convolution(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """A convolution with its sizes written down; one of sequences becomes one of images of height 1.

    Paddle reshapes the weights of a Conv1D in the program, where ACT does not find them.
    """
    weight_shape = graph.shape(node.input[1], node)
    if not attributes_of(node).get("kernel_shape"):
        set_attribute(node, "kernel_shape", weight_shape[2:])
    if len(weight_shape) != 3:
        return [node]
    weight = graph.constant(node, 1)
    if weight is None:
        raise ConversionError(f"{describe(node)}: its weights are computed")
    new = Replacement(graph, node)
    return _on_height_one(graph, node, new, [new.constant(weight[:, :, None]), *node.input[2:]])


def pooling(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """A pooling with its strides: those that are left out are 1 for ONNX, and the kernel's for Paddle."""
    attributes = attributes_of(node)
    kernel = attributes["kernel_shape"]
    if not attributes.get("strides"):
        set_attribute(node, "strides", [1] * len(kernel))
    if set(attributes.get("dilations", [])) == {1}:
        set_attribute(node, "dilations", None)  # x2paddle refuses it, even where it says nothing
    if len(kernel) != 1 or len(node.output) > 1:
        return [node]
    return _on_height_one(graph, node, Replacement(graph, node), [])


def _on_height_one(graph: Graph, node: NodeProto, new: Replacement, weights: list[str]) -> Sequence[NodeProto]:
    batch, channels, length = graph.shape(node.input[0], node)
    attributes = attributes_of(node)
    for name in _SPATIAL.keys() & attributes.keys():
        attributes[name] = [_SPATIAL[name], *attributes[name]]
    if "pads" in attributes:
        before, after = attributes["pads"]
        attributes["pads"] = [0, before, 0, after]
    image = new.reshape(node.input[0], [batch, channels, 1, length])
    return new.ending_with(
        new.reshape(new(node.op_type, image, *weights, **attributes), graph.shape(node.output[0], node))
    )


def prelu(graph: Graph, node: NodeProto) -> Sequence[NodeProto]:
    """One slope, or one a channel, as [C, 1, 1]; other slopes as x - x's negative part, scaled."""
    slope, shape = graph.constant(node, 1), graph.shape(node.input[0], node)
    new = Replacement(graph, node)
    if slope is not None and len(shape) > 2:
        aligned = slope.reshape((1,) * (len(shape) - slope.ndim) + slope.shape)
        if aligned.size in (1, aligned.shape[1]):
            return new.result("PRelu", node.input[0], new.constant(aligned.reshape(-1, *(1 for _ in shape[2:]))))
    negative = new("Relu", new("Neg", node.input[0]))
    return new.result("Sub", new("Relu", node.input[0]), new("Mul", negative, node.input[1]))
