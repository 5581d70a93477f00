"""Slices that part a tensor become a Split in front of GatherElements, and nowhere else."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qtriton.quantize.slices import split_for_gathers

SHAPE = (1, 12, 9)


def model(
    ends: Sequence[tuple[int, int]], axis: int = -1, reader: str = "GatherElements", opset: int = 17
) -> ModelProto:
    """Slices (first, end) of a tensor [1, 12, 9], of which the first is gathered."""
    constants = {"axis": [-1], "rows": np.full((1, 5, 2), 3)}
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    for number, (first, end) in enumerate(ends):
        constants |= {f"first{number}": [first], f"end{number}": [end]}
        nodes.append(helper.make_node("Slice", ["y", f"first{number}", f"end{number}", "axis"], [f"part{number}"]))
    if reader == "GatherElements":
        nodes.append(helper.make_node("GatherElements", ["part0", "rows"], ["chosen"], axis=1))
    else:
        nodes.append(helper.make_node("Identity", ["part0"], ["chosen"]))
    kind = TensorProto.FLOAT
    names = ["chosen", *(f"part{number}" for number in range(1, len(ends)))]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, SHAPE)],
        [helper.make_tensor_value_info(name, kind, None) for name in names],
        [numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(network: ModelProto) -> list[Any]:
    values = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    return list(onnxruntime.InferenceSession(network.SerializeToString()).run(None, {"x": values}))


@pytest.mark.parametrize(
    "ends", [[(0, 2), (2, 6), (6, 9)], [(4, 9), (0, 4)], [(0, 2), (2, 2**63 - 1)], [(0, 2), (-7, 9)]]
)
def test_what_parts_a_tensor_is_split(ends: list[tuple[int, int]]) -> None:
    before, after = model(ends), model(ends)
    split_for_gathers(after)
    kinds = [node.op_type for node in after.graph.node]
    assert kinds.count("Split") == 1 and "Slice" not in kinds
    for one, two in zip(run(before), run(after), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "network",
    [
        model([(0, 2), (3, 9)]),
        model([(0, 4), (2, 9)]),
        model([(0, 2), (2, 8)]),
        model([(0, 9)]),
        model([(0, 2), (2, 9)], reader="Identity"),
        model([(0, 2), (2, 9)], opset=12),
    ],
)
def test_what_is_anything_else_stays(network: ModelProto) -> None:
    before = network.SerializeToString()
    split_for_gathers(network)
    assert network.SerializeToString() == before
