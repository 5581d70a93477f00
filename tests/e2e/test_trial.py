"""A model is tried before it is worth anything: it is served as it can be, or refused in a sentence."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.builder.trial import Tried, alike, try_model
from qtriton.errors import ArtifactLoadError
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton.target import Precision, Target

from .conftest import qtriton

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
SPEC = """
name: ten
task: classification
input: {name: image, dims: [3, 8, 8]}
preprocess: [{op: resize}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: softmax}, {op: top_k, k: 3}]
"""
ORT = Target("onnxruntime", Precision.FP32)


def spec(more: str = "") -> ModelSpec:
    return parse_spec(SPEC + more, "ten.yaml")


def net(path: Path, kind: str, batch: int | str = "n") -> Path:
    """A classifier that is right, mixes its batch, has a batch of 1 baked in, or fails where there is nothing."""
    middle = {
        "right": [helper.make_node("Identity", ["means"], ["rows"])],
        "mixes": [
            helper.make_node("ReduceMean", ["means"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Add", ["means", "mean"], ["rows"]),
        ],
        "baked": [helper.make_node("Reshape", ["means", "shape"], ["rows"])],
        "finds": [
            helper.make_node("ReduceMax", ["image"], ["most"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Greater", ["most", "little"], ["found"]),
            helper.make_node("Compress", ["means", "found"], ["kept"], axis=0),
            helper.make_node("Reshape", ["kept", "rest"], ["rows"]),
        ],
    }[kind]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
        *middle,
        helper.make_node("MatMul", ["rows", "matrix"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32) * 9, "matrix"),
        numpy_helper.from_array(np.array([1, 3]), "shape"),
        numpy_helper.from_array(np.array([0, -1]), "rest"),
        numpy_helper.from_array(np.array(0.01, np.float32), "little"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 10])
    graph = helper.make_graph(nodes, "g", [image], [scores], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_a_model_that_is_right_keeps_its_batch(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.full((9, 7, 3), 80, np.uint8))
    for images in ((), (image,)):
        assert try_model(ORT, net(tmp_path / "net.onnx", "right"), spec(), images) == Tried(8)


def test_a_model_that_mixes_its_batch_is_given_one_image(tmp_path: Path) -> None:
    tried = try_model(ORT, net(tmp_path / "net.onnx", "mixes"), spec(), ())
    assert tried.max_batch == 1 and "another scores than one by one" in tried.reason


def test_outputs_without_a_free_batch_have_none_in_the_config(tmp_path: Path) -> None:
    tried = try_model(ORT, net(tmp_path / "net.onnx", "baked"), spec(), ())
    assert tried.max_batch == 0 and "scores [1, 10] has no free batch" in tried.reason
    assert try_model(ORT, net(tmp_path / "net.onnx", "right", 1), spec("max_batch_size: 0"), ()) == Tried(0)


def test_a_model_that_fails_where_it_finds_nothing_is_refused(tmp_path: Path) -> None:
    """The server would not become ready: its warm-up is zeros. So fails Faster R-CNN's Reshape of no boxes."""
    with pytest.raises(ArtifactLoadError, match=r"not on zeros, which a server warms up with: .*Reshape.*Export it so"):
        try_model(ORT, net(tmp_path / "net.onnx", "finds"), spec(), ())


@pytest.mark.parametrize(("kind", "batch"), [("mixes", 1), ("baked", 0)])
def test_what_is_published_states_the_batch_that_works(tmp_path: Path, kind: str, batch: int) -> None:
    (tmp_path / "ten.yaml").write_text(SPEC)
    done = qtriton(
        "build", tmp_path / "ten.yaml", "--weights", net(tmp_path / "net.onnx", kind), "--precision", "fp32",
        "--backend", "onnxruntime,openvino", "--repository", tmp_path / "repository",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "It is served one image at a time" in " ".join(done.stderr.split())
    texts = [path.read_text() for path in (tmp_path / "repository").glob("*/config.pbtxt")]
    assert len(texts) == 6 and all(f"max_batch_size: {batch}\n" in text for text in texts)
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.full((9, 7, 3), 80, np.uint8))
    found = qtriton("predict", "ten_onnxruntime_fp32", image, "--repository", tmp_path / "repository", "--json")
    assert found.returncode == 0, found.stderr


def without_batch(path: Path) -> Path:
    """A classifier of one image [3, 8, 8] that gives [10]."""
    model = onnx.load(str(net(path, "right", 1)))
    del model.graph.input[0].type.tensor_type.shape.dim[0], model.graph.output[0].type.tensor_type.shape.dim[0]
    model.graph.node[0].attribute[0].ints[:] = [1, 2]
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("kind", "batch", "said", "most"),
    [
        ("right", 1, "the batch was fixed at 1, and is made free", 8),
        ("baked", 1, "the batch was fixed at 1, and is made free", 8),
        ("mixes", 1, "two images at once give another scores", 1),
        ("right", 4, "the batch was fixed at 4, and is made free", 8),
        ("none", 0, "image gets a batch of 1", 0),
    ],
)
def test_a_fixed_batch_is_served_as_far_as_it_can_be_freed(
    tmp_path: Path, kind: str, batch: int, said: str, most: int
) -> None:
    (tmp_path / "ten.yaml").write_text(SPEC)
    model = without_batch(tmp_path / "net.onnx") if kind == "none" else net(tmp_path / "net.onnx", kind, batch)
    done = qtriton(
        "build", tmp_path / "ten.yaml", "--weights", model, "--precision", "fp32", "--backend", "onnxruntime,openvino",
        "--repository", tmp_path / "repository",
    )  # fmt: skip
    assert done.returncode == 0 and " ".join(done.stderr.split()).count(said) == 1, done.stderr
    served = (
        tmp_path / "repository" / f"ten_{name}" / "config.pbtxt" for name in ("onnxruntime_fp32", "openvino_fp32")
    )
    texts = [path.read_text() for path in served]
    assert f"max_batch_size: {most}\n" in texts[0] and f"max_batch_size: {min(most, 1)}\n" in texts[1]
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.full((9, 7, 3), 80, np.uint8))
    found = qtriton("predict", "ten_openvino_fp32", image, "--repository", tmp_path / "repository", "--json")
    assert found.returncode == 0, found.stderr


def test_rounding_is_no_difference_and_another_answer_is() -> None:
    scores = np.array([[300, 0.5, np.nan, np.inf], [200, 0.25, 1, 2]], np.float32)
    assert alike(scores * np.float32(1 + 1e-6), scores)
    assert alike(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32))
    for place in ((0, 0), (0, 1), (0, 2), (0, 3)):
        other = scores.copy()
        other[place] = other[place] * 1.1 if np.isfinite(other[place]) else 0
        assert not alike(other, scores), "a small column counts as much as a large one"


#: What every small input of the sort ends with: an exit code, and a part of what is said.
RIGHT = {
    "batch-hidden": (0, "max_batch_size 1"),
    "batch-baked-in": (0, "max_batch_size 0"),
    "heads-yolo8": (3, "use {op: yolo8_head}."),
    "heads-seg-one-channel": (3, "{op: threshold}"),
    "heads-one-logit": (3, "{op: two_classes}"),
    "heads-end2end": (3, "Write the right columns in the spec (class_score_box, box_score_class"),
    "io-external-data": (0, ""),
    "io-free-height-width": (0, ""),
    "io-fp16": (0, ""),
    "io-two-outputs": (0, "reads the first, logits"),
    "io-nhwc": (0, "channels last: turned on import"),
    "io-uint8": (3, "{op: normalize, scale: 1}"),
    "io-grey": (3, "{op: grey}"),
}


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there")
@pytest.mark.parametrize("name", RIGHT)
def test_every_case_ends_right_or_refused(tmp_path: Path, name: str) -> None:
    code, said = RIGHT[name]
    done = qtriton(
        "build", CASES / name / "spec.yaml", "--weights", CASES / name / "net.onnx", "--precision", "fp32",
        "--validation", CASES / "images" / "validation", "--repository", tmp_path / "repository",
    )  # fmt: skip
    assert done.returncode == code and said in " ".join(done.stderr.split()), done.stderr
    assert (tmp_path / "repository").exists() is (code == 0)
