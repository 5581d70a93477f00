"""ONNX graphs node by node, those of detectors' heads as their exporters write them, and how to run them."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from qtriton.placement.shapes import batched_shapes

Array = npt.NDArray[Any]
#: The shape of a tensor; a text is a size that is free.
Shape = Sequence[int | str]
#: What costs time for every number.
ARITHMETIC: Final = ("Sigmoid", "Exp", "Softmax", "Conv", "Mul", "Add", "Sub", "Div", "Pow")


class Net:
    """A graph that is written node by node."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node; the name of its output."""
        return self.add_many(op, inputs, [name or f"t{len(self.nodes)}"], **attributes)[0]

    def add_many(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> list[str]:
        """Add a node with these outputs."""
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), **attributes))
        return list(outputs)

    def constant(self, value: object, dtype: Any = np.float32) -> str:
        """The name of a new constant."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def split(self, tensor: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Cut a tensor along an axis."""
        outputs = [f"t{len(self.nodes)}_{number}" for number in range(len(sizes))]
        if self.opset < 13:
            return self.add_many("Split", [tensor], outputs, axis=axis, split=list(sizes))
        return self.add_many("Split", [tensor, self.constant(sizes, np.int64)], outputs, axis=axis)

    def slice(self, tensor: str, start: int, end: int, axis: int, step: int = 1) -> str:
        """A part of a tensor."""
        return self.add("Slice", tensor, *(self.constant([each], np.int64) for each in (start, end, axis, step)))

    def reshape(self, tensor: str, sizes: Sequence[int]) -> str:
        return self.add("Reshape", tensor, self.constant(sizes, np.int64))

    def model(self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], ir_version: int = 8) -> ModelProto:
        """The graph with its inputs and outputs, all float32 but what is called indexes."""
        kinds = {"indexes": TensorProto.INT64}
        begin, end = (
            [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape) for name, shape in side]
            for side in (inputs.items(), outputs.items())
        )
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "net", begin, end, constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
        onnx.checker.check_model(model)
        return model


def run(model: ModelProto, feed: Mapping[str, Array]) -> list[Array]:
    """The outputs of a model in ONNX Runtime, as it is written."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, dict(feed))
    return results


def arithmetic(model: ModelProto) -> list[tuple[str, int]]:
    """Every operation that costs time, and how many numbers an image it gives."""
    shapes = batched_shapes(model)
    costs = [(node.op_type, node.output[0]) for node in model.graph.node if node.op_type in ARITHMETIC]
    unknown = [name for _, name in costs if name not in shapes]
    assert not unknown, f"of unknown shape: {unknown}"
    return [(op, prod(shapes[name][1:])) for op, name in costs]


#: Strides of the levels of a head, for an input of 64 x 96 pixels.
STRIDES: Final = (8, 16, 32)
SIZES: Final = tuple((64 // stride, 96 // stride) for stride in STRIDES)
#: Rows of each level of YOLOv5: three anchors a place.
V5_ROWS: Final = tuple(3 * height * width for height, width in SIZES)
V8_ROWS: Final = sum(height * width for height, width in SIZES)


def yolov5(
    classes: int = 8,
    *,
    free: bool = True,
    sliced: bool = False,
    opset: int = 17,
    features: int = 0,
    half: bool = False,
    more: Callable[[Net, str], str] | None = None,
    image: str = "",
) -> tuple[ModelProto, dict[str, Shape]]:
    """The head of YOLOv5: rows [N, A, 5 + C + features]; the shapes of what its convolutions give.

    Args:
        classes: how many.
        free: whether the batch is free, and computed by Shape for each Reshape; else it is 1.
        sliced: whether the columns are cut by Slice, as before torch 1.13, not by Split.
        opset: of the model.
        features: columns behind the scores.
        half: whether the levels are joined in 16 bits, of which the output makes 32.
        more: what makes a second output of the first.
        image: the input of 64 x 96 pixels that the convolutions read; else what they give is the input.
    """
    net, columns = Net(opset), 5 + classes + features
    batch: int | str = "batch" if free else 1
    inputs: dict[str, Shape] = {image: [batch, 3, 64, 96]} if image else {}
    levels = []
    for level, (height, width) in enumerate(SIZES):
        name, stride = f"p{level}", STRIDES[level]
        if image:
            weights = np.random.default_rng(level).normal(0, 0.2, (3 * columns, 3, stride, stride))
            net.add("Conv", image, net.constant(weights), name=name, strides=[stride, stride])
        else:
            inputs[name] = [batch, 3 * columns, height, width]
        levels.append(_yolov5_level(net, name, level, columns, free=free, sliced=sliced))
    if half:
        levels = [net.add("Cast", level, to=TensorProto.FLOAT16) for level in levels]
        net.add("Cast", net.add("Concat", *levels, axis=1), name="output", to=TensorProto.FLOAT)
    else:
        net.add("Concat", *levels, name="output", axis=1)
    outputs: dict[str, Shape] = {"output": [batch, sum(V5_ROWS), columns]}
    if more is not None:
        outputs[more(net, "output")] = [batch, sum(V5_ROWS), columns]
    return net.model(inputs, outputs), inputs


def _yolov5_level(net: Net, image: str, level: int, columns: int, *, free: bool, sliced: bool) -> str:
    (height, width), stride = SIZES[level], float(STRIDES[level])
    ys, xs = np.mgrid[:height, :width]
    grid = np.broadcast_to(np.stack([xs, ys], -1) - 0.5, (1, 3, height, width, 2))
    anchors = np.broadcast_to(
        np.array([[10, 13], [16, 30], [33, 23]]).reshape(1, 3, 1, 1, 2) * (level + 1), (1, 3, height, width, 2)
    )
    cut = _sizes(net, image, [3, columns, height, width], free=free)
    tensor = net.add("Reshape", image, cut)
    tensor = net.add("Sigmoid", net.add("Transpose", tensor, perm=[0, 1, 3, 4, 2]))
    if sliced:
        far = 2**31 - 1
        xy, wh, rest = (net.slice(tensor, *bounds, -1) for bounds in ((0, 2), (2, 4), (4, far)))
    else:
        xy, wh, rest = net.split(tensor, [2, 2, columns - 4], 4)
    xy = net.add("Mul", net.add("Add", net.add("Mul", xy, net.constant(2)), net.constant(grid)), net.constant(stride))
    wh = net.add("Mul", net.add("Pow", net.add("Mul", wh, net.constant(2)), net.constant(2)), net.constant(anchors))
    rows = net.add("Concat", xy, wh, rest, axis=4)
    return net.add("Reshape", rows, _sizes(net, image, [3 * height * width, columns], free=free))


def _sizes(net: Net, image: str, sizes: Sequence[int], *, free: bool) -> str:
    """A shape with the batch in front, computed where that is free."""
    if not free:
        return net.constant([1, *sizes], np.int64)
    batch = net.add("Gather", net.add("Shape", image), net.constant(0, np.int64))
    parts = [net.add("Unsqueeze", batch, net.constant([0], np.int64))] if net.opset >= 13 else []
    parts = parts or [net.add("Unsqueeze", batch, axes=[0])]
    return net.add("Concat", *parts, *(net.constant([size], np.int64) for size in sizes), axis=0)


def yolov8(
    classes: int = 8, *, free: bool = True, turned: bool = False, features: int = 0, premultiplied: bool = False
) -> tuple[ModelProto, dict[str, Shape]]:
    """The head of YOLOv8: [N, 4 + C + features, A]; the shapes of what its convolutions give.

    Args:
        classes: how many.
        free: whether the batch is free; else it is 1.
        turned: whether the rows come first.
        features: columns behind the scores, as mask coefficients.
        premultiplied: whether scores are multiplied by an objectness, which is no column.
    """
    net, reach = Net(), 4
    raw = 4 * reach + classes + premultiplied
    batch: int | str = "batch" if free else 1
    inputs: dict[str, Shape] = {f"p{level}": [batch, raw, *size] for level, size in enumerate(SIZES)}
    images = list(inputs)
    joined = net.add("Concat", *(net.reshape(image, [0, raw, -1]) for image in images), axis=2)
    boxes, *scores = net.split(joined, [4 * reach, classes, *[1] * premultiplied], 1)
    distances = net.add("Transpose", net.reshape(boxes, [0, 4, reach, V8_ROWS]), perm=[0, 2, 1, 3])
    bins = net.constant(np.arange(reach).reshape(1, reach, 1, 1))
    distances = net.add("Conv", net.add("Softmax", distances, axis=1), bins, kernel_shape=[1, 1])
    left, right = net.split(net.reshape(distances, [0, 4, V8_ROWS]), [2, 2], 1)
    centres = [np.mgrid[:height, :width][::-1].reshape(2, -1) + 0.5 for height, width in SIZES]
    places = net.constant(np.concatenate(centres, 1)[np.newaxis])
    low, high = net.add("Sub", places, left), net.add("Add", right, places)
    middle = net.add("Div", net.add("Add", low, high), net.constant(2))
    box = net.add("Concat", middle, net.add("Sub", high, low), axis=1)
    strides = np.repeat(STRIDES, [height * width for height, width in SIZES])
    box = net.add("Mul", box, net.constant(strides[np.newaxis]))
    score = net.add("Sigmoid", scores[0])
    if premultiplied:
        score = net.add("Mul", score, net.add("Sigmoid", scores[1]))
    parts = [box, score]
    if features:
        inputs["coefficients"] = [batch, features, V8_ROWS]
        parts.append("coefficients")
    columns = 4 + classes + features
    end = net.add("Concat", *parts, name="turned" if turned else "output", axis=-2)
    if turned:
        net.add("Transpose", end, name="output", perm=[0, 2, 1])
        return net.model(inputs, {"output": [batch, V8_ROWS, columns]}), inputs
    return net.model(inputs, {"output": [batch, columns, V8_ROWS]}), inputs
