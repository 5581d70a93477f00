"""Rewrites before quantization: the same function, and integers all the way."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.compress.scales import LearntLayer, Scales
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import match_layers
from qtriton.quantize.qdq import emit
from qtriton.quantize.rewrite import rewrite
from qtriton.target import Method, Precision, Target

SIDE = 16
Floats = npt.NDArray[np.float32]


def image_net(kernel: tuple[int, int], pads: list[int], side: int = SIDE, strides: int = 2) -> onnx.ModelProto:
    """image -> conv -> relu -> conv -> relu -> conv, with a free batch."""
    rng = np.random.default_rng(5)
    held = [
        numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name)
        for name, shape in (("w0", (8, 3, *kernel)), ("b0", (8,)), ("w1", (8, 8, 1, 1)), ("w2", (4, 8, 1, 1)))
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["c0"], name="first", pads=pads, strides=[strides] * 2),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], name="second"),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["y"], name="last"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, None, None])
    graph = helper.make_graph(nodes, "net", [image], [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def scales(model: onnx.ModelProto) -> Scales:
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    learnt = tuple(LearntLayer(f"l{i}", "conv2d", weights[f"w{i}"], 4.0, 4.0) for i in range(3))
    return Scales(Method.PTQ, "avg", learnt, image=(0.0, 1.0))


def answer(model: onnx.ModelProto, images: Floats) -> Floats:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Floats = session.run(None, {"image": images})[0]
    return found


@pytest.mark.parametrize("kernel", [(5, 5), (6, 6), (7, 7), (5, 8)])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [2, 2, 2, 2], [3, 3, 3, 3], [1, 2, 0, 3], [0, 1, 2, 1]])
def test_an_image_layer_of_stride_2_computes_the_same_on_blocks(kernel: tuple[int, int], pads: list[int]) -> None:
    model = image_net(kernel, pads)
    images = np.random.default_rng(1).random((2, 3, SIDE, SIDE), np.float32)
    before = answer(model, images)
    layers = rewrite(model, match_layers(GraphView(model), scales(model).layers))
    assert [node.op_type for node in model.graph.node][:2] == ["SpaceToDepth", "Conv"]
    assert layers["c0"].weight.shape[1] == 12
    np.testing.assert_allclose(answer(model, images), before, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "side", "strides"), [((3, 3), SIDE, 2), ((6, 6), SIDE + 1, 2), ((6, 6), SIDE, 1)], ids=str
)
def test_what_would_not_pay_or_not_fit_stays(kernel: tuple[int, int], side: int, strides: int) -> None:
    model = image_net(kernel, [2, 2, 2, 2], side, strides)
    before = model.SerializeToString()
    rewrite(model, match_layers(GraphView(model), scales(model).layers))
    assert model.SerializeToString() == before


def test_the_image_layer_runs_in_integers(tmp_path: Path) -> None:
    model = image_net((6, 6), [2, 2, 2, 2])
    onnx.save(model, str(tmp_path / "fp32.onnx"))
    target = Target("onnxruntime", Precision.INT8)
    emit(tmp_path / "fp32.onnx", scales(model), target, tmp_path / "int8.onnx")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(tmp_path / "int8.onnx"), options, providers=["CPUExecutionProvider"])
    runs = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert runs[:2] == ["SpaceToDepth", "QuantizeLinear"]
    assert runs.count("QLinearConv") == 2  # the last layer is kept in floating point
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer}
    assert held["c0_blocks_zero"] == 0  # no image is below zero: all 256 steps are above it
    images = np.random.default_rng(1).random((2, 3, SIDE, SIDE), np.float32)
    expected = answer(model, images)
    found = answer(onnx.load(str(tmp_path / "int8.onnx")), images)
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean()
