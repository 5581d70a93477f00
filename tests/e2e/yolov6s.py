"""YOLOv6s as release 0.1.0 exports it, with random weights: it finds bright squares, and nothing that anybody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE: Final = 640
#: yolov6/models/efficientrep.py and reppan.py with configs/yolov6s.py: width 0.5, depth 0.33.
BACKBONE: Final = ((64, 2), (128, 4), (256, 6), (512, 2))
NECK_REPEATS: Final = 4
CLASSES: Final = 80
#: What a convolution lets through of what is in the middle of its kernel; the rest is blurred.
_MIDDLE: Final = 0.9


class Net:
    """A graph that grows layer by layer; a tensor is its name and its channels."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(values, f"k{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [f"t{len(self.nodes)}"], **attributes))
        return str(self.nodes[-1].output[0])

    def weights(self, out: int, channels: int, kernel: int) -> NDArray[np.float32]:
        """Positive ones that keep the level of what they read, as fused RepVGG blocks with their identity do."""
        weight = self.rng.uniform(0.2, 1.0, (out, channels, kernel, kernel))
        shares = np.full((kernel, kernel), (1 - _MIDDLE) / (kernel**2 - 1) if kernel > 1 else 0)
        shares[kernel // 2, kernel // 2] = 1 - shares.sum() + shares[0, 0]
        return np.asarray(weight / weight.sum(1, keepdims=True) * shares, np.float32)

    def conv(self, x: tuple[str, int], out: int, kernel: int, stride: int = 1, act: str = "Relu") -> tuple[str, int]:
        weight = self.constant(self.weights(out, x[1], kernel))
        bias = self.constant(self.rng.normal(0, 0.01, out).astype(np.float32))
        y = self.node(
            "Conv", x[0], weight, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4
        )
        return (self.node("Relu", y) if act == "Relu" else self.node("Mul", y, self.node("Sigmoid", y))), out

    def rep_block(self, x: tuple[str, int], out: int, repeats: int) -> tuple[str, int]:
        for _ in range(repeats):
            x = self.conv(x, out, 3)
        return x

    def concat(self, *tensors: tuple[str, int]) -> tuple[str, int]:
        return self.node("Concat", *(name for name, _ in tensors), axis=1), sum(count for _, count in tensors)

    def upsample(self, x: tuple[str, int]) -> tuple[str, int]:
        weight = self.rng.uniform(0.2, 1.0, (x[1], x[1], 2, 2))
        weights = self.constant((weight / weight.sum(0, keepdims=True)).astype(np.float32))
        bias = self.constant(np.zeros(x[1], np.float32))
        return self.node("ConvTranspose", x[0], weights, bias, kernel_shape=[2, 2], strides=[2, 2]), x[1]

    def predict(self, x: tuple[str, int], gains: NDArray[Any], biases: NDArray[Any]) -> str:
        """A last convolution, whose outputs follow the level of what they read."""
        weight = self.weights(len(gains), x[1], 1) * gains.astype(np.float32)[:, None, None, None]
        return self.node(
            "Conv", x[0], self.constant(weight), self.constant(biases.astype(np.float32)), kernel_shape=[1, 1]
        )


def yolov6s(path: Path, seed: int = 0) -> Path:
    """Write the model: image_arrays float32 [1, 3, 640, 640] to outputs [1, 8400, 85], decoded."""
    net = Net(seed)
    x = net.conv(("image_arrays", 3), 32, 3, 2)
    levels = []
    for channels, repeats in BACKBONE:
        x = net.rep_block(net.conv(x, channels, 3, 2), channels, repeats)
        levels.append(x)
    x = net.conv(x, 256, 1)
    pools = [x]
    for _ in range(3):
        pools.append((net.node("MaxPool", pools[-1][0], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]), 256))
    levels[-1] = net.conv(net.concat(*pools), 512, 1)

    _, c3, c4, c5 = levels
    top = net.conv(c5, 128, 1)
    middle = net.rep_block(net.concat(net.upsample(top), c4), 128, NECK_REPEATS)
    middle = net.conv(middle, 64, 1)
    p3 = net.rep_block(net.concat(net.upsample(middle), c3), 64, NECK_REPEATS)
    p4 = net.rep_block(net.concat(net.conv(p3, 64, 3, 2), middle), 128, NECK_REPEATS)
    p5 = net.rep_block(net.concat(net.conv(p4, 128, 3, 2), top), 256, NECK_REPEATS)

    rows = net.node("Concat", *(head(net, x, stride) for x, stride in ((p3, 8), (p4, 16), (p5, 32))), axis=1)
    net.nodes.append(helper.make_node("Identity", [rows], ["outputs"]))
    image = helper.make_tensor_value_info("image_arrays", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    outputs = helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [1, 8400, 5 + CLASSES])
    graph = helper.make_graph(net.nodes, "yolov6s", [image], [outputs], net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def head(net: Net, x: tuple[str, int], stride: int) -> str:
    """Rows [1, cells, 85] of a level: yolov6/models/effidehead.py."""
    stem = net.conv(x, x[1], 1, act="SiLU")
    features = [net.conv(stem, x[1], 3, act="SiLU") for _ in range(2)]
    classes = net.predict(features[0], np.linspace(2, 4, CLASSES), np.linspace(-14, -1, CLASSES))
    box = net.predict(features[1], np.full(4, 0.01), np.array([0.5, 0.5, -0.1, -0.1]))
    objectness = net.predict(features[1], np.array([30.0]), np.array([-5.0]))
    scores = (net.node("Sigmoid", each) for each in (objectness, classes))
    side = SIZE // stride
    shape = net.constant(np.array([1, 5 + CLASSES, side * side]))
    rows = net.node("Transpose", net.node("Reshape", net.node("Concat", box, *scores, axis=1), shape), perm=[0, 2, 1])
    centre, size, rest = (net.node("Slice", rows, *map(net.constant, bounds)) for bounds in slices(2, 4, 5 + CLASSES))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(1, -1, 2).astype(np.float32)
    scale = net.constant(np.array(stride, np.float32))
    centre = net.node("Mul", net.node("Add", centre, net.constant(grid)), scale)
    return net.node("Concat", centre, net.node("Mul", net.node("Exp", size), scale), rest, axis=2)


def slices(*ends: int) -> list[tuple[NDArray[Any], ...]]:
    """Starts, ends and axes of the parts of the last axis."""
    return [tuple(np.array([each]) for each in (start, end, 2)) for start, end in zip((0, *ends), ends, strict=False)]


def bright_squares(seed: int) -> bytes:
    """A JPEG file of noise in the dark, with three bright squares."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 40, (480, 640, 3), dtype=np.uint8)
    for _ in range(3):
        left, top, side = int(rng.integers(0, 580)), int(rng.integers(0, 420)), int(rng.integers(30, 55))
        image[top : top + side, left : left + side] = rng.integers(200, 256, 3)
    return bytes(cv2.imencode(".jpg", image)[1])
