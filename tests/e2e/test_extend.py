"""A new model is one YAML, a new backend one module and one row: both are added here, and nothing else is touched."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from qtriton.backends import BACKENDS
from qtriton.cli import main
from qtriton.server import ServerOptions, serve

from .remote import ask
from .toy import Toy

YAML = """
name: toy
task: classification
title: Toy classifier
input: {name: x, dims: [3, 4, 4]}
preprocess: [{op: resize}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: softmax}, {op: top_k, k: 3}]
classes: [red, green, blue]
"""


def weights(path: Path) -> Path:
    """Each class is the sum of one channel."""
    matrix = np.kron(np.eye(3, dtype=np.float32), np.ones((16, 1), np.float32))
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *dims])
        for name, dims in (("x", [3, 4, 4]), ("y", [3]))
    )
    graph = helper.make_graph(nodes, "toy", [x], [y], [numpy_helper.from_array(matrix, "w")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_one_yaml_and_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BACKENDS, "toy", Toy())  # the row
    (tmp_path / "toy.yaml").write_text(YAML)
    repository = tmp_path / "repository"
    command = ["build", tmp_path / "toy.yaml", "--weights", weights(tmp_path / "toy.onnx"), "--precision", "fp32"]
    command += ["--backend", "onnxruntime,toy", "--repository", repository, "--json"]
    monkeypatch.setattr(sys, "argv", ["qtriton", *map(str, command)])

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr()
    assert not ended.value.code, said.err
    assert [each["ensemble"] for each in json.loads(said.out)["variants"]] == ["toy_onnxruntime_fp32", "toy_toy_fp32"]
    green = cv2.imencode(".png", np.full((9, 5, 3), (20, 230, 40), np.uint8))[1].tobytes()
    with serve(repository, ServerOptions(grpc_port=0, http_port=0)) as server:
        answers = [
            ask(server.grpc_url, f"toy_{name}_fp32", [green], ["classes", "scores"]) for name in ("toy", "onnxruntime")
        ]
    assert list(answers[0]["classes"][0]) == [1, 0, 2]
    for name, array in answers[0].items():
        np.testing.assert_allclose(array, answers[1][name], rtol=1e-5)
