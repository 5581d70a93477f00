"""onnxsim behind one function, which keeps its remarks from a user's terminal."""

import os
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.compress import simplify as module


def folding() -> onnx.ModelProto:
    """y = x + (1 + 2), of which the sum in brackets is a constant."""
    held = [numpy_helper.from_array(np.array([value], np.float32), name) for value, name in ((1, "one"), (2, "two"))]
    nodes = [helper.make_node("Add", ["one", "two"], ["three"]), helper.make_node("Add", ["x", "three"], ["y"])]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "n"]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_constants_are_folded_at_the_shapes_that_are_given() -> None:
    simplified = module.simplify(folding(), {"x": [1, 4]})
    assert [node.op_type for node in simplified.graph.node] == ["Add"]
    assert [dim.dim_value for dim in simplified.graph.input[0].type.tensor_type.shape.dim] == [1, 4]


def test_what_native_code_says_is_discarded_and_stderr_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="as onnxsim raises it"), module._native_stderr_discarded():
        os.write(2, b'WARNING: failed to run "Where" op')
        raise ValueError("as onnxsim raises it")
    print("an error of ours", file=sys.stderr)
    assert capfd.readouterr().err == "an error of ours\n"
