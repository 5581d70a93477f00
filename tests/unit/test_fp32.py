"""What comes in is an ONNX file that fits the spec, or an error that says which of the two to mend."""

from pathlib import Path
from typing import TypeAlias

import onnx
import pytest
from onnx import TensorProto, helper

from qtriton.backends.runner import TensorInfo
from qtriton.builder import fp32 as module
from qtriton.builder.fp32 import read_signature, write_fp32_onnx
from qtriton.errors import CompressionError, ModelError
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec

Shape: TypeAlias = list[int | str | None]


def spec(**fields: int) -> ModelSpec:
    more = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return parse_spec(
        f"""
name: ten
task: classification
input: {{name: image, dims: [3, 8, 8]}}
preprocess: [{{op: resize, size: [8, 8]}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: softmax}}, {{op: top_k, k: 3}}]
{more}""",
        "ten.yaml",
    )


def write(
    path: Path, shape: Shape, *, name: str = "image", others: tuple[str, ...] = (), kind: int = TensorProto.FLOAT
) -> Path:
    """A network that averages its image; it has a constant that old exporters also list as an input."""
    nodes = [
        helper.make_node("ReduceMean", [name], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Add", ["mean", "bias"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info(name, kind, shape)]
    inputs += [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["n", 2]) for each in others]
    constant = helper.make_tensor("bias", kind, [3], [0.0, 1.0, 2.0])
    inputs += [helper.make_tensor_value_info("bias", kind, [3])]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("scores", kind, [shape[0], 3])], [constant]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_tensors_are_read_with_the_names_that_triton_has_for_types(tmp_path: Path) -> None:
    found = read_signature(write(tmp_path / "m.onnx", ["batch", 3, 8, 8]), spec())
    assert found.inputs == (TensorInfo("image", "FP32", (-1, 3, 8, 8)),), "a constant is no input"
    assert found.outputs == (TensorInfo("scores", "FP32", (-1, 3)),)


@pytest.mark.parametrize("free", [None, "height", 0])
def test_a_size_without_a_number_is_free(tmp_path: Path, free: int | str | None) -> None:
    found = read_signature(write(tmp_path / "m.onnx", ["n", 3, free, 8]), spec())
    assert found.inputs[0].shape == (-1, 3, -1, 8)


def test_half_and_double_precision_are_told_apart(tmp_path: Path) -> None:
    kinds = {TensorProto.FLOAT16: "FP16", TensorProto.DOUBLE: "FP64"}
    for kind, name in kinds.items():
        found = read_signature(write(tmp_path / "m.onnx", ["n", 3, 8, 8], kind=kind), spec())
        assert [port.datatype for port in (*found.inputs, *found.outputs)] == [name, name]


def test_a_single_input_may_have_another_name(tmp_path: Path) -> None:
    found = read_signature(write(tmp_path / "m.onnx", ["n", 3, 8, 8], name="x.1"), spec())
    assert found.inputs[0].name == "x.1"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (["n", 3, 9, 8], r"the spec's input image is \[batch, 3, 8, 8\], the ONNX model's is \[-1, 3, 9, 8\]"),
        (["n", 5, 8, 8], r"the ONNX model's is \[-1, 5, 8, 8\]. Correct the spec, or give other weights"),
        (["n", 3, 8, 8, 8], r"the ONNX model's is \[-1, 3, 8, 8, 8\]"),
        ([3, 8, 8], r"the ONNX model's is \[3, 8, 8\]"),
        (["n", 1, 8, 8], r"Write dims: \[1, 8, 8\] in the spec, and {op: grey} in preprocess"),
        ([4, 3, 8, 8], "batch is fixed at 4. Export it with a free batch"),
    ],
)
def test_a_shape_that_does_not_fit_is_shown(tmp_path: Path, shape: Shape, message: str) -> None:
    with pytest.raises(ModelError, match=f"^ten: .*{message}"):
        read_signature(write(tmp_path / "m.onnx", shape), spec())


def test_a_batch_of_1_is_as_good_where_the_spec_asks_for_none(tmp_path: Path) -> None:
    assert read_signature(write(tmp_path / "m.onnx", [1, 3, 8, 8]), spec(max_batch_size=0)).inputs[0].shape[0] == 1
    with pytest.raises(ModelError, match="batch is fixed at 2"):
        read_signature(write(tmp_path / "m.onnx", [2, 3, 8, 8]), spec(max_batch_size=0))


def test_inputs_that_the_spec_does_not_know_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the spec's inputs are image, the model takes image, scale_factor"):
        read_signature(write(tmp_path / "m.onnx", ["n", 3, 8, 8], others=("scale_factor",)), spec())


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", None], ids=["empty", "a web page", "half"])
def test_what_is_no_onnx_file_is_said_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = write(tmp_path / "m.onnx", ["n", 3, 8, 8])
    path.write_bytes(path.read_bytes()[:100] if content is None else content)
    with pytest.raises(ModelError, match=r"ten: the weights are no valid ONNX model \(.+\)\. Export .* --weights") as e:
        read_signature(path, spec())
    assert "\n" not in str(e.value)


def test_a_graph_that_uses_a_tensor_nobody_made_is_no_valid_model(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", ["n", 3, 8, 8])
    model = onnx.load(str(path))
    model.graph.node[1].input[0] = "nowhere"
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=r"no valid ONNX model \(.*nowhere"):
        read_signature(path, spec())


def test_an_onnx_file_is_copied_byte_for_byte(tmp_path: Path) -> None:
    weights = write(tmp_path / "m.onnx", ["n", 3, 8, 8])
    write_fp32_onnx(weights, spec(), tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == weights.read_bytes()


def test_a_folder_is_exported_and_what_comes_of_it_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """paddle2onnx runs in a process of its own; what it writes is not believed."""
    shapes: dict[str, Shape] = {"good": ["n", 3, 8, 8], "bad": ["n", 3, 7, 7]}
    monkeypatch.setattr(module, "export_fp32", lambda folder, out: write(out, shapes[folder.name]))
    for name in shapes:
        (tmp_path / name).mkdir()

    write_fp32_onnx(tmp_path / "good", spec(), tmp_path / "good.onnx")
    with pytest.raises(ModelError, match=r"\[-1, 3, 7, 7\]"):
        write_fp32_onnx(tmp_path / "bad", spec(), tmp_path / "bad.onnx")


def test_a_folder_that_cannot_be_exported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, out: Path) -> None:
        raise CompressionError("paddle2onnx wrote no model.")

    monkeypatch.setattr(module, "export_fp32", fail)
    with pytest.raises(CompressionError, match="paddle2onnx wrote no model"):
        write_fp32_onnx(tmp_path, spec(), tmp_path / "out.onnx")
