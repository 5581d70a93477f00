"""The best rows of a head, chosen in its graph: those that sorting the finished head gives, computed for few rows."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from qtriton.placement.selection import RowSelection, select_above, select_rows

from .nets import V5_ROWS, V8_ROWS, Array, Net, Shape, arithmetic, run, yolov5, yolov8

COUNT = 40


def feed_of(inputs: Mapping[str, Shape], batch: int, *, ties: bool = False, seed: int = 0) -> dict[str, Array]:
    """Random features; with ties, of a few values only, so that many scores are equal."""
    rng = np.random.default_rng(seed)
    shapes = {name: (batch, *(int(size) for size in shape[1:])) for name, shape in inputs.items()}
    if ties:
        return {name: rng.integers(-2, 3, shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: rng.normal(0, 2, shape).astype(np.float32) for name, shape in shapes.items()}


def best_rows(head: Array, selection: RowSelection) -> Array:
    """What a selection is defined as: the rows [batch, count, columns] by their score, equal ones in their order."""
    rows = head if selection.axis == 1 else head.transpose(0, 2, 1)
    low, high = selection.scores
    scores = rows[..., low:high].max(axis=2)
    if selection.objectness is not None:
        scores = rows[..., selection.objectness] * scores
    order = np.argsort(-scores, axis=1, kind="stable")[:, : selection.count]
    return np.take_along_axis(rows, order[..., np.newaxis], axis=1)


def selected(model: ModelProto, selection: RowSelection) -> ModelProto:
    """A copy with the selection in its graph."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    select_rows(copy, "output", selection)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def check_selection(
    model: ModelProto, inputs: Mapping[str, Shape], selection: RowSelection, *, ties: bool = False
) -> ModelProto:
    chosen = selected(model, selection)
    free = isinstance(next(iter(inputs.values()))[0], str)
    for batch in (1, 2) if free else (1,):
        feed = feed_of(inputs, batch, ties=ties)
        (before, *others), (after, *same) = run(model, feed), run(chosen, feed)
        np.testing.assert_array_equal(after, best_rows(before, selection))
        for one, two in zip(others, same, strict=True):
            np.testing.assert_array_equal(one, two)
    return chosen


def check_few_are_computed(chosen: ModelProto, rows: int, columns: int) -> None:
    """Nothing is computed of all rows but one score of each, or its parts."""
    costs = [(op, number) for op, number in arithmetic(chosen) if op != "Softmax"]
    assert costs and max(number for _, number in costs) <= max(rows, COUNT * columns), costs


def v5(classes: int = 8, features: int = 0) -> RowSelection:
    return RowSelection(1, COUNT, (5, 5 + classes), objectness=4, width=5 + classes + features)


def v8(axis: int = 2, classes: int = 8, features: int = 0) -> RowSelection:
    return RowSelection(axis, COUNT // 2, (4, 4 + classes), width=4 + classes + features)


@pytest.mark.parametrize("ties", [False, True], ids=["apart", "ties"])
@pytest.mark.parametrize("sliced", [False, True], ids=["split", "slice"])
@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of 1"])
def test_yolov5(free: bool, sliced: bool, ties: bool) -> None:
    model, inputs = yolov5(free=free, sliced=sliced)
    chosen = check_selection(model, inputs, v5(), ties=ties)
    check_few_are_computed(chosen, sum(V5_ROWS), 13)
    (output,) = chosen.graph.output
    assert [size.dim_value for size in output.type.tensor_type.shape.dim][1:] == [COUNT, 13]
    assert max(number for op, number in arithmetic(chosen) if op == "Pow") <= 2 * COUNT


@pytest.mark.parametrize("opset", [13, 18, 20])
def test_of_every_opset(opset: int) -> None:
    """The axes of ReduceMax are an input since 18, and Split has a number of outputs."""
    model, inputs = yolov5(opset=opset)
    check_few_are_computed(check_selection(model, inputs, v5()), sum(V5_ROWS), 13)


def test_one_class() -> None:
    """Its score needs no maximum."""
    model, inputs = yolov5(classes=1)
    chosen = check_selection(model, inputs, v5(1))
    assert "ReduceMax" not in {node.op_type for node in chosen.graph.node}
    check_few_are_computed(chosen, sum(V5_ROWS), 6)


@pytest.mark.parametrize(
    ("count", "whole"), [(17, 0), (18, 1), (19, 1), (71, 1), (72, 2), (287, 2), (288, 3), (377, 3)]
)  # fmt: skip
def test_a_level_of_no_more_rows_is_taken_whole(count: int, whole: int) -> None:
    """Of larger ones so many rows are chosen first, then of all; the levels have 288, 72 and 18."""
    model, inputs = yolov5()
    chosen = check_selection(model, inputs, RowSelection(1, count, (5, 13), objectness=4, width=13), ties=True)
    assert sum(node.op_type == "TopK" for node in chosen.graph.node) == 3 - whole + 1


def test_columns_behind_the_scores_come_along() -> None:
    model, inputs = yolov5(features=3)
    chosen = check_selection(model, inputs, v5(features=3))
    check_few_are_computed(chosen, sum(V5_ROWS), 16)


def test_levels_that_are_joined_in_16_bits() -> None:
    """As an export with --half is once its inputs and outputs have 32."""
    model, inputs = yolov5(half=True)
    chosen = check_selection(model, inputs, v5())
    check_few_are_computed(chosen, sum(V5_ROWS), 13)


def test_an_output_that_another_node_reads_too() -> None:
    model, inputs = yolov5(more=lambda net, output: net.add("Neg", output, name="negative"))
    chosen = check_selection(model, inputs, v5())
    assert [value.name for value in chosen.graph.output] == ["output", "negative"]


@pytest.mark.parametrize("ties", [False, True], ids=["apart", "ties"])
@pytest.mark.parametrize("features", [0, 5])
@pytest.mark.parametrize("turned", [False, True], ids=["columns first", "turned"])
@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of 1"])
def test_yolov8(free: bool, turned: bool, features: int, ties: bool) -> None:
    model, inputs = yolov8(free=free, turned=turned, features=features)
    chosen = check_selection(model, inputs, v8(1 if turned else 2, features=features), ties=ties)
    check_few_are_computed(chosen, V8_ROWS, 12 + features)
    softmax = {number for op, number in arithmetic(chosen) if op == "Softmax"}
    assert softmax == {4 * 4 * (COUNT // 2)}


def test_of_one_class_and_no_objectness() -> None:
    model, inputs = yolov8(classes=1)
    check_few_are_computed(check_selection(model, inputs, v8(classes=1)), V8_ROWS, 5)


def test_scores_that_are_a_product_are_computed_of_all_rows_and_boxes_are_not() -> None:
    """The largest of products is not the product of the largest."""
    model, inputs = yolov8(premultiplied=True)
    chosen = check_selection(model, inputs, v8())
    large = {(op, number) for op, number in arithmetic(chosen) if number % V8_ROWS == 0}
    assert large == {("Mul", 8 * V8_ROWS), ("Sigmoid", 8 * V8_ROWS), ("Sigmoid", V8_ROWS)}


def head(end: Net, tensor: str, shape: Shape, **inputs: Shape) -> ModelProto:
    end.add("Identity", tensor, name="output")
    return end.model(inputs, {"output": shape})


@pytest.mark.parametrize("opset", [13, 18])
def test_rows_of_any_head_are_chosen_where_no_rule_applies(opset: int) -> None:
    """What mixes rows, as MatMul along them does, is finished before."""
    net = Net(opset)
    weights = net.constant(np.random.default_rng(1).normal(size=(30, 30)))
    mixed = net.add("MatMul", "x", weights)
    model = head(net, net.add("Sigmoid", mixed), ["batch", 9, 30], x=["batch", 9, 30])
    chosen = check_selection(model, {"x": ["batch", 9, 30]}, RowSelection(2, 7, (4, 9), width=9))
    assert prod((9, 30)) not in [number for op, number in arithmetic(chosen) if op == "Sigmoid"]


def test_a_concat_with_a_constant_along_the_rows() -> None:
    net = Net()
    rows = net.add("Concat", "x", net.constant(np.random.default_rng(1).normal(size=(1, 5, 9))), axis=1)
    model = head(net, rows, [1, 25, 9], x=[1, 20, 9])
    check_selection(model, {"x": [1, 20, 9]}, RowSelection(1, 7, (4, 9), width=9))


def test_a_name_that_is_taken() -> None:
    """A tensor of the graph may be called as the finished output is."""
    net = Net()
    whole = net.add("Neg", "x", name="output_whole")
    model = head(net, net.add("Add", whole, "x"), ["batch", 20, 9], x=["batch", 20, 9])
    check_selection(model, {"x": ["batch", 20, 9]}, RowSelection(1, 7, (4, 9), width=9))


def test_an_input_is_the_head() -> None:
    model = head(Net(), "x", ["batch", 20, 9], x=["batch", 20, 9])
    check_selection(model, {"x": ["batch", 20, 9]}, RowSelection(1, 7, (4, 9), objectness=3, width=9), ties=False)


# Rows that need a score.


def rows_above(head: Array, selection: RowSelection) -> int:
    """How many rows of each image are given."""
    assert selection.above is not None
    best = best_rows(head, replace(selection, count=head.shape[selection.axis]))
    scores = best[..., slice(*selection.scores)].max(axis=2)
    if selection.objectness is not None:
        scores = scores * best[..., selection.objectness]
    most = int((scores > selection.above).sum(axis=1).max())
    return min(max(-(-most // 64), 1) * 64, selection.count)


@pytest.mark.parametrize("above", [0.0, 0.3, 0.6, 0.8, 0.9, 2.0])
@pytest.mark.parametrize("count", [40, 100, 300])
@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of 1"])
def test_rows_are_those_that_have_the_score(free: bool, count: int, above: float) -> None:
    """In steps of 64, at least that many, and as many for each image; or all of a level, or all that are asked for."""
    for (model, inputs), head in ((yolov5(free=free), v5()), (yolov8(free=free), v8())):
        selection = replace(head, count=min(count, 100 if head.axis == 2 else 300), above=above)
        chosen = selected(model, selection)
        for batch in (1, 3) if free else (1,):
            feed = feed_of(inputs, batch)
            (before, *_), (after, *_) = run(model, feed), run(chosen, feed)
            expected = best_rows(before, selection)[:, : rows_above(before, selection)]
            np.testing.assert_array_equal(after, expected)


def test_the_score_that_rows_need_can_be_changed() -> None:
    model, inputs = yolov5()
    selection = replace(v5(), count=300, above=0.9)
    chosen, feed = selected(model, selection), feed_of(inputs, 2)
    (whole,), (few,) = run(model, feed), run(chosen, feed)
    select_above(chosen, 0.3)
    (more,) = run(chosen, feed)
    assert few.shape[1] == rows_above(whole, selection) < more.shape[1]
    assert more.shape[1] == rows_above(whole, replace(selection, above=0.3))


# The convolution in front of an anchor-based head, which is cut into that of boxes and that of scores.


def check_close(model: ModelProto, inputs: Mapping[str, Shape], selection: RowSelection) -> ModelProto:
    """As `check_selection`, but for the rounding of a convolution that is cut."""
    chosen = selected(model, selection)
    feed = feed_of(inputs, 2 if isinstance(next(iter(inputs.values()))[0], str) else 1)
    (before, *others), (after, *same) = run(model, feed), run(chosen, feed)
    np.testing.assert_allclose(after, best_rows(before, selection), rtol=1e-4, atol=1e-4)
    for one, two in zip(others, same, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
    return chosen


def convolutions(model: ModelProto) -> list[int]:
    """How many channels each gives."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    return [weights[node.input[1]][0] for node in model.graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize(("features", "parts"), [(0, [5, 8]), (3, [5, 8, 3])])
@pytest.mark.parametrize("sliced", [False, True], ids=["split", "slice"])
@pytest.mark.parametrize("free", [True, False], ids=["free batch", "batch of 1"])
def test_scores_have_a_convolution_of_their_own(free: bool, sliced: bool, features: int, parts: list[int]) -> None:
    """What they are the best of is not moved then, and boxes are chosen place by place."""
    model, inputs = yolov5(free=free, sliced=sliced, features=features, image="images")
    chosen = check_close(model, inputs, v5(features=features))
    assert sorted(convolutions(chosen)) == sorted(3 * part for part in parts * 3)
    costs = [number for op, number in arithmetic(chosen) if op not in ("Conv", "Div", "Mul", "Add")]
    assert max(costs) <= max(V5_ROWS[0], COUNT * 16)


def test_a_convolution_that_something_else_reads_stays_whole() -> None:
    net = Net()
    random = np.random.default_rng(1)
    net.add("Conv", "x", net.constant(random.normal(size=(3 * 9, 4, 1, 1))), name="raw")
    boxes = net.add("Transpose", net.reshape("raw", [0, 3, 9, 5, 6]), perm=[0, 1, 3, 4, 2])
    net.add("Reshape", boxes, net.constant([0, -1, 9], np.int64), name="output")
    net.add("Relu", "raw", name="second")
    inputs: dict[str, Shape] = {"x": ["batch", 4, 5, 6]}
    model = net.model(inputs, {"output": ["batch", 90, 9], "second": ["batch", 27, 5, 6]})
    chosen = check_close(model, inputs, RowSelection(1, 7, (5, 9), objectness=4, width=9))
    assert convolutions(chosen) == [27]


def test_another_head_with_boxes_of_fewer_numbers_is_left_alone() -> None:
    net = Net()
    random = np.random.default_rng(1)
    for name, width in (("output", 9), ("second", 4)):
        raw = net.add("Conv", "x", net.constant(random.normal(size=(3 * width, 4, 1, 1))))
        boxes = net.add("Transpose", net.reshape(raw, [0, 3, width, 5, 6]), perm=[0, 1, 3, 4, 2])
        net.add("Reshape", boxes, net.constant([0, -1, width], np.int64), name=name)
    inputs: dict[str, Shape] = {"x": ["batch", 4, 5, 6]}
    model = net.model(inputs, {"output": ["batch", 90, 9], "second": ["batch", 90, 4]})
    chosen = check_close(model, inputs, RowSelection(1, 7, (5, 9), objectness=4, width=9))
    assert sorted(convolutions(chosen)) == [12, 12, 15]


# What is not known of a graph.


def test_a_head_behind_an_operation_that_onnx_does_not_know() -> None:
    """Its shape is the one that the output states."""
    net = Net()
    net.add("QuickGelu", "x", name="output", domain="com.microsoft")
    inputs: dict[str, Shape] = {"x": ["batch", 20, 9]}
    check_selection(net.model(inputs, {"output": ["batch", 20, 9]}), inputs, RowSelection(1, 7, (4, 9), width=9))


def test_a_tensor_with_the_batch_in_two_places() -> None:
    """As how alike the images of a batch are: it has no shape that another batch has, too."""
    net = Net()
    rows = net.reshape("x", [0, 180])
    alike = net.add("MatMul", rows, net.add("Transpose", rows, perm=[1, 0]))
    batch = net.add("Shape", "x", end=1)
    flat = net.add("Reshape", alike, net.add("Concat", batch, batch, axis=0))
    least = net.add("ReduceMin", flat, axes=[1], keepdims=1)
    net.add("Add", "x", net.add("Unsqueeze", least, net.constant([2], np.int64)), name="output")
    inputs: dict[str, Shape] = {"x": ["batch", 20, 9]}
    check_selection(net.model(inputs, {"output": ["batch", 20, 9]}), inputs, RowSelection(1, 7, (4, 9), width=9))


def branch(op: str, tensor: str) -> onnx.GraphProto:
    """A graph within a node, that reads the graph around it."""
    result = f"{op}_{tensor}"
    output = onnx.helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, None)
    return onnx.helper.make_graph([onnx.helper.make_node(op, [tensor], [result])], op, [], [output])


def test_graphs_within_nodes_read_the_whole_output() -> None:
    """They go by its name, too."""
    net = Net()
    net.add("Sigmoid", "x", name="output")
    always = net.constant(True, np.bool_)
    net.add("If", always, name="other", then_branch=branch("Neg", "output"), else_branch=branch("Abs", "output"))
    inputs: dict[str, Shape] = {"x": ["batch", 20, 9]}
    model = net.model(inputs, {"output": ["batch", 20, 9], "other": ["batch", 20, 9]})
    check_selection(model, inputs, RowSelection(1, 7, (4, 9), width=9))


def test_a_head_that_a_graph_within_a_node_makes() -> None:
    net = Net()
    features, always = net.add("Sigmoid", "x"), net.constant(True, np.bool_)
    branches = {"then_branch": branch("Neg", features), "else_branch": branch("Abs", features)}
    net.add("If", always, name="output", **branches)
    inputs: dict[str, Shape] = {"x": ["batch", 20, 9]}
    check_selection(net.model(inputs, {"output": ["batch", 20, 9]}), inputs, RowSelection(1, 7, (4, 9), width=9))
