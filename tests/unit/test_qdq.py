"""The Q/DQ emitter: ONNX Runtime runs what it writes quantized, close to FP32, with a free batch."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.compress.scales import LearntLayer, Scales
from qtriton.errors import CompressionError, ModelError
from qtriton.quantize.bounds import Range
from qtriton.quantize.integers import Affine, largest_pair, to_integers
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import emit
from qtriton.target import Method, Precision, Target

Floats = npt.NDArray[np.float32]
NO_VNNI = Target("onnxruntime", Precision.INT8)
VNNI = Target("onnxruntime", Precision.INT8, vnni=True)


def net(path: Path) -> Path:
    """conv+relu -> (conv+silu, add) -> concat -> maxpool -> conv -> pool -> gemm, with a free batch."""
    rng = np.random.default_rng(3)
    shapes = {"w0": (16, 8, 3, 3), "w1": (16, 16, 1, 1), "w2": (24, 32, 3, 3), "w3": (24, 10)}
    held = [
        numpy_helper.from_array((rng.normal(size=s) / np.sqrt(np.prod(s[1:]))).astype(np.float32), n)
        for n, s in shapes.items()
    ]
    held += [
        numpy_helper.from_array(rng.normal(0, 0.1, n).astype(np.float32), b)
        for b, n in (("b0", 16), ("b1", 16), ("b2", 24), ("b3", 10))
    ]
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0", "b0"], ["c0"], name="first", pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1", "b1"], ["c1"], name="second"),
        node("Sigmoid", ["c1"], ["g1"]),
        node("Mul", ["c1", "g1"], ["s1"]),
        node("Add", ["r0", "s1"], ["a1"]),
        node("Concat", ["a1", "s1"], ["k1"], axis=1),
        node("MaxPool", ["k1"], ["m1"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["m1", "w2", "b2"], ["c2"], name="third", pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["p2"]),
        node("Flatten", ["p2"], ["f2"]),
        node("Gemm", ["f2", "w3", "b3"], ["y"], name="fc"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8, 12, 12])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    model = helper.make_model(
        helper.make_graph(nodes, "net", [x], [y], held), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def images(count: int = 4) -> Floats:
    return np.random.default_rng(5).normal(size=(count, 8, 12, 12)).astype(np.float32)


def run(path: Path, batch: Floats) -> Floats:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    result: Floats = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return result


def learnt(path: Path, tmp: Path) -> Scales:
    """What ACT's abs_max would learn, measured in ONNX Runtime."""
    model = onnx.load(str(path))
    names = ["x", "c0", "r0", "c1", "m1", "c2", "f2"]
    model.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names[1:])
    onnx.save(model, str(tmp / "all.onnx"))
    session = ort.InferenceSession(str(tmp / "all.onnx"), providers=["CPUExecutionProvider"])
    found = dict(zip(names, [images(), *session.run(names[1:], {"x": images()})], strict=True))
    top = {name: float(np.abs(value).max()) for name, value in found.items()}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    rows = (("w0", "x", "c0"), ("w1", "r0", "c1"), ("w2", "m1", "c2"))
    convs = tuple(LearntLayer(out, "conv2d", weights[w], top[src], top[out]) for w, src, out in rows)
    fc = LearntLayer("y", "matmul_v2", weights["w3"], top["f2"], None)
    return Scales(Method.PTQ, "abs_max", (*convs, fc))


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    return net(tmp_path / "fp32.onnx")


@pytest.fixture
def scales(fp32: Path, tmp_path: Path) -> Scales:
    return learnt(fp32, tmp_path)


def fused_ops(path: Path, tmp: Path) -> Counter[str]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(str(tmp / "optimized.onnx")).graph.node)


def test_everything_fuses_to_integer_kernels(fp32: Path, scales: Scales, tmp_path: Path) -> None:
    report = emit(fp32, scales, NO_VNNI, tmp_path / "int8.onnx", Policy(last_layers=True))
    ops = fused_ops(tmp_path / "int8.onnx", tmp_path)
    assert (report.layers, report.integer_layers, dict(report.float_reasons)) == (4, 4, {})
    assert ops["QLinearConv"] == 3
    assert ops["QGemm"] == 1
    assert ops["QLinearSigmoid"] == ops["QLinearMul"] == ops["QLinearAdd"] == ops["QLinearConcat"] == 1
    assert ops["QuantizeLinear"] == 1, "the input only"
    for op_type in ("Conv", "Gemm", "Relu", "Sigmoid", "Mul", "Add", "Concat", "DequantizeLinear"):
        assert ops[op_type] == 0, op_type


@pytest.mark.parametrize("target", [VNNI, NO_VNNI], ids=["vnni", "no-vnni"])
def test_output_is_close_to_fp32_at_any_batch(fp32: Path, scales: Scales, tmp_path: Path, target: Target) -> None:
    emit(fp32, scales, target, tmp_path / "int8.onnx")
    for count in (1, 3):
        want, got = run(fp32, images(count)), run(tmp_path / "int8.onnx", images(count))
        assert got.shape == (count, 10)
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert 0 < error < 0.05, error


def test_activations_are_u8_weights_s8_bias_int32(fp32: Path, scales: Scales, tmp_path: Path) -> None:
    emit(fp32, scales, NO_VNNI, tmp_path / "int8.onnx")
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    maker = {node.output[0]: node for node in graph.node}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convs) == 3
    for conv in convs:
        source, weight, bias = (maker[name] for name in conv.input)
        assert held[source.input[2]].dtype == np.uint8
        assert held[weight.input[0]].dtype == np.int8
        assert held[bias.input[0]].dtype == np.int32
        expected = held[source.input[1]] * held[weight.input[1]]
        np.testing.assert_array_equal(held[bias.input[1]], expected)
    assert "w0" not in held, "FP32 weights must not travel along"


def test_relu_gets_all_255_steps_and_silu_starts_at_its_minimum(fp32: Path, scales: Scales, tmp_path: Path) -> None:
    emit(fp32, scales, NO_VNNI, tmp_path / "int8.onnx")
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer}
    assert held["r0_zero"] == 0
    assert held["r0_scale"] == pytest.approx(scales.layers[1].input_threshold / 255)
    assert held["x_zero"] == 128
    # What a Concat joins and a MaxPool picks from has one scale: both only copy bytes.
    assert held["k1_scale"] == held["a1_scale"] == held["s1_scale"] == held["m1_scale"]
    assert 0 < held["k1_zero"] < 128


def test_same_inputs_same_bytes(fp32: Path, scales: Scales, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        emit(fp32, scales, NO_VNNI, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_scales_survive_the_disk(scales: Scales, tmp_path: Path) -> None:
    replace(scales, image=(-2.0, 2.5)).save(tmp_path / "scales.npz")
    again = Scales.load(tmp_path / "scales.npz")
    assert again.image == (-2.0, 2.5)
    assert again.method is Method.PTQ
    assert [x.name for x in again.layers] == [x.name for x in scales.layers]
    assert again.layers[3].output_threshold is None
    np.testing.assert_array_equal(again.layers[1].weight, scales.layers[1].weight)


def test_a_layer_that_act_does_not_know_is_an_error(fp32: Path, scales: Scales, tmp_path: Path) -> None:
    other = Scales(scales.method, scales.algorithm, scales.layers[:2] + scales.layers[3:])
    with pytest.raises(CompressionError, match="third"):
        emit(fp32, other, NO_VNNI, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


def test_weights_match_after_batch_normalisation_was_folded(fp32: Path, scales: Scales, tmp_path: Path) -> None:
    """Paddle keeps the batch normalisation apart, the ONNX has it in the weights: one factor per channel."""
    gain = np.linspace(-2, 3, 24, dtype=np.float32).reshape(-1, 1, 1, 1)
    third = scales.layers[2]
    bare = LearntLayer(third.name, third.op, third.weight / gain, third.input_threshold, third.output_threshold)
    other = Scales(scales.method, scales.algorithm, (*scales.layers[:2], bare, scales.layers[3]))
    assert emit(fp32, other, NO_VNNI, tmp_path / "int8.onnx").integer_layers == 3


def test_a_file_that_is_no_onnx_is_an_error(scales: Scales, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        emit(tmp_path / "bad.onnx", scales, NO_VNNI, tmp_path / "int8.onnx")


def test_the_last_layers_stay_float(fp32: Path, scales: Scales, tmp_path: Path) -> None:
    report = emit(fp32, scales, NO_VNNI, tmp_path / "int8.onnx")
    assert dict(report.float_reasons) == {"y": "one of the last layers"}
    assert fused_ops(tmp_path / "int8.onnx", tmp_path)["Gemm"] == 1


@pytest.mark.parametrize("shape", [(6, 8, 3, 3), (6, 64, 1, 1), (6, 40)])
def test_no_pair_of_weights_saturates_without_vnni(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).uniform(0.5, 1, shape).astype(np.float32)  # the worst: all large, one sign
    whole = to_integers(weight, None, 0, Affine.of(Range(0, 1)), saturates=True).weight
    assert largest_pair(whole.astype(np.float32)).max() * 255 <= 32767
    free = to_integers(weight, None, 0, Affine.of(Range(0, 1)), saturates=False).weight
    assert free.max() == 127


def test_a_channel_without_weights_keeps_its_bias() -> None:
    weight = np.zeros((2, 4, 1, 1), np.float32)
    bias = np.array([3.0, -1e6], np.float32)
    layer = to_integers(weight, bias, 0, Affine.of(Range(-1, 1)), saturates=True)
    assert layer.bias is not None
    np.testing.assert_allclose(layer.bias * layer.bias_scales, bias, rtol=1e-3)


def test_zero_is_exact_in_every_range() -> None:
    for low, high in ((-1, 1), (0, 5), (-0.2784645, 7), (2, 3), (0, 0)):
        affine = Affine.of(Range(low, high))
        assert 0 <= affine.zero <= 255
        assert affine.scale > 0
