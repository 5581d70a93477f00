"""INT8 as OpenVINO compiles it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.backends.runner import running
from qtriton.compress.scales import LearntLayer, Scales
from qtriton.quantize.openvino import emit_openvino
from qtriton.quantize.symmetric import emit_symmetric
from qtriton.target import Method, Precision, Target

Floats = npt.NDArray[np.float32]
TARGET = Target("openvino", Precision.INT8, vnni=True)
CHANNELS = 8
#: Both levels of the memory, as RT-DETR lays them out: [1, 16 + 4, CHANNELS].
LEVELS = ((1, [1, CHANNELS, 16]), (2, [1, CHANNELS, 4]))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """Two convolutions of an image, whose places are joined, for a matrix product and, behind it, the last layer."""
    rng = np.random.default_rng(3)
    products: dict[str, tuple[int, ...]] = {"value": (CHANNELS, CHANNELS), "last": (CHANNELS, 2)}
    shapes = products | dict.fromkeys(("w1", "w2"), (CHANNELS, 3, 1, 1))
    held = [numpy_helper.from_array(rng.normal(size=size).astype(np.float32), name) for name, size in shapes.items()]
    nodes = []
    for stride, shape in LEVELS:
        held.append(numpy_helper.from_array(np.array(shape), f"shape{stride}"))
        nodes += [
            helper.make_node("Conv", ["x", f"w{stride}"], [f"c{stride}"], strides=[stride, stride]),
            helper.make_node("Reshape", [f"c{stride}", f"shape{stride}"], [f"r{stride}"]),
            helper.make_node("Transpose", [f"r{stride}"], [f"t{stride}"], perm=[0, 2, 1]),
        ]
    nodes += [
        helper.make_node("Concat", ["t1", "t2"], ["memory"], axis=1),
        helper.make_node("MatMul", ["memory", "value"], ["values"]),
        helper.make_node("MatMul", ["values", "last"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 20, 2])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], held), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(tmp_path / "fp32.onnx"))
    return tmp_path / "fp32.onnx"


def learnt() -> Scales:
    """Thresholds that hold for the image below."""
    rows = (("c1", 3.0, 12.0), ("c2", 3.0, 12.0), ("values", 12.0, 60.0), ("y", 60.0, None))
    layers = (
        LearntLayer(name, "conv2d" if name in ("c1", "c2") else "mul", np.zeros(0, np.float32), low, high, node=name)
        for name, low, high in rows
    )
    return Scales(Method.PTQ, "abs_max", tuple(layers))


def run(model: Path) -> Floats:
    image = np.random.default_rng(5).uniform(-3, 3, (1, 3, 4, 4)).astype(np.float32)
    with running(TARGET, model) as opened:
        return np.asarray(opened({"x": image})["y"], np.float32)


def test_a_product_of_joined_places_compiles_and_is_near_fp32(memory: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    report = emit_openvino(memory, learnt(), TARGET, out)
    assert report.integer_layers == 3  # all but the last
    expected, found = run(memory), run(out)
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_only_what_a_product_reads_of_a_concat_is_signed(memory: Path, tmp_path: Path) -> None:
    out, signed = tmp_path / "int8.onnx", tmp_path / "signed.onnx"
    emit_openvino(memory, learnt(), TARGET, out)
    emit_symmetric(memory, learnt(), signed)
    zeros = {tensor.name: tensor.data_type for tensor in onnx.load(str(out)).graph.initializer}
    assert zeros["memory_zero"] == TensorProto.INT8
    assert zeros["x_zero"] == TensorProto.UINT8
    scales = [
        next(numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer if tensor.name == name)
        for path, name in ((out, "memory_scale"), (signed, "memory_scale"))
    ]
    assert scales[0] == scales[1]
