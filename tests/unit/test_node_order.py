"""Nodes in any order are put in the one that ONNX demands."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from qtriton.builder.node_order import sort_nodes


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "any",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_nodes_are_put_behind_what_makes_their_inputs() -> None:
    mixed = model(
        helper.make_node("Add", ["b", "a"], ["y"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Neg", ["x"], ["a"]),
    )
    assert sort_nodes(mixed.graph)
    onnx.checker.check_model(mixed)
    assert [node.op_type for node in mixed.graph.node] == ["Neg", "Exp", "Add"]
    x = np.array([0, 1], np.float32)
    outputs: Any = ReferenceEvaluator(mixed).run(None, {"x": x})
    np.testing.assert_allclose(outputs[0], np.exp(-x) - x, rtol=1e-6)


def test_nodes_in_order_stay() -> None:
    right = model(helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Exp", ["a"], ["y"]))
    before = right.SerializeToString()
    assert not sort_nodes(right.graph) and right.SerializeToString() == before


def test_what_a_branch_takes_from_outside_is_made_before() -> None:
    branch = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["n"])],
        "branch",
        [],
        [helper.make_tensor_value_info("n", TensorProto.FLOAT, [2])],
    )
    mixed = model(
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", TensorProto.BOOL, [], [True])),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
        helper.make_node("Exp", ["x"], ["a"]),
    )
    assert sort_nodes(mixed.graph)
    assert [node.op_type for node in mixed.graph.node] == ["Constant", "Exp", "If"]


def test_a_circle_stays() -> None:
    circle = model(helper.make_node("Neg", ["b"], ["a"]), helper.make_node("Neg", ["a"], ["b"]))
    assert not sort_nodes(circle.graph)
