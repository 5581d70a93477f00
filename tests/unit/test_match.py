"""Which learnt layer is which node: by what both read and give, never by order; and ranges are held against values."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qtriton.compress.scales import LearntLayer, Scales, fingerprint
from qtriton.errors import CompressionError
from qtriton.quantize.bounds import Bounds, Range
from qtriton.quantize.graph import GraphView
from qtriton.quantize.integers import Affine, largest_pair, to_integers
from qtriton.quantize.match import Layer, match_layers, pair_layers
from qtriton.quantize.observe import Observation, observe
from qtriton.quantize.plausible import check_ranges
from qtriton.quantize.qdq import is_depthwise
from qtriton.target import Method

LEVELS = ("a", "b", "c")
WEIGHT = np.random.default_rng(0).normal(size=(4, 4, 1, 1)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(size=(2, 4, 8, 8)).astype(np.float32)


def heads() -> onnx.ModelProto:
    """One convolution on three levels: x, x * 10 and x * 100."""
    nodes, constants = [], [numpy_helper.from_array(WEIGHT, "w")]
    for power, level in enumerate(LEVELS):
        constants.append(numpy_helper.from_array(np.array(10.0**power, np.float32), f"k{level}"))
        nodes.append(helper.make_node("Mul", ["x", f"k{level}"], [level]))
        nodes.append(helper.make_node("Conv", [level, "w"], [f"{level}_out"], name=f"head_{level}"))
    outputs = [helper.make_tensor_value_info(f"{level}_out", TensorProto.FLOAT, None) for level in LEVELS]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])]
    return onnx.shape_inference.infer_shapes(
        helper.make_model(
            helper.make_graph(nodes, "g", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 13)]
        )
    )


@pytest.fixture
def view() -> GraphView:
    return GraphView(heads())


@pytest.fixture
def seen() -> Observation:
    return observe(heads(), IMAGES, {}, {*LEVELS, *(f"{level}_out" for level in LEVELS)}, [0, 1])


def learnt(level: str, seen: Observation) -> LearntLayer:
    source, output = (float(np.abs(seen.extremes[name]).max()) for name in (level, f"{level}_out"))
    prints = (seen.fingerprints[level], seen.fingerprints[f"{level}_out"])
    return LearntLayer(f"paddle_{level}", "conv2d", WEIGHT, source, output, read=prints[0], given=prints[1])


def test_layers_with_equal_weights_get_their_own_ranges_in_any_order(view: GraphView, seen: Observation) -> None:
    for order in (LEVELS, LEVELS[::-1], ("b", "c", "a")):
        paired = pair_layers(view, [learnt(level, seen) for level in order], seen.fingerprints)
        assert {layer.name: layer.node for layer in paired} == {f"paddle_{level}": f"{level}_out" for level in LEVELS}
        thresholds = [layer.learnt.input_threshold for layer in match_layers(view, paired).values()]
        np.testing.assert_allclose(thresholds, thresholds[0] * np.array([1, 10, 100]), rtol=1e-5)


def test_without_fingerprints_equal_weights_are_an_error(view: GraphView, seen: Observation) -> None:
    bare = [replace(learnt(level, seen), read=None, given=None) for level in LEVELS]
    with pytest.raises(CompressionError, match=r"head_a: several layers have its weights .* cannot be told"):
        pair_layers(view, bare, seen.fingerprints)
    with pytest.raises(CompressionError, match="head_a: several layers"):
        match_layers(view, bare)


def test_layers_that_read_the_same_and_have_the_same_ranges_may_be_either(view: GraphView, seen: Observation) -> None:
    same = [learnt("a", seen), replace(learnt("a", seen), name="twin")]
    rest = [learnt(level, seen) for level in "bc"]
    assert {layer.node for layer in pair_layers(view, [*same, *rest], seen.fingerprints)} == {
        *(f"{level}_out" for level in LEVELS),
        None,
    }


def test_a_layer_that_reads_other_values_is_not_the_same(view: GraphView, seen: Observation) -> None:
    other = replace(learnt("a", seen), read=seen.fingerprints["a"] * 1.5, given=seen.fingerprints["a_out"] * 1.5)
    with pytest.raises(CompressionError, match=r"head_a: .* reads other values\. The conversion changed the model"):
        pair_layers(view, [other, learnt("b", seen), learnt("c", seen)], seen.fingerprints)


def test_a_fingerprint_tells_an_order_and_does_not_mind_rounding() -> None:
    values = np.random.default_rng(2).normal(size=(3, 64)).astype(np.float32)
    rounded, moved = values + np.float32(1e-6), values[::-1]
    np.testing.assert_allclose(fingerprint(values), fingerprint(rounded), atol=1e-3)
    np.testing.assert_allclose(fingerprint(values)[:4], fingerprint(moved)[:4])
    assert np.abs(fingerprint(values) - fingerprint(moved)).max() > 1


@pytest.mark.parametrize(
    ("algorithm", "factor", "is_refused"),
    [
        *(("abs_max", 1.0, False), ("abs_max", 3.0, False), ("abs_max", 0.5, True), ("abs_max", 100.0, True)),
        *(("avg", 0.3, False), ("avg", 0.01, True), ("KL", 0.1, False), ("KL", 0.01, True), ("mse", 0.2, False)),
    ],
)
def test_a_range_that_the_algorithm_cannot_explain_is_refused(
    view: GraphView, seen: Observation, algorithm: str, factor: float, is_refused: bool
) -> None:
    layers = [learnt(level, seen) for level in LEVELS]
    layers[1] = replace(layers[1], input_threshold=factor * layers[1].input_threshold)
    paired = pair_layers(view, layers, seen.fingerprints)
    scales = Scales(Method.PTQ, algorithm, paired, (float(IMAGES.min()), float(IMAGES.max())))
    if is_refused:
        with pytest.raises(CompressionError, match="Conv head_b: its learnt range is"):
            check_ranges(view, scales, seen)
    else:
        check_ranges(view, scales, seen)


def bounds_of(*nodes: onnx.NodeProto, **constants: NDArray[np.generic]) -> Range:
    """The bounds of y, where x can be anything from -1 to 2."""
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(list(nodes), "g", inputs, outputs, tensors))
    return Bounds(GraphView(model), Range(-1.0, 2.0)).of("y")


def f32(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (bounds_of(helper.make_node("Concat", ["x", "k"], ["y"], axis=1), k=f32(-7, 5)), Range(-7, 5)),
        (bounds_of(helper.make_node("Concat", ["k", "x"], ["y"], axis=1), k=f32(0, 1)), Range(-1, 2)),
        (bounds_of(helper.make_node("Add", ["k", "x"], ["y"]), k=f32(3, 4)), Range(2, 6)),
        (bounds_of(helper.make_node("Clip", ["x", "low"], ["y"]), low=f32(5)), Range(5, 5)),
        (bounds_of(helper.make_node("Relu", ["x"], ["y"])), Range(0, 2)),
        (bounds_of(helper.make_node("Resize", ["x", "", "k"], ["y"], mode="linear"), k=f32(1, 1, 2, 2)), Range(-1, 2)),
    ],
)
def test_bounds_see_all_inputs(bounds: Range, expected: Range) -> None:
    assert bounds == expected


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Mul", ["x", "k"], ["y"]),
        helper.make_node("Resize", ["x", "", "sizes"], ["y"], mode="cubic"),
        helper.make_node("Clip", ["x", "x"], ["y"]),
    ],
    ids=["a product with a negative constant", "a cubic resize", "computed limits"],
)
def test_what_is_not_known_has_no_bounds(node: onnx.NodeProto) -> None:
    bounds = bounds_of(node, k=f32(-1, 3), sizes=f32(1, 1, 2, 2))
    assert (bounds.low, bounds.high) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("outputs", "groups", "depthwise"), [(4, 4, True), (8, 4, False), (4, 1, False), (1, 1, False)]
)
def test_only_a_depthwise_kernel_may_use_all_bits_without_vnni(outputs: int, groups: int, depthwise: bool) -> None:
    """vpmaddubsw adds two products of u8 and s8 in a saturating int16; the depthwise kernel does not use it."""
    weight = np.random.default_rng(3).normal(size=(outputs, 1, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=groups)
    layer = Layer(node, weight, 0, LearntLayer("y", "conv2d", weight, 1.0, None))
    assert is_depthwise(layer) is depthwise
    integers = to_integers(weight, None, 0, Affine.of(Range(-1, 1)), saturates=not depthwise)
    pairs = largest_pair(integers.weight.astype(np.float32))
    assert depthwise or pairs.max() * 255 <= 2**15 - 1
