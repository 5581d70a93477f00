"""An ONNX model is brought into one file of 32-bit floats that fits the spec."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.builder.fp32 import read_signature, write_fp32_onnx
from qtriton.builder.hashes import weights_sha256
from qtriton.errors import InputError, ModelError, QtritonError, UnsupportedError
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def spec(more: str = "", dims: str = "[3, 8, 8]") -> ModelSpec:
    return parse_spec(
        f"name: ten\ntask: classification\ninput: {{name: image, dims: {dims}}}\n"
        "preprocess: [{op: resize, size: [8, 8]}, {op: normalize}, {op: chw}]\n"
        f"postprocess: [{{op: softmax}}, {{op: top_k, k: 3}}]\n{more}",
        "ten.yaml",
    )


def save(path: Path, shape: list[int | str], kind: int = FLOAT) -> Path:
    """A network with two outputs, the features in front of the scores."""
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["map"], name="conv"),
        helper.make_node("ReduceMean", ["map"], ["features"], axes=[2, 3], keepdims=0),
        helper.make_node("Cast", ["features"], ["same"], to=kind),
        helper.make_node("MatMul", ["same", "matrix"], ["scores"]),
        helper.make_node("Relu", ["map"], ["maps"]),
    ]
    random = np.random.default_rng(0)
    numpy = helper.tensor_dtype_to_np_dtype(kind)
    constants = [
        numpy_helper.from_array(random.normal(size=(4, 3, 1, 1)).astype(numpy), "weights"),
        numpy_helper.from_array(random.normal(size=(4, 10)).astype(numpy), "matrix"),
    ]
    outputs = [
        helper.make_tensor_value_info("maps", kind, [shape[0], 4, "height", "width"]),
        helper.make_tensor_value_info("scores", kind, [shape[0], 10]),
    ]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("image", kind, shape)], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def outside(path: Path) -> Path:
    """Move the weights of a model into a file beside it."""
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="net.data", size_threshold=0)
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return save(tmp_path / "net.onnx", ["n", 3, 8, 8])


def test_what_fits_is_taken_byte_for_byte(net: Path, tmp_path: Path) -> None:
    write_fp32_onnx(net, spec(), tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == net.read_bytes()


def test_a_free_height_and_width_get_those_of_the_spec(tmp_path: Path) -> None:
    write_fp32_onnx(save(tmp_path / "net.onnx", ["n", 3, "h", "w"]), spec(), tmp_path / "out.onnx")
    found = read_signature(tmp_path / "out.onnx", spec())
    assert found.inputs[0].shape == (-1, 3, 8, 8)
    assert found.outputs[0].shape == (-1, 4, 8, 8)


def test_an_output_of_no_stated_size_gets_what_follows(net: Path, tmp_path: Path) -> None:
    model = onnx.load(str(net))
    for value in model.graph.output:
        del value.type.tensor_type.shape.dim[:]
    onnx.save(model, str(net))
    write_fp32_onnx(net, spec(), tmp_path / "out.onnx")
    found = read_signature(tmp_path / "out.onnx", spec())
    assert [port.shape for port in found.outputs] == [(-1, 4, 8, 8), (-1, 10)]


def test_half_precision_is_widened_throughout(tmp_path: Path) -> None:
    write_fp32_onnx(save(tmp_path / "net.onnx", ["n", 3, 8, 8], HALF), spec(), tmp_path / "out.onnx")
    found = read_signature(tmp_path / "out.onnx", spec())
    assert {port.datatype for port in (*found.inputs, *found.outputs)} == {"FP32"}
    model = onnx.load(str(tmp_path / "out.onnx"))
    assert {tensor.data_type for tensor in model.graph.initializer} == {FLOAT}
    assert [node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"] == [FLOAT]


def test_the_outputs_that_the_spec_names_are_kept_in_its_order(net: Path, tmp_path: Path) -> None:
    for names in (["scores"], ["scores", "maps"]):
        write_fp32_onnx(net, spec(f"outputs: [{', '.join(names)}]"), tmp_path / "out.onnx")
        model = onnx.load(str(tmp_path / "out.onnx"))
        assert [value.name for value in model.graph.output] == names
        assert any(node.op_type == "Relu" for node in model.graph.node) is ("maps" in names)
    with pytest.raises(ModelError, match=r"outputs: the model has no logits, it has maps, scores"):
        write_fp32_onnx(net, spec("outputs: [logits]"), tmp_path / "out.onnx")


def test_weights_beside_the_model_are_taken_in_and_count_in_its_hash(net: Path, tmp_path: Path) -> None:
    alone = onnx.load(str(net))
    before = weights_sha256(outside(net))
    write_fp32_onnx(net, spec(), tmp_path / "out.onnx")
    made = onnx.load(str(tmp_path / "out.onnx"), load_external_data=False)
    for one, other in zip(alone.graph.initializer, made.graph.initializer, strict=True):
        assert np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
    data = bytearray((tmp_path / "net.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "net.data").write_bytes(data)
    assert weights_sha256(net) != before


def test_weights_that_are_missing_or_cut_short_are_named(net: Path, tmp_path: Path) -> None:
    data = outside(net).with_name("net.data")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"net.data: cut short"):
        write_fp32_onnx(net, spec(), tmp_path / "out.onnx")
    data.unlink()
    for step in (lambda: weights_sha256(net), lambda: write_fp32_onnx(net, spec(), tmp_path / "out.onnx")):
        with pytest.raises(InputError, match=r"its weights lie in net.data, which is not there"):
            step()


@pytest.mark.parametrize(
    ("key", "value"),
    [("location", "../net.data"), ("location", "/etc/passwd"), ("location", ""), ("offset", "-1"), ("length", "1")],
)
def test_weights_that_lead_elsewhere_are_refused(net: Path, tmp_path: Path, key: str, value: str) -> None:
    model = onnx.load(str(outside(net)), load_external_data=False)
    told = {entry.key: entry for entry in model.graph.initializer[0].external_data}
    told[key].value = value
    net.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"no file of the model's own folder|cannot be right"):
        write_fp32_onnx(net, spec(), tmp_path / "out.onnx")


@pytest.mark.parametrize(
    ("shape", "kind", "error", "message"),
    [
        (["n", 1, 8, 8], FLOAT, ModelError, r"Write dims: \[1, 8, 8\] in the spec, and {op: grey} in preprocess"),
        (["n", 8, 8, 1], FLOAT, ModelError, r"Write dims: \[1, 8, 8\] in the spec, and {op: grey} in preprocess"),
        (["n", 4, 8, 8], FLOAT, ModelError, "It has 4 channels, and this version feeds 1 or 3"),
        (["n", 3, 8, 8], TensorProto.DOUBLE, UnsupportedError, "is FP64, and this version feeds FP32"),
        (["n", 3, 8, 8], TensorProto.UINT8, ModelError, r"whole numbers 0 to 255.*write {op: normalize, scale: 1}"),
    ],
)
def test_what_cannot_be_fed_is_said(
    tmp_path: Path, shape: list[int | str], kind: int, error: type[QtritonError], message: str
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["image"], ["out"], to=FLOAT)],
        "g",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("out", FLOAT, shape)],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    with pytest.raises(error, match=message):
        write_fp32_onnx(path, spec(), tmp_path / "out.onnx")


def test_an_output_that_no_client_is_given_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", ["n", 3, 8, 8])
    model = onnx.load(str(path))
    model.graph.node.append(helper.make_node("Cast", ["scores"], ["flags"], to=TensorProto.BOOL))
    model.graph.output.append(helper.make_tensor_value_info("flags", TensorProto.BOOL, ["n", 10]))
    onnx.save(model, str(path))
    with pytest.raises(UnsupportedError, match=r"flags is BOOL.*outputs: \[\.\.\.\]"):
        write_fp32_onnx(path, spec(), tmp_path / "out.onnx")
    write_fp32_onnx(path, spec("outputs: [scores]"), tmp_path / "out.onnx")


def test_an_output_that_is_a_single_number_is_said(tmp_path: Path) -> None:
    model = onnx.load(str(save(tmp_path / "net.onnx", ["n", 3, 8, 8])))
    model.graph.node.append(helper.make_node("ReduceMean", ["scores"], ["mean"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("mean", FLOAT, []))
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(UnsupportedError, match=r"mean is a single number"):
        write_fp32_onnx(tmp_path / "net.onnx", spec(), tmp_path / "out.onnx")


def test_what_is_no_model_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(QtritonError, match="no valid ONNX model"):
        write_fp32_onnx(tmp_path / "net.onnx", spec(), tmp_path / "out.onnx")
