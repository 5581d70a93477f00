"""The ranges of activations: as narrow as the operation before allows, and no narrower."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.compress.scales import LearntLayer
from qtriton.quantize.bounds import Range
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import match_layers
from qtriton.quantize.ranges import Ranges

node = helper.make_node

LEAKY = node("LeakyRelu", ["c"], ["a"], alpha=0.1)
HARD_SWISH = node("HardSwish", ["c"], ["a"])
GATED = (node("HardSigmoid", ["c"], ["g"], alpha=1 / 6, beta=0.5), node("Mul", ["c", "g"], ["a"]))
POOL = node("MaxPool", ["a"], ["m"], kernel_shape=[3, 3], pads=[1] * 4)


def ranges(*between: onnx.NodeProto, read: str = "a", threshold: float | None = 3.0) -> Ranges:
    """Of x -> Conv, which gives c of -8 to 8 -> what is between -> Conv that reads -3 to 3."""
    weights = {"first": np.ones((2, 3, 1, 1), np.float32), "second": np.full((2, 2, 1, 1), 2, np.float32)}
    nodes = [node("Conv", ["x", "first"], ["c"]), *between]
    learnt = [LearntLayer("c", "conv2d", weights["first"], 1.0, 8.0, node="c")]
    if threshold is not None:
        nodes.append(node("Conv", [read, "second"], ["y"]))
        learnt.append(LearntLayer("y", "conv2d", weights["second"], threshold, 1.0, node="y"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", nodes[-1].output[0])]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    view = GraphView(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)))
    return Ranges(view, match_layers(view, learnt))


def approximately(low: float, high: float) -> Range:
    return Range(pytest.approx(low), pytest.approx(high))  # type: ignore[arg-type]


def test_a_leaky_relu_gives_little_below_zero() -> None:
    """A symmetric range would cost most of a bit."""
    assert ranges(LEAKY).of("a") == approximately(-0.8, 3)
    assert ranges(LEAKY, POOL, read="m").of("a") == approximately(-0.8, 3)


def test_what_a_concat_joins_is_no_wider_than_its_parts() -> None:
    other = node("LeakyRelu", ["c"], ["b"], alpha=0.2)
    assert ranges(LEAKY, other, node("Concat", ["a", "b"], ["k"], axis=1), read="k").of("k") == approximately(-1.6, 3)
    plain = node("Concat", ["a", "c"], ["k"], axis=1)
    assert ranges(LEAKY, plain, read="k").of("k") == Range(-3, 3)


@pytest.mark.parametrize(("alpha", "expected"), [(0.1, (-0.8, 8)), (2.0, (-16, 8)), (0.0, (0, 8))])
def test_a_leaky_relu_that_no_layer_reads_follows_from_what_it_reads(
    alpha: float, expected: tuple[float, float]
) -> None:
    leaky = node("LeakyRelu", ["c"], ["a"], alpha=alpha)
    assert ranges(leaky, threshold=None).of("a") == approximately(*expected)


def test_a_leaky_relu_that_turns_is_not_known() -> None:
    leaky = node("LeakyRelu", ["c"], ["a"], alpha=-0.5)
    assert ranges(leaky).of("a") == Range(-3, 3)
    assert ranges(leaky, threshold=None).of("a") is None


@pytest.mark.parametrize("activation", [(HARD_SWISH,), GATED], ids=["HardSwish", "x * HardSigmoid(x)"])
def test_a_hard_swish_dips_to_its_minimum_and_reads_nothing_below_its_tail(
    activation: tuple[onnx.NodeProto, ...],
) -> None:
    found = ranges(*activation)
    assert found.of("a") == Range(-0.375, 3)
    assert found.of("c") == Range(-3, 3.375)
    assert ranges(*activation, threshold=None).of("a") == Range(-0.375, 8)


def test_a_product_with_a_node_without_inputs_gates_nothing() -> None:
    """Old exporters write constants as nodes."""
    two = node("Constant", [], ["two"], value=numpy_helper.from_array(np.full(1, 2, np.float32)))
    assert ranges(two, node("Mul", ["c", "two"], ["a"]), threshold=None).of("a") is None
