"""Whatever form a model's inputs have, what is built takes float32 [batch, C, height, width] and answers the same."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from qtriton.builder.fp32 import read_signature, write_fp32_onnx
from qtriton.errors import ModelError
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec

FLOAT, BYTE = TensorProto.FLOAT, TensorProto.UINT8
Array = npt.NDArray[Any]
node = helper.make_node
RANDOM = np.random.default_rng(0)


def spec(dims: str = "[3, 8, 6]", more: str = "", extra: str = "{}") -> ModelSpec:
    colour = "grey" if dims.startswith("[1") else "rgb"
    return parse_spec(
        f"name: ten\ntask: classification\ninput: {{name: image, dims: {dims}}}\nextra_inputs: {extra}\n"
        f"preprocess: [{{op: resize}}, {{op: {colour}}}, {{op: normalize, scale: 1}}, {{op: chw}}]\n"
        f"postprocess: [{{op: softmax}}, {{op: top_k, k: 3}}]\n{more}",
        "ten.yaml",
    )


def save(path: Path, before: list[NodeProto], shape: list[int | str], kind: int, opset: int = 13) -> Path:
    """Nodes that make [batch, C, 8, 6] of `image`, called `first`, before a convolution and a mean."""
    channels = 1 if 1 in shape[1:] else 3
    nodes = [
        *before,
        node("Conv", ["first", "weights"], ["map"], name="conv"),
        node("GlobalAveragePool", ["map"], ["pooled"]),
        node("Flatten", ["pooled"], ["scores"]),
    ]
    weights = numpy_helper.from_array(RANDOM.normal(size=(10, channels, 3, 3)).astype(np.float32), "weights")
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("scores", FLOAT, ["n", 10])],
        [weights, numpy_helper.from_array(np.array([0], np.int64), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
    return path


def run(path: Path, **feed: Array) -> Array:
    scores: Array = onnxruntime.InferenceSession(str(path)).run(None, feed)[0]
    return scores


def kinds(path: Path) -> list[str]:
    return [each.op_type for each in onnx.load(str(path)).graph.node]


TURN = node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2])
CAST = node("Cast", ["image"], ["first"], to=FLOAT)
PLAIN = ["Conv", "GlobalAveragePool", "Flatten"]


@pytest.mark.parametrize(
    ("before", "shape", "kind", "left", "said"),
    [
        ([TURN], ["n", 8, 6, 3], FLOAT, [], "channels last: turned on import"),
        ([TURN], ["n", "h", "w", 3], FLOAT, [], "channels last: turned on import"),
        ([TURN], ["n", 8, 6, 1], FLOAT, [], "channels last: turned on import"),
        (
            [node("Relu", ["image"], ["more"]), node("Transpose", ["more"], ["first"], perm=[0, 3, 1, 2])],
            ["n", 8, 6, 3],
            FLOAT,
            ["Transpose", "Relu", "Transpose"],
            "channels last: turned on import",
        ),
        ([CAST], ["n", 3, 8, 6], BYTE, [], "image is made float32"),
        ([CAST], ["n", 3, 8, 6], TensorProto.INT64, [], "image is made float32"),
        (
            [node("Cast", ["image"], ["cast"], to=FLOAT), node("Transpose", ["cast"], ["first"], perm=[0, 3, 1, 2])],
            ["n", 8, 6, 3],
            BYTE,
            [],
            "image is made float32; channels last",
        ),
        (
            [node("Transpose", ["image"], ["bytes"], perm=[0, 3, 1, 2]), node("Cast", ["bytes"], ["first"], to=FLOAT)],
            ["n", 8, 6, 3],
            BYTE,
            ["Cast"],
            "image is made float32; channels last",
        ),
        (
            [node("Clip", ["image"], ["bytes"]), node("Cast", ["bytes"], ["first"], to=FLOAT)],
            ["n", 3, 8, 6],
            BYTE,
            ["Cast", "Clip", "Cast"],
            "image is made float32",
        ),
        ([node("Unsqueeze", ["image", "zero"], ["first"])], [3, 8, 6], FLOAT, ["Squeeze", "Unsqueeze"], "a batch of 1"),
        ([node("Identity", ["image"], ["first"])], ["n", 1, 8, 6], FLOAT, ["Identity"], ""),
    ],
)
def test_the_answers_stay(
    tmp_path: Path, before: list[NodeProto], shape: list[int | str], kind: int, left: list[str], said: str
) -> None:
    path, out = save(tmp_path / "net.onnx", before, shape, kind), tmp_path / "out.onnx"
    grey = 1 in shape[1:]
    of = spec("[1, 8, 6]" if grey else "[3, 8, 6]", "" if shape[0] == "n" else "max_batch_size: 0")
    notes = write_fp32_onnx(path, of, out)
    assert said in "; ".join(notes) and bool(said) == bool(notes)
    found = read_signature(out, of).inputs[0]
    assert (found.datatype, found.shape[1:]) == ("FP32", of.input.dims)
    assert kinds(out) == [*left, *PLAIN]

    image = RANDOM.integers(0, 256, (1, *of.input.dims)).astype(np.float32)
    theirs = image if shape[-1] == 6 else image.transpose(0, 2, 3, 1)
    theirs = (theirs if len(shape) == 4 else theirs[0]).astype(helper.tensor_dtype_to_np_dtype(kind))
    np.testing.assert_allclose(run(out, image=image), run(path, image=theirs), rtol=1e-5)


def test_squeeze_of_an_old_opset_has_its_axes_as_an_attribute(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [node("Unsqueeze", ["image"], ["first"], axes=[0])], [3, 8, 6], FLOAT, 11)
    write_fp32_onnx(path, spec(more="max_batch_size: 0"), tmp_path / "out.onnx")
    image = RANDOM.normal(size=(1, 3, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", image=image), run(path, image=image[0]), rtol=1e-5)


def test_a_spec_may_write_the_channels_last_or_first(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", [TURN], ["n", 8, 6, 3], FLOAT)
    assert spec("[8, 6, 3]") == spec("[3, 8, 6]")
    for dims in ("[8, 6, 3]", "[3, 8, 6]"):
        write_fp32_onnx(path, spec(dims), tmp_path / "out.onnx")
        assert read_signature(tmp_path / "out.onnx", spec(dims)).inputs[0].shape == (-1, 3, 8, 6)


@pytest.mark.parametrize("op", ["{op: normalize}", "{op: normalize, scale: 1, mean: [128]}"])
def test_integers_are_not_given_what_they_cannot_hold(tmp_path: Path, op: str) -> None:
    path = save(tmp_path / "net.onnx", [CAST], ["n", 3, 8, 6], BYTE)
    raw = spec().model_dump()
    raw["preprocess"] = parse_spec(
        "name: a\ntask: classification\ninput: {name: x, dims: [3, 8, 6]}\n"
        f"preprocess: [{{op: resize}}, {op}, {{op: chw}}]\npostprocess: [{{op: top_k}}]",
        "a.yaml",
    ).preprocess
    with pytest.raises(ModelError, match=r"is uint8, whole numbers 0 to 255, and preprocess gives .* scale: 1}"):
        write_fp32_onnx(path, ModelSpec.model_validate(raw), tmp_path / "out.onnx")


@pytest.mark.parametrize(
    ("dims", "ops", "message"),
    [
        ("[1, 8, 8]", "{op: rgb}", r"one channel: write {op: grey} in preprocess, in the place of {op: rgb}"),
        ("[3, 8, 8]", "{op: grey}", r"input.dims has 3. Remove {op: grey}"),
        ("[1, 8, 8]", "{op: grey}, {op: rgb}", r"{op: rgb} takes three channels"),
        ("[1, 8, 8]", "{op: grey}, {op: normalize, mean: [1, 2, 3]}", "one value for each channel, here 1"),
        ("[3, 8, 8]", "{op: normalize, std: [1, 2]}", "one value for each channel, here 3"),
        ("[4, 8, 8]", "{op: rgb}", "4 channels, and this version feeds 3 or 1"),
    ],
)
def test_channels_that_do_not_fit_are_said_of_the_spec(dims: str, ops: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_spec(
            f"name: a\ntask: classification\ninput: {{name: x, dims: {dims}}}\n"
            f"preprocess: [{{op: resize}}, {ops}, {{op: chw}}]\npostprocess: [{{op: top_k}}]",
            "a.yaml",
        )


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, FLOAT])
@pytest.mark.parametrize("shape", [["n", 2], [1, 2], [2]])
def test_a_size_is_given_as_floats_with_a_batch(tmp_path: Path, kind: int, shape: list[int | str]) -> None:
    """As RT-DETR's orig_target_sizes: parts of the image become pixels."""
    nodes = [
        node("GlobalAveragePool", ["image"], ["pooled"]),
        node("Flatten", ["pooled"], ["means"]),
        node("Cast", ["size"], ["pixels"], to=FLOAT),
        node("Concat", ["pixels", "pixels"], ["four"], axis=-1),
        node("ReduceSum", ["four"], ["sum"], keepdims=1),
        node("Mul", ["means", "sum"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("image", FLOAT, [shape[0] if len(shape) > 1 else "n", 3, 8, 6])]
    inputs += [helper.make_tensor_value_info("size", kind, shape)]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("scores", FLOAT, ["n", 3])])
    path, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    of = spec(extra="{size: original_wh}")
    write_fp32_onnx(path, of, out)
    found = {port.name: port for port in read_signature(out, of).inputs}["size"]
    assert (found.datatype, found.shape[1:]) == ("FP32", (2,))
    image, size = RANDOM.normal(size=(1, 3, 8, 6)).astype(np.float32), np.array([[640, 480]])
    theirs = (size if len(shape) > 1 else size[0]).astype(helper.tensor_dtype_to_np_dtype(kind))
    found_scores = run(out, image=image, size=size.astype(np.float32))
    np.testing.assert_allclose(found_scores, run(path, image=image, size=theirs), rtol=1e-5)


def test_the_size_of_the_original_does_not_go_with_borders() -> None:
    with pytest.raises(ModelError, match=r"size of the original tells nothing of what {op: letterbox} adds"):
        parse_spec(
            "name: a\ntask: detection\ninput: {name: x, dims: [3, 8, 8]}\nextra_inputs: {size: original_wh}\n"
            "preprocess: [{op: letterbox}, {op: chw}]\npostprocess: [{op: detections}]",
            "a.yaml",
        )
