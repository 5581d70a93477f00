"""TensorRT's typed ONNX: symmetric Q/DQ where its kernels fuse, and FP16 around it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.backends.tensorrt.cpu_fallback import Engine, widened
from qtriton.compress.scales import Scales
from qtriton.errors import CompressionError
from qtriton.quantize.fp16 import overflowing, to_half
from qtriton.quantize.graph import GraphView
from qtriton.quantize.qdq import Writer
from qtriton.quantize.sensitivity import SingleLayerQuantizer
from qtriton.quantize.symmetric import SymmetricWriter, emit_symmetric

from .test_qdq import fp32, images, net, run, scales  # noqa: F401  (fixtures)


@pytest.fixture
def int8(fp32: Path, scales: Scales, tmp_path: Path) -> onnx.ModelProto:  # noqa: F811
    emit_symmetric(fp32, scales, tmp_path / "int8.onnx")
    return onnx.load(str(tmp_path / "int8.onnx"))


def test_every_zero_point_is_zero_and_the_bias_is_float(int8: onnx.ModelProto) -> None:
    view = GraphView(int8)
    pairs = [node for node in view.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = view.constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any(), node.name
    convs = [node for node in view.nodes if node.op_type == "Conv"]
    assert all(view.constants[node.input[2]].dtype == np.float32 for node in convs)


def test_each_quantized_conv_has_what_tensorrt_fuses(int8: onnx.ModelProto) -> None:
    """A Q/DQ pair on its input, and one on its weights with a scale for each output channel."""
    view = GraphView(int8)
    convs = [node for node in view.nodes if node.op_type == "Conv"]
    assert len(convs) == 3
    for conv in convs:
        for index in (0, 1):
            back = view.producer[conv.input[index]]
            there = view.producer[back.input[0]]
            assert (there.op_type, back.op_type) == ("QuantizeLinear", "DequantizeLinear")
            assert list(there.input[1:]) == list(back.input[1:])
        weight = view.constants[there.input[0]]
        assert weight.dtype == np.float32 and view.constants[there.input[1]].shape == weight.shape[:1]


def test_what_additions_and_concatenations_join_is_quantized(int8: onnx.ModelProto) -> None:
    view = GraphView(int8)
    for kind in ("Add", "Concat"):
        (node,) = [each for each in view.nodes if each.op_type == kind]
        assert {view.producer[name].op_type for name in node.input} == {"DequantizeLinear"}, kind


def test_the_last_layer_and_what_is_behind_it_stay_in_float(int8: onnx.ModelProto) -> None:
    view = GraphView(int8)
    (gemm,) = [node for node in view.nodes if node.op_type == "Gemm"]
    assert view.producer[gemm.input[0]].op_type == "Flatten" and gemm.input[1] in view.constants


def test_the_same_inputs_give_the_same_bytes(fp32: Path, scales: Scales, tmp_path: Path) -> None:  # noqa: F811
    for name in ("a", "b"):
        emit_symmetric(fp32, scales, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("quantized", [False, True])
def test_fp16_is_near_fp32_and_is_fp32_at_both_ends(
    quantized: bool,
    fp32: Path,  # noqa: F811
    int8: onnx.ModelProto,
    tmp_path: Path,
) -> None:
    plain = int8 if quantized else onnx.load(str(fp32))
    onnx.save(plain, str(tmp_path / "plain.onnx"))
    onnx.save(to_half(plain, ()), str(tmp_path / "half.onnx"))
    engines = [Engine(str(tmp_path / name), {}) for name in ("plain.onnx", "half.onnx")]
    assert [port[1] for engine in engines for port in (*engine.inputs, *engine.outputs)] == ["FP32"] * 4
    before, after = (engine.run({"x": images()})["y"] for engine in engines)
    assert not np.array_equal(before, after)
    assert np.abs(before - after).max() <= 0.02 * np.abs(before).max()
    held = {each.data_type for each in to_half(plain, ()).graph.initializer}
    assert TensorProto.FLOAT16 in held and TensorProto.FLOAT not in held


def large(tmp_path: Path) -> onnx.ModelProto:
    """x * 1e4 / 1e4, resized: the product leaves FP16's range for x of 7 and more."""
    held = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("up", 1e4), ("down", 1e-4))]
    held.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "sizes"))
    nodes = [
        helper.make_node("Mul", ["x", "up"], ["huge"]),
        helper.make_node("Mul", ["huge", "down"], ["back"]),
        helper.make_node("Resize", ["back", "", "sizes"], ["y"], mode="nearest"),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, size, size])
        for name, size in (("x", 4), ("y", 8))
    ]
    graph = helper.make_graph(nodes, "large", ports[:1], ports[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize(("brightest", "kept"), [(1.0, set()), (3.0, set()), (5.0, {"huge"}), (20.0, {"huge"})])
def test_what_fp16_cannot_hold_is_found_and_stays_in_fp32(brightest: float, kept: set[str], tmp_path: Path) -> None:
    """5 is within the range, but not by the margin."""
    model = large(tmp_path)
    frames = np.full((2, 3, 4, 4), brightest, np.float32)
    found = overflowing(model, frames, {}, lambda done, total: None)
    assert found == kept
    onnx.save(to_half(model, found), str(tmp_path / "half.onnx"))
    made = Engine(str(tmp_path / "half.onnx"), {}).run({"x": frames[:1]})["y"]
    assert made == pytest.approx(brightest, rel=2e-3)
    # ONNX Runtime's CPU computes FP16 in FP32 and overflows nowhere, so the types are looked at, too.
    inferred = onnx.shape_inference.infer_shapes(to_half(model, found), strict_mode=True)
    kinds = {info.name: info.type.tensor_type.elem_type for info in inferred.graph.value_info}
    huge = next(node.output[0] for node in inferred.graph.node if node.op_type == "Mul")
    assert (kinds[huge] == TensorProto.FLOAT) is bool(kept)


def test_a_layer_alone_has_the_integers_of_its_target(fp32: Path, scales: Scales, tmp_path: Path) -> None:  # noqa: F811
    """What a layer costs in u8 says little of what it costs in symmetric s8."""
    held = {}
    for name, writer in (("cpu", Writer), ("gpu", SymmetricWriter)):
        alone = SingleLayerQuantizer(fp32, scales, writer)
        alone.write(next(iter(alone.costs())), tmp_path / name)
        view = GraphView(onnx.load(str(tmp_path / name)))
        quantizers = [node for node in view.nodes if node.op_type == "QuantizeLinear"]
        held[name] = [view.constants[node.input[2]].dtype for node in quantizers]
    # On a GPU the weights have a pair of their own.
    assert held == {"cpu": [np.uint8], "gpu": [np.int8, np.int8]}


def test_what_stands_in_computes_fp16s_quantizers_in_fp32(int8: onnx.ModelProto, tmp_path: Path) -> None:
    """ONNX Runtime 1.23 computes them wrong; what they give stays what it was."""
    onnx.save(int8, str(tmp_path / "int8.onnx"))
    onnx.save(to_half(int8, ()), str(tmp_path / "half.onnx"))
    made = onnx.load_from_string(widened(str(tmp_path / "half.onnx")))
    onnx.checker.check_model(made)
    held = {each.name: each.data_type for each in made.graph.initializer}
    told = [n.input[1] for n in made.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert told and {held[name] for name in told} == {TensorProto.FLOAT}
    before, after = (Engine(str(tmp_path / name), {}).run({"x": images()})["y"] for name in ("int8.onnx", "half.onnx"))
    assert np.abs(before - after).max() <= 0.02 * np.abs(before).max()
    # What has none is left as it is.
    assert onnx.load_from_string(widened(str(tmp_path / "int8.onnx"))).graph == int8.graph


def test_what_no_older_opset_has_becomes_fp16() -> None:
    """Gelu is of opset 20, as timm exports a ViT."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Gelu", ["x"], ["y"], name="act")], "net", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    before = model.SerializeToString()
    half_model = to_half(model, set())
    assert model.SerializeToString() == before  # it is not changed
    assert [node.op_type for node in half_model.graph.node] == ["Cast", "Gelu", "Cast"]
    assert half_model.graph.node[1].name == "0_act" and half_model.opset_import[0].version == 20


def test_branches_that_the_converter_breaks_are_refused() -> None:
    """As in torchvision's Faster R-CNN."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    branches = []
    for name in ("then", "else"):
        nodes = [
            helper.make_node("Relu", ["x"], [f"{name}_r"]),
            helper.make_node("CumSum", [f"{name}_r", "axis"], [f"{name}_c"]),  # stays in FP32
            helper.make_node("Relu", [f"{name}_c"], [f"{name}_y"]),
        ]
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [1, 4])
        branches.append(helper.make_graph(nodes, name, [], [out]))
    chosen = helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])
    axis = numpy_helper.from_array(np.array(1), "axis")
    graph = helper.make_graph([chosen], "net", [x, flag], [y], [axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    with pytest.raises(CompressionError, match=r"cannot become FP16 .*--precision int8"):
        to_half(model, set())
