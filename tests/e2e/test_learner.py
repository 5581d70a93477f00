"""The second learner: where ACT works, too, their ranges agree; where it does not, INT8 is made all the same."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from qtriton.builder.feeding import read_frame
from qtriton.spec_files import load_spec

from .conftest import qtriton

YAML = """
name: odd
task: classification
title: Odd classifier
input: {name: x, dims: [3, 32, 32]}
preprocess: [{op: resize}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: softmax}, {op: top_k, k: 3}]
"""
PTQ = ("--method", "ptq", "--algorithm", "avg", "--accept-drop", "--json")


def odd_net(path: Path) -> Path:
    """Three convolutions with an Asinh between them, which x2paddle does not know."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (16, 3, 3, 3), "w1": (16, 16, 3, 3), "w2": (16, 16, 3, 3), "fc": (16, 10)}
    held = [
        numpy_helper.from_array((rng.normal(size=s) * 2 / np.sqrt(np.prod(s[1:]))).astype(np.float32), name)
        for name, s in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Asinh", ["c1"], ["a1"], name="odd_one"),
        helper.make_node("Conv", ["a1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 32, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "odd", [x], [y], held)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the odd network, its spec and images."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.yaml").write_text(YAML)
    odd_net(folder / "odd.onnx")
    (folder / "images").mkdir()
    rng = np.random.default_rng(1)
    for index in range(40):
        cv2.imwrite(str(folder / "images" / f"{index}.png"), rng.integers(0, 255, (32, 32, 3), np.uint8))
    return folder


def build_odd(odd: Path, repository: Path, *words: str) -> Any:
    return qtriton(
        "build", odd / "odd.yaml", "--weights", odd / "odd.onnx", "--calibration", odd / "images",
        "--repository", repository, *words,
    )  # fmt: skip


def test_what_x2paddle_cannot_take_becomes_int8_and_it_is_said(odd: Path, tmp_path: Path) -> None:
    done = build_odd(odd, tmp_path / "repository", "--backend", "onnxruntime,openvino,paddle", *PTQ)
    assert done.returncode == 0, done.stderr
    said, told = json.loads(done.stdout), " ".join(done.stderr.split())
    assert told.count("PaddleSlim ACT cannot learn the ranges, so ONNX Runtime does") == 1
    assert "cannot convert Asinh (node odd_one)" in told
    int8 = [each for each in said["variants"] if each["precision"] == "int8"]
    assert [each["backend"] for each in int8] == ["onnxruntime", "openvino"]
    assert all(each["gate"]["drop"] <= 10 for each in int8)
    left_out = {each["backend"]: each["reason"] for each in said["left_out"]}
    assert set(left_out) == {"paddle"} and "leave out --backend paddle" in left_out["paddle"]
    explained = qtriton("explain", "odd", "--repository", tmp_path / "repository")
    assert "learnt by ONNX Runtime" in " ".join(explained.stdout.split())
    manifest = json.loads(Path(int8[0]["manifest"]).read_text())
    assert manifest["settings"]["learner"] == "onnxruntime"


@pytest.mark.parametrize("words", [("--learner", "act"), ("--method", "qat"), ("--backend", "paddle")])
def test_where_only_act_will_do_the_error_names_the_node(odd: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = build_odd(odd, tmp_path / "repository", *words)
    told = " ".join(done.stderr.split())
    assert done.returncode == 6, told
    assert "cannot convert Asinh (node odd_one)" in told and "ONNX Runtime then learns the ranges" in told
    assert not (tmp_path / "repository").exists()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The demo in INT8 by each learner: what the build said of it."""
    said = {}
    for learner in ("act", "onnxruntime"):
        repository = tmp_path_factory.mktemp(learner) / "repository"
        where = ("--placement", "steps", "--repository", repository)  # the network's own outputs are compared
        done = qtriton("build", "demo_digits", "--learner", learner, *where, *PTQ)
        assert done.returncode == 0, done.stderr
        said[learner] = {each["precision"]: each for each in json.loads(done.stdout)["variants"]}
    return said


def test_where_both_learners_work_their_ranges_agree(both: dict[str, Any], demo_images: list[Path]) -> None:
    decibels = {
        learner: noise(said["fp32"]["artifact"], said["int8"]["artifact"], demo_images)
        for learner, said in both.items()
    }
    assert decibels["act"] > 20
    assert decibels["onnxruntime"] == pytest.approx(decibels["act"], abs=0.3)


def noise(fp32: str, int8: str, images: list[Path]) -> float:
    """The signal to quantization noise of the raw outputs of some images, in dB."""
    sessions = [ort.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (fp32, int8)]
    name, spec = sessions[0].get_inputs()[0].name, load_spec("demo_digits")
    batch = np.stack([read_frame(path, spec).pixels for path in images[:8]])
    want, got = (session.run(None, {name: batch})[0].astype(np.float64) for session in sessions)
    return float(20 * np.log10(np.linalg.norm(want) / np.linalg.norm(want - got)))
