"""Channels before a depthwise convolution in one range: the same function, and INT8 that keeps the small ones."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.progress import ignore
from qtriton.quantize.activations import Feeding, write_maxima
from qtriton.quantize.equalize import channel_extremes, channel_scales, has_depthwise, write_equalized
from qtriton.quantize.learner import learn_from_onnx
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import load_simplified, write_quantized, x86_writer
from qtriton.recipe import Algorithm
from qtriton.target import Precision, Target

Floats = npt.NDArray[np.float32]
#: What a layer gives, channel by channel: from next to nothing to thousands.
SIZES = np.array([1e-2, 1, 5, 3000, 0.3, 20, 2, 100], np.float32)
GATED = ("HardSwish",)


def net(path: Path, activation: tuple[str, ...], groups: int = 8, also_read: bool = False) -> Path:
    """conv -> activation -> depthwise conv -> conv that brings the channels back to one size -> relu -> conv."""
    rng = np.random.default_rng(3)
    weights = {
        "w0": rng.normal(size=(8, 3, 1, 1)) * SIZES[:, None, None, None],
        "b0": rng.normal(size=8) * SIZES,
        "w1": rng.normal(size=(8, 8 // groups, 3, 3)) / SIZES[:, None, None, None],
        "b1": rng.normal(size=8),
        "w2": rng.normal(size=(8, 8, 1, 1)),
        "w3": rng.normal(size=(4, 8, 1, 1)),
    }
    held = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    nodes = [helper.make_node("Conv", ["x", "w0", "b0"], ["c0"])]
    for index, op in enumerate(activation):
        nodes.append(helper.make_node(op, [nodes[-1].output[0]], [f"a{index}"]))
    source = nodes[-1].output[0]
    nodes += [
        helper.make_node("Conv", [source, "w1", "b1"], ["c1"], group=groups, pads=[1, 1, 1, 1]),
        *([helper.make_node("Add", ["c1", source], ["sum"])] if also_read else []),
        helper.make_node("Conv", ["sum" if also_read else "c1", "w2"], ["c2"]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 12, 12])
    graph = helper.make_graph(nodes, "net", [x], [y], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), str(path))
    return path


@pytest.fixture
def feeding(tmp_path: Path) -> Feeding:
    np.save(tmp_path / "frames.npy", np.random.default_rng(1).normal(size=(6, 3, 12, 12)).astype(np.float32))
    return Feeding(tmp_path / "frames.npy", "x", {})


def run(model: Path, feeding: Feeding) -> Floats:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feed)[0] for feed in feeding])


def ops(model: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(model)).graph.node]


@pytest.mark.parametrize("also_read", [False, True])
@pytest.mark.parametrize("activation", [(), ("Relu",), ("LeakyRelu",), GATED, ("Relu", "Sigmoid")])
def test_the_function_stays_and_every_channel_reaches_one(
    activation: tuple[str, ...], also_read: bool, feeding: Feeding, tmp_path: Path
) -> None:
    model, out = net(tmp_path / "net.onnx", activation, also_read=also_read), tmp_path / "equalized.onnx"
    write_equalized(model, feeding, out, ignore)
    expected, result = run(model, feeding), run(out, feeding)
    assert np.abs(result - expected).max() <= 1e-4 * np.abs(expected).max()
    (extremes,) = channel_extremes(load_simplified(out), feeding, ignore).values()
    np.testing.assert_allclose(np.maximum(extremes[1], -4 * extremes[0]), 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("activation", "also_read", "more"),
    [((), False, 0), (("Relu",), False, 0), (GATED, False, 1), (("Relu",), True, 1), (("Relu", "Sigmoid"), False, 1)],
)
def test_a_multiplication_is_added_only_where_the_layer_before_cannot_take_it(
    activation: tuple[str, ...], also_read: bool, more: int, feeding: Feeding, tmp_path: Path
) -> None:
    model, out = net(tmp_path / "net.onnx", activation, also_read=also_read), tmp_path / "equalized.onnx"
    write_equalized(model, feeding, out, ignore)
    assert len(ops(out)) == len(load_simplified(model).graph.node) + more


@pytest.mark.parametrize(("groups", "depthwise"), [(8, True), (1, False), (2, False)])
def test_only_depthwise_convolutions_count(groups: int, depthwise: bool, tmp_path: Path, feeding: Feeding) -> None:
    model, out = net(tmp_path / "net.onnx", GATED, groups), tmp_path / "equalized.onnx"
    assert has_depthwise(model) is depthwise
    write_equalized(model, feeding, out, ignore)
    assert ("Mul" in ops(out)) is depthwise


def test_int8_keeps_the_small_channels(feeding: Feeding, tmp_path: Path) -> None:
    model, equalized = net(tmp_path / "net.onnx", GATED), tmp_path / "equalized.onnx"
    write_equalized(model, feeding, equalized, ignore)
    expected = run(model, feeding)
    before, after = (noise(each, feeding, expected, each is equalized, tmp_path) for each in (model, equalized))
    assert before > 0.3
    assert after < 0.03


def noise(fp32: Path, feeding: Feeding, expected: Floats, two_sided: bool, work: Path) -> float:
    """The relative error of INT8 with Q/DQ on what layers read, as OpenVINO takes it."""
    write_maxima(fp32, feeding, work / "maxima.npz", ignore)
    scales = learn_from_onnx(fp32, Algorithm.ABS_MAX, work, None, two_sided)
    writer = x86_writer(Target("openvino", Precision.INT8, vnni=True))
    write_quantized(fp32, scales, work / "int8.onnx", Policy(between=False), writer)
    return float(np.linalg.norm(run(work / "int8.onnx", feeding) - expected) / np.linalg.norm(expected))


def test_a_dead_channel_is_not_blown_up() -> None:
    extremes = np.array([[0, -0.25, 0, -1e-9], [0, 0.5, 8, 1e-9]], np.float32)
    np.testing.assert_allclose(channel_scales(extremes), [8, 1, 8, 8])
    np.testing.assert_allclose(channel_scales(np.zeros((2, 2), np.float32)), [1, 1])
