"""Random small networks of the kinds that people have, as ONNX, for what must hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats: TypeAlias = NDArray[np.float32]
#: An activation: its name, channels, height and width.
Tensor: TypeAlias = tuple[str, int, int, int]

SIZE: Final = 16
_CHANNELS: Final = 4


@dataclass
class Builder:
    """A graph that grows block by block."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    #: Weights that a later convolution may use again, by (outputs, inputs per group, kernel, groups).
    kernels: dict[tuple[int, int, int, int], str] = field(default_factory=dict)

    def constant(self, values: NDArray[np.generic]) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def pick(self, *values: int) -> int:
        return int(self.rng.choice(values))


def network(seed: int) -> onnx.ModelProto:
    """A network of 3 to 8 blocks and a head: image float32 [N, 3, 16, 16] to y float32 [N, 5]."""
    builder = Builder(np.random.default_rng(seed))
    tensor = conv(builder, ("image", 3, SIZE, SIZE))
    for _ in range(builder.pick(3, 4, 5, 6, 7, 8)):
        block = BLOCKS[int(builder.rng.integers(len(BLOCKS)))]
        tensor = block(builder, tensor)
    name, channels, _, _ = tensor
    pooled = builder.node("Flatten", [builder.node("GlobalAveragePool", [name])])
    weight = builder.constant(builder.rng.normal(size=(5, channels)).astype(np.float32))
    bias = builder.constant(builder.rng.normal(size=5).astype(np.float32))
    builder.nodes.append(helper.make_node("Gemm", [pooled, weight, bias], ["y"], transB=1))
    graph = helper.make_graph(
        builder.nodes,
        "random",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        builder.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def conv(builder: Builder, tensor: Tensor) -> Tensor:
    """Any convolution: plain, strided, dilated, grouped, depthwise, one channel in and several out; weights shared."""
    name, channels, height, width = tensor
    kernel = builder.pick(1, 3, 3, 5)
    stride = builder.pick(1, 1, 2) if min(height, width) >= 4 else 1
    dilation = builder.pick(1, 1, 2) if stride == 1 and kernel == 3 else 1
    groups = builder.pick(1, 1, channels) if channels > 1 else 1
    outputs = channels * builder.pick(1, 2) if groups > 1 else builder.pick(4, 8, 12)
    outputs = outputs if outputs <= 24 else channels
    shape = (outputs, channels // groups, kernel, groups)
    if shape not in builder.kernels or builder.rng.random() < 0.5:
        fan = channels // groups * kernel * kernel
        weight = builder.rng.normal(size=(*shape[:2], kernel, kernel)) * (2 / fan) ** 0.5
        builder.kernels[shape] = builder.constant(weight.astype(np.float32))
    inputs = [name, builder.kernels[shape]]
    if builder.rng.random() < 0.7:
        inputs.append(builder.constant((builder.rng.normal(size=outputs) * 0.3).astype(np.float32)))
    pad = dilation * (kernel - 1) // 2
    output = builder.node(
        "Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, dilations=[dilation] * 2, group=groups,
        pads=[pad] * 4,
    )  # fmt: skip
    return output, outputs, (height - 1) // stride + 1, (width - 1) // stride + 1


def activation(builder: Builder, tensor: Tensor) -> Tensor:
    name = tensor[0]
    match builder.pick(0, 1, 2, 3, 4, 5):
        case 0:
            output = builder.node("Relu", [name])
        case 1:
            limits = [builder.constant(np.array(value, np.float32)) for value in (0, 6)]
            output = builder.node("Clip", [name, *limits])
        case 2:
            output = builder.node("LeakyRelu", [name], alpha=0.1)
        case 3:
            output = builder.node("Sigmoid", [name])
        case 4:
            output = builder.node("Mul", [name, builder.node("Sigmoid", [name])])
        case _:
            gate = builder.node("HardSigmoid", [name], alpha=1 / 6, beta=0.5)
            output = builder.node("Mul", [name, gate])
    return output, *tensor[1:]


def layer(builder: Builder, tensor: Tensor) -> Tensor:
    return activation(builder, conv(builder, tensor))


def residual(builder: Builder, tensor: Tensor) -> Tensor:
    """x + f(x), f one or two convolutions of the same shape."""
    name, channels, height, width = tensor
    weight = builder.rng.normal(size=(channels, channels, 3, 3)) * (2 / channels / 9) ** 0.5
    kernel = builder.constant(weight.astype(np.float32))
    inner = name
    for _ in range(builder.pick(1, 2)):  # the same weights twice
        inner = activation(builder, (builder.node("Conv", [inner, kernel], pads=[1] * 4), channels, height, width))[0]
    return activation(builder, (builder.node("Add", [name, inner]), channels, height, width))


def coordinates(builder: Builder, tensor: Tensor) -> Tensor:
    """The activation beside constants that exceed it, such as CoordConv's."""
    name, channels, height, width = tensor
    size = 10.0 ** builder.rng.uniform(-1, 0.7)
    grid = np.linspace(-size, size, height * width, dtype=np.float32).reshape(1, 1, height, width)
    start = builder.node("Slice", [name, *(builder.constant(np.array([value], np.int64)) for value in (0, 1, 1))])
    zeros = builder.node("Mul", [start, builder.constant(np.zeros(1, np.float32))])
    return (
        builder.node("Concat", [name, builder.node("Add", [zeros, builder.constant(grid)])], axis=1),
        (channels + 1),
        height,
        width,
    )


def branches(builder: Builder, tensor: Tensor) -> Tensor:
    """Two paths that a Concat joins, one of them perhaps pooled."""
    name, channels, height, width = tensor
    pooled = builder.node("MaxPool", [name], kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
    other = activation(builder, tensor)[0]
    return builder.node("Concat", [pooled, other], axis=1), 2 * channels, height, width


def resized(builder: Builder, tensor: Tensor) -> Tensor:
    name, channels, height, width = tensor
    if height > SIZE // 2:
        pooled = builder.node("AveragePool", [name], kernel_shape=[2, 2], strides=[2, 2])
        return pooled, channels, height // 2, width // 2
    mode = ("nearest", "linear", "cubic")[builder.pick(0, 1, 2)]
    scales = builder.constant(np.array([1, 1, 2, 2], np.float32))
    return builder.node("Resize", [name, "", scales], mode=mode), channels, 2 * height, 2 * width


def shifted(builder: Builder, tensor: Tensor) -> Tensor:
    """An addition or a product with a constant per channel."""
    name, channels, height, width = tensor
    values = builder.constant(builder.rng.normal(size=(1, channels, 1, 1)).astype(np.float32))
    return builder.node(("Add", "Mul")[builder.pick(0, 1)], [name, values]), channels, height, width


def attention(builder: Builder, tensor: Tensor) -> Tensor:
    """Softmax(q k) v over the pixels, each a product with constant weights, and a residual."""
    name, channels, height, width = tensor
    shape = builder.constant(np.array([0, channels, height * width], np.int64))
    tokens = builder.node("Transpose", [builder.node("Reshape", [name, shape])], perm=[0, 2, 1])
    # Queries and keys such that the softmax weighs several pixels, as a trained network's does.
    sizes = (0.3, 0.3, 1.0)
    weights = (size * builder.rng.normal(size=(channels, channels)) / channels**0.5 for size in sizes)
    q, k, v = (builder.node("MatMul", [tokens, builder.constant(each.astype(np.float32))]) for each in weights)
    product = builder.node("MatMul", [q, builder.node("Transpose", [k], perm=[0, 2, 1])])
    scaled = builder.node("Mul", [product, builder.constant(np.array(channels**-0.5, np.float32))])
    mixed = builder.node("MatMul", [builder.node("Softmax", [scaled], axis=-1), v])
    summed = builder.node("Add", [tokens, mixed])
    back = builder.constant(np.array([0, channels, height, width], np.int64))
    return (
        builder.node("Reshape", [builder.node("Transpose", [summed], perm=[0, 2, 1]), back]), channels, height, width,
    )  # fmt: skip


BLOCKS: Final[tuple[Callable[[Builder, Tensor], Tensor], ...]] = (
    layer, layer, layer, residual, coordinates, branches, resized, shifted, attention, conv,
)  # fmt: skip
