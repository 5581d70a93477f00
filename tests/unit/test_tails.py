"""The tail of a detector is known by its structure, stays in floating point, and keeps what the layers computed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qtriton.progress import ignore
from qtriton.quantize.activations import Feeding, write_maxima
from qtriton.quantize.graph import GraphView
from qtriton.quantize.learner import learn_from_onnx
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import Writer, emit
from qtriton.quantize.sensitivity import SingleLayerQuantizer, rank
from qtriton.quantize.tails import is_in_tail, is_learnable, is_mean_of_bins
from qtriton.recipe import Algorithm
from qtriton.target import Precision, Target

Floats = npt.NDArray[np.float32]
SIDE, CELLS, BINS, CLASSES = 32, 64, 16, 5
POLICIES = {"onnxruntime": Policy(), "openvino": Policy(image_layer=True, between=False)}


def head(path: Path) -> Path:
    """A small YOLOv8: stem, two branches, boxes by a Softmax over 16 bins in pixels, joined with scores: [1, 9, 64]."""
    rng = np.random.default_rng(7)
    held: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: npt.NDArray[np.generic]) -> str:
        held.append(numpy_helper.from_array(value, name))
        return name

    def conv(name: str, source: str, shape: tuple[int, ...], stride: int = 1, spread: float = 1.0) -> str:
        pads = [shape[2] // 2] * 4
        weight = rng.normal(size=shape) * spread * 1.6 / np.sqrt(np.prod(shape[1:]))
        names = [
            constant(f"{name}_w", weight.astype(np.float32)),
            constant(f"{name}_b", np.zeros(shape[0], np.float32)),
        ]
        nodes.append(helper.make_node("Conv", [source, *names], [name], strides=[stride] * 2, pads=pads))
        return name

    def silu(name: str, source: str) -> str:
        nodes.append(helper.make_node("Sigmoid", [source], [f"{name}_gate"]))
        nodes.append(helper.make_node("Mul", [source, f"{name}_gate"], [name]))
        return name

    def op(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    stem = silu("s0", conv("c0", "x", (16, 3, 3, 3), 2))
    stem = silu("s1", conv("c1", stem, (32, 16, 3, 3), 2))
    box = conv("box", silu("s2", conv("c2", stem, (32, 32, 3, 3))), (4 * BINS, 32, 1, 1), spread=2.0)
    score = conv("score", silu("s3", conv("c3", stem, (32, 32, 3, 3))), (CLASSES, 32, 1, 1), spread=2.0)
    sides = op("Reshape", [box, constant("as_bins", np.array([0, 4, BINS, CELLS], np.int64))], "bins")
    sides = op("Softmax", [op("Transpose", [sides], "moved", perm=[0, 2, 1, 3])], "distribution", axis=1)
    ramp = constant("ramp", np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1))
    sides = op("Conv", [sides, ramp], "mean")
    sides = op("Reshape", [sides, constant("as_sides", np.array([0, 4, CELLS], np.int64))], "sides")
    boxes = op("Mul", [sides, constant("stride", np.float32(32.0).reshape(1))], "boxes")
    scores = op("Reshape", [score, constant("as_scores", np.array([0, CLASSES, CELLS], np.int64))], "logits")
    op("Concat", [boxes, op("Sigmoid", [scores], "scores")], "y", axis=1)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4 + CLASSES, CELLS])
    graph = helper.make_graph(nodes, "head", [x], [y], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def run(path: Path, images: Floats) -> Floats:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": image[np.newaxis]})[0] for image in images])


def decibels(expected: Floats, actual: Floats) -> float:
    return float(10 * np.log10((expected**2).sum() / ((expected - actual) ** 2).sum()))


def behind(model: ModelProto, tensors: set[str]) -> set[str]:
    """The kinds of nodes that read these tensors, or what is computed of them."""
    kinds: set[str] = set()
    for node in model.graph.node:
        if tensors & set(node.input):
            kinds.add(node.op_type)
            tensors = tensors | set(node.output)
    return kinds


@pytest.mark.parametrize("backend", POLICIES)
@pytest.mark.parametrize("algorithm", [Algorithm.ABS_MAX, Algorithm.MAX_P90])
def test_boxes_and_scores_keep_what_the_layers_computed(backend: str, algorithm: Algorithm, tmp_path: Path) -> None:
    images = np.random.default_rng(3).normal(size=(8, 3, SIDE, SIDE)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    fp32, int8 = head(tmp_path / "fp32.onnx"), tmp_path / "int8.onnx"
    write_maxima(fp32, Feeding(tmp_path / "images.npy", "x", {}), tmp_path / "maxima.npz", ignore)
    scales = learn_from_onnx(fp32, algorithm, tmp_path, None)

    report = emit(fp32, scales, Target(backend, Precision.INT8, vnni=True), int8, POLICIES[backend])

    expected, actual = run(fp32, images), run(int8, images)
    assert decibels(expected[:, 4:], actual[:, 4:]) > 25, "scores"
    assert decibels(expected[:, :4], actual[:, :4]) > 25, "boxes"
    assert {"box", "score", "mean"} <= set(report.float_reasons)
    assert not behind(onnx.load(str(int8)), {"box", "score"}) & {"QuantizeLinear", "DequantizeLinear"}
    costs = [replace(cost, divergence=1.0) for cost in SingleLayerQuantizer(fp32, scales, Writer).costs()]
    assert [cost.node for cost in rank(costs)] == ["c0", "c1", "c2", "c3"], "what is float anyway is not searched"


def test_the_last_layers_are_those_before_the_distribution(tmp_path: Path) -> None:
    view = GraphView(onnx.load(str(head(tmp_path / "head.onnx"))))
    tail = [node.output[0] for node in view.nodes if node.op_type == "Conv" and is_in_tail(view, node)]
    assert tail == ["box", "score", "mean"]
    assert [node.output[0] for node in view.nodes if is_mean_of_bins(view, node)] == ["mean"]


@pytest.mark.parametrize(
    ("kind", "source", "weight", "expected"),
    [
        ("MatMul", "Softmax", np.arange(8.0), True),
        ("MatMul", "Softmax", np.array([-9.0, -2.0, 0.0, 2.0, 9.0, 20.0, 31.0, 40.0]), True),  # uneven, as D-FINE's
        ("Gemm", "Softmax", np.arange(8.0).reshape(8, 1), True),
        ("MatMul", "Sigmoid", np.arange(8.0), False),
        ("MatMul", "Softmax", np.array([0.0, 3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0]), False),
        ("MatMul", "Softmax", np.arange(16.0).reshape(8, 2), False),
    ],
)
def test_a_mean_needs_rising_weights_behind_a_softmax(
    kind: str, source: str, weight: npt.NDArray[np.float64], expected: bool
) -> None:
    nodes = [
        helper.make_node(source, ["x"], ["distribution"]),
        helper.make_node("Reshape", ["distribution", "shape"], ["moved"]),
        helper.make_node(kind, ["moved", "w"], ["y"]),
    ]
    held = [
        numpy_helper.from_array(weight.astype(np.float32), "w"),
        numpy_helper.from_array(np.array([-1, 8], np.int64), "shape"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    view = GraphView(helper.make_model(helper.make_graph(nodes, "mean", [x], [y], held)))
    product = view.nodes[-1]
    assert is_mean_of_bins(view, product) is expected
    assert is_learnable(view, product) is not expected


def test_a_product_of_two_activations_is_no_layer() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("MatMul", ["r", "x"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 4])
    view = GraphView(helper.make_model(helper.make_graph(nodes, "attention", [x], [y])))
    assert not is_learnable(view, view.nodes[1])
    assert is_in_tail(view, view.nodes[0])
