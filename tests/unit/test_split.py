"""A Split, as YOLOv8 and YOLO11 halve their channels with: it moves bytes, and its range holds all of its parts."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.progress import ignore
from qtriton.quantize.activations import Feeding, write_maxima
from qtriton.quantize.learner import learn_from_onnx
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import emit
from qtriton.recipe import Algorithm
from qtriton.target import Precision, Target

Floats = npt.NDArray[np.float32]


def halved(path: Path) -> Path:
    """A layer reads one half; the other, ten times as large, is read by a Concat only."""
    rng = np.random.default_rng(4)
    shapes = {"w0": (16, 8, 3, 3), "w1": (8, 8, 3, 3), "w2": (8, 24, 1, 1), "w3": (4, 8, 1, 1)}
    held = {n: (rng.normal(size=s) / np.sqrt(np.prod(s[1:]))).astype(np.float32) for n, s in shapes.items()}
    held["w0"][:8] *= 10
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], pads=[1] * 4),
        node("Split", ["c0", "halves"], ["large", "small"], axis=1),
        node("Conv", ["small", "w1"], ["c1"], pads=[1] * 4),
        node("Concat", ["large", "small", "c1"], ["joined"], axis=1),
        node("Conv", ["joined", "w2"], ["c2"]),
        node("Conv", ["c2", "w3"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in held.items()]
    tensors.append(numpy_helper.from_array(np.array([8, 8], np.int64), "halves"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8, 12, 12])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 12, 12])
    graph = helper.make_graph(nodes, "halved", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def run(path: Path, images: Floats, optimized: Path | None = None) -> Floats:
    options = ort.SessionOptions()
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    result: Floats = session.run(None, {"x": images})[0]
    return result


@pytest.mark.parametrize("policy", [Policy(), Policy(image_layer=True, between=False)], ids=["between", "layers"])
def test_a_split_moves_bytes_and_cuts_off_no_part(policy: Policy, tmp_path: Path) -> None:
    images = np.random.default_rng(5).normal(size=(4, 8, 12, 12)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    fp32, int8, optimized = halved(tmp_path / "fp32.onnx"), tmp_path / "int8.onnx", tmp_path / "optimized.onnx"
    write_maxima(fp32, Feeding(tmp_path / "images.npy", "x", {}), tmp_path / "maxima.npz", ignore)

    scales = learn_from_onnx(fp32, Algorithm.ABS_MAX, tmp_path, None)
    emit(fp32, scales, Target("onnxruntime", Precision.INT8, vnni=True), int8, policy)

    expected, actual = run(fp32, images), run(int8, images, optimized)
    assert 10 * np.log10((expected**2).sum() / ((expected - actual) ** 2).sum()) > 30
    ops = Counter(each.op_type for each in onnx.load(str(optimized)).graph.node)
    assert ops["Split"] == 1 and ops["QLinearConv"] >= (3 if policy.between else 0)
    if policy.between:
        assert ops["QLinearConcat"] == 1
        assert (ops["QuantizeLinear"], ops["DequantizeLinear"]) == (1, 1), "of the input, and before the last layer"
