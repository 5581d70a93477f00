"""The graph that x2paddle is given computes what the user's does, in operations that x2paddle converts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from qtriton.compress.importing import fix_shape
from qtriton.compress.normalize.opset import OPSET
from qtriton.compress.normalize.table import CONVERTIBLE, REWRITES
from qtriton.errors import ConversionError

Array = npt.NDArray[Any]
LAST = np.iinfo(np.int64).max
FIRST = np.iinfo(np.int64).min


def op(op_type: str, *inputs: str, outputs: Sequence[str] = ("y",), **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs, outputs, **attributes)


def random(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def longs(*values: int) -> Array:
    return np.array(values, np.int64)


def net(
    nodes: Sequence[NodeProto], constants: Mapping[str, Array], rank: int, opset: int, outputs: Sequence[str] = ("y",)
) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [f"d{axis}" for axis in range(rank)])
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "net", [x], results, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred: ModelProto = onnx.shape_inference.infer_shapes(model)
    return inferred


def run(model: ModelProto, image: Array) -> list[Array]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, {session.get_inputs()[0].name: image})
    return results


def by_onnx(model: ModelProto, image: Array) -> list[Array]:
    """What ONNX's own evaluator computes, for what old versions of ONNX Runtime compute badly or not at all."""
    return [np.asarray(each) for each in ReferenceEvaluator(model).run(None, {"x": image})]


def check(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Array],
    shape: tuple[int, ...],
    opset: int = 13,
    outputs: Sequence[str] = ("y",),
    by: Callable[[ModelProto, Array], list[Array]] = run,
) -> ModelProto:
    """The rewritten model, after the comparison with what `by` computes."""
    model, image = net(nodes, constants, len(shape), opset, outputs), random(*shape, seed=7)
    expected = by(model, image)
    rewritten = fix_shape(model, shape)
    assert {node.op_type for node in rewritten.graph.node} <= CONVERTIBLE
    assert rewritten.opset_import[0].version == OPSET
    onnx.checker.check_model(rewritten, full_check=True)
    for before, after in zip(expected, run(rewritten, image), strict=True):
        assert before.shape == after.shape and before.dtype == after.dtype
        np.testing.assert_allclose(after, before, atol=1e-5, rtol=1e-5)
    return rewritten


def types(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("node", "opset"),
    [
        (op("HardSwish", "x"), 14),
        (op("HardSigmoid", "x", alpha=0.3, beta=0.4), 13),
        (op("Mish", "x"), 18),
        (op("Gelu", "x"), 20),
        (op("Gelu", "x", approximate="tanh"), 20),
        (op("Celu", "x", alpha=0.7), 13),
        (op("MeanVarianceNormalization", "x"), 13),
        (op("LpNormalization", "x", axis=1), 13),
        (op("LpNormalization", "x", axis=-1, p=1), 13),
        (op("Softmax", "x"), 13),
        (op("Softmax", "x", axis=1), 11),
        (op("LogSoftmax", "x", axis=1), 13),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else str(value),
)
@pytest.mark.parametrize("shape", [(1, 4, 6, 5), (1, 7, 8)])
def test_an_activation_or_normalization_is_what_it_was(node: NodeProto, opset: int, shape: tuple[int, ...]) -> None:
    if node.op_type == "MeanVarianceNormalization" and len(shape) != 4:
        pytest.skip("its default axes are those of images")

    check([node], {}, shape, opset)


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize(("axis", "shape"), [(-1, (1, 5, 8)), (1, (1, 3, 4, 6)), (2, (1, 3, 4, 6)), (-1, (1, 4, 4, 9))])
@pytest.mark.parametrize("with_bias", [True, False])
def test_layer_normalization_keeps_its_precision_far_from_zero(
    axis: int, shape: tuple[int, ...], with_bias: bool, opset: int
) -> None:
    normal = shape[axis:]
    constants = {"offset": np.full(1, 30, np.float32), "scale": random(*normal), "bias": random(*normal, seed=2)}
    inputs = ["far", "scale", "bias"] if with_bias else ["far", "scale"]
    nodes = [op("Add", "x", "offset", outputs=["far"]), op("LayerNormalization", *inputs, axis=axis, epsilon=1e-6)]

    check(nodes, constants, shape, opset, by=by_onnx)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(1, 6, 5, 4), (1, 6, 9)])
def test_group_normalization_has_weights_of_channels(groups: int, shape: tuple[int, ...]) -> None:
    constants = {"scale": random(6), "bias": random(6, seed=2)}

    check([op("GroupNormalization", "x", "scale", "bias", num_groups=groups)], constants, shape, 21)


@pytest.mark.parametrize("shape", [(1, 4, 6, 5), (1, 4, 9)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    node = op("InstanceNormalization", "x", "scale", "bias", epsilon=1e-3)

    check([node], {"scale": random(4), "bias": random(4, seed=2)}, shape)


REDUCTIONS = sorted(name for name in REWRITES if name.startswith("Reduce"))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("axes", [(1,), (-2, -1), ()])
@pytest.mark.parametrize("keepdims", [None, 0])
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_a_reduction_says_its_axes(reduction: str, axes: tuple[int, ...], keepdims: int | None, opset: int) -> None:
    attributes: dict[str, Any] = {} if keepdims is None else {"keepdims": keepdims}
    by_input = opset >= 18 or (opset >= 13 and reduction == "ReduceSum")
    constants = {"positive": np.full(1, 5, np.float32)}
    if axes and by_input:
        constants["axes"] = longs(*axes)
    elif axes:
        attributes["axes"] = axes
    inputs = ["high", "axes"] if "axes" in constants else ["high"]

    check(
        [op("Add", "x", "positive", outputs=["high"]), op(reduction, *inputs, **attributes)],
        constants,
        (1, 3, 4, 5),
        opset,
    )


def test_a_reduction_over_no_axes_that_does_nothing_is_left_out() -> None:
    node = op("ReduceMean", "x", "axes", noop_with_empty_axes=1)

    check([node, op("Relu", "y", outputs=["z"])], {"axes": longs()}, (1, 3, 4, 5), 18, ["z"])


@pytest.mark.parametrize("name", ["Sum", "Max", "Min", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_an_operation_of_many_inputs_is_of_two(name: str, count: int) -> None:
    inputs = ["x", "a", "b", "c"][:count]

    model = check([op(name, *inputs)], {each: random(1, 3, 4, seed=i) for i, each in enumerate(inputs[1:])}, (1, 3, 4))

    assert all(len(node.input) <= 2 for node in model.graph.node)


SLICES = [
    ((0,), (2,), (1,), None),
    ((1,), (LAST,), (-1,), None),
    ((-3,), (-1,), (2,), None),
    ((0, 1), (LAST, 4), (1, 3), (2, 1)),
    ((-1,), (FIRST,), (1,), (-1,)),
    ((-1, -1), (FIRST, FIRST), (1, 3), (-1, -1)),
    ((-1, 0), (FIRST, LAST), (2, 3), (-1, 2)),
    ((4,), (0,), (2,), (-2,)),
    ((LAST,), (FIRST,), (3,), (-1,)),
]


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), SLICES)
def test_a_slice_reads_what_it_read(
    starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...], steps: tuple[int, ...] | None
) -> None:
    constants = {"starts": longs(*starts), "ends": longs(*ends), "axes": longs(*axes)}
    inputs = ["x", *constants]
    if steps is not None:
        constants["steps"] = longs(*steps)
        inputs.append("steps")

    model = check([op("Slice", *inputs)], constants, (1, 4, 6, 5))

    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        assert all((held[name] >= 0).all() for name in node.input[1:])


def test_a_slice_without_axes_goes_over_the_first_ones() -> None:
    check([op("Slice", "x", "starts", "ends")], {"starts": longs(0, 1), "ends": longs(1, 3)}, (1, 4, 6))


def test_a_slice_of_opset_9_has_attributes() -> None:
    check([op("Slice", "x", starts=[0, 1], ends=[LAST, -1], axes=[1, 3])], {}, (1, 4, 6, 5), 9)


@pytest.mark.parametrize(
    ("opset", "attributes", "sizes"),
    [(18, {"num_outputs": 2}, None), (18, {}, (1, 4)), (13, {}, (2, 3)), (11, {"split": [4, 1]}, None)],
)
def test_a_split_says_its_sizes(opset: int, attributes: dict[str, Any], sizes: tuple[int, ...] | None) -> None:
    constants = {} if sizes is None else {"sizes": longs(*sizes)}
    nodes = [
        op("Split", "x", *constants, outputs=["a", "b"], axis=-1, **attributes),
        op("Relu", "b", outputs=["r"]),
        op("Concat", "r", "a", axis=-1),
    ]

    check(nodes, constants, (1, 3, 5), opset)


def test_an_output_that_is_one_of_several_of_a_node_keeps_its_name() -> None:
    nodes = [op("Split", "x", "sizes", outputs=["a", "b"], axis=1), op("Relu", "b")]

    model = check(nodes, {"sizes": longs(1, 3)}, (1, 4, 5), outputs=["a", "b", "y"])

    assert [value.name for value in model.graph.output] == ["a", "b", "y"]


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 2, 1), (0, 2, 0, 0, 0, 1, 0, 0), (0, 1, 1, 1, 0, 1, 1, 1)])
@pytest.mark.parametrize("value", [None, 0.0, -2.5])
def test_padding_of_a_constant_is_joined_to_the_rest(mode: str, pads: tuple[int, ...], value: float | None) -> None:
    constants: dict[str, Array] = {"pads": longs(*pads)}
    if value is not None and mode == "constant":
        constants["value"] = np.array(value, np.float32)

    check([op("Pad", "x", *constants, mode=mode)], constants, (1, 4, 6, 5))


def test_padding_of_opset_18_names_its_axes() -> None:
    check([op("Pad", "x", "pads", "", "axes")], {"pads": longs(1, 0, 2, 3), "axes": longs(-1, 1)}, (1, 4, 6, 5), 18)


def test_padding_of_tokens() -> None:
    check([op("Pad", "x", "pads")], {"pads": longs(0, 1, 0, 0, 2, 3)}, (1, 4, 6))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("pixels", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("scale", [2.0, 1.5, 0.5])
def test_a_resize_gives_the_same_pixels(mode: str, pixels: str, scale: float) -> None:
    node = op("Resize", "x", "", "scales", mode=mode, coordinate_transformation_mode=pixels)

    model = check([node], {"scales": np.array([1, 1, scale, scale], np.float32)}, (1, 3, 6, 8))

    assert "Resize" in types(model) or "MatMul" in types(model)


@pytest.mark.parametrize("opset", [13, 18])
def test_a_resize_to_sizes(opset: int) -> None:
    node = op("Resize", "x", "", "", "sizes", mode="linear")

    assert types(check([node], {"sizes": longs(1, 3, 12, 20)}, (1, 3, 6, 8), opset)) == ["Resize"]


@pytest.mark.parametrize(("mode", "antialias"), [("linear", 1), ("linear", 0), ("cubic", 1)])
def test_a_resize_of_opset_18_names_its_axes_and_smooths(mode: str, antialias: int) -> None:
    node = op("Resize", "x", "", "", "sizes", mode=mode, axes=[2, 3], antialias=antialias)

    check([node], {"sizes": longs(3, 5)}, (1, 3, 6, 8), 18)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("alpha", [1.0, 0.25])
@pytest.mark.parametrize("beta", [1.0, 2.0, 0.0])
@pytest.mark.parametrize("with_bias", [True, False])
def test_a_gemm_is_plain(transposed: int, alpha: float, beta: float, with_bias: bool) -> None:
    constants = {"w": random(5, 6).T.copy() if not transposed else random(5, 6), "c": random(5, seed=2)}
    inputs = ["x", "w", "c"] if with_bias else ["x", "w"]

    model = check([op("Gemm", *inputs, alpha=alpha, beta=beta, transB=transposed)], constants, (1, 6))

    assert types(model) in (["Gemm"], ["MatMul"], ["MatMul", "Add"]) and not model.graph.node[0].attribute


def test_a_gemm_of_two_activations() -> None:
    nodes = [
        op("Reshape", "x", "square", outputs=["s"]),
        op("Relu", "s", outputs=["r"]),
        op("Gemm", "s", "r", alpha=0.5, transA=1, transB=1),
    ]

    check(nodes, {"square": longs(4, 4)}, (1, 16))


@pytest.mark.parametrize(
    "attributes", [{"pads": [1, 1]}, {"pads": [2, 0], "strides": [2]}, {"dilations": [2], "group": 2}, {}]
)
def test_a_convolution_of_sequences_is_one_of_images(attributes: dict[str, Any]) -> None:
    constants = {"w": random(6, 4 // attributes.get("group", 1), 3), "b": random(6, seed=2)}

    model = check([op("Conv", "x", "w", "b", **attributes)], constants, (1, 4, 9))

    assert types(model) == ["Reshape", "Conv", "Reshape"]


def test_a_transposed_convolution_of_sequences() -> None:
    node = op("ConvTranspose", "x", "w", strides=[2], pads=[1, 1], output_padding=[1])

    check([node], {"w": random(4, 6, 3)}, (1, 4, 9))


@pytest.mark.parametrize("name", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("shape", [(1, 4, 9), (1, 4, 9, 8)])
@pytest.mark.parametrize("attributes", [{}, {"strides": 2, "pads": 1}, {"ceil_mode": 1, "strides": 2}])
def test_a_pooling_says_its_strides(name: str, shape: tuple[int, ...], attributes: dict[str, int]) -> None:
    sizes = len(shape) - 2
    repeats = {"strides": sizes, "pads": 2 * sizes}
    spatial: dict[str, Any] = {
        key: [value] * repeats[key] if key in repeats else value for key, value in attributes.items()
    }

    model = check([op(name, "x", kernel_shape=[3] * sizes, **spatial)], {}, shape)

    pool = next(node for node in model.graph.node if node.op_type == name)
    assert any(each.name == "strides" for each in pool.attribute)


@pytest.mark.parametrize("slope", [(1,), (4, 1, 1), (1, 4, 1, 1), (1, 1, 1, 1), (1, 1, 5), (4, 6, 5)])
def test_a_prelu_has_a_slope_a_channel(slope: tuple[int, ...]) -> None:
    check([op("PRelu", "x", "slope")], {"slope": random(*slope)}, (1, 4, 6, 5), 16)


def test_a_prelu_of_features() -> None:
    check([op("PRelu", "x", "slope")], {"slope": random(6)}, (1, 6), 9)


EINSUMS = [
    ("bhid,bhjd->bhij", (1, 2, 3, 4), (1, 2, 5, 4)),
    ("bhij,bhjd->bhid", (1, 2, 3, 5), (1, 2, 5, 4)),
    ("bnc,cd->bnd", (1, 3, 4), (4, 6)),
    ("dc,bnc->bnd", None, None),
    ("bchw,oc->bohw", (1, 4, 3, 5), (6, 4)),
    ("bhwc,hkc->bhwk", (1, 2, 3, 4), (2, 6, 4)),
    ("bnd,bn->bnd", (1, 3, 4), (1, 3)),
    ("bnd,kd->nk", (1, 3, 4), (5, 4)),
    ("...c,cd->...d", (1, 3, 4), (4, 6)),
    ("bn,bm", (1, 3), (1, 5)),
]


@pytest.mark.parametrize(("equation", "shape", "other"), EINSUMS)
def test_an_einsum_is_a_matrix_product(equation: str, shape: tuple[int, ...] | None, other: tuple[int, ...]) -> None:
    if shape is None:
        model = check([op("Einsum", "w", "x", equation=equation)], {"w": random(6, 4)}, (1, 3, 4))
    else:
        model = check([op("Einsum", "x", "w", equation=equation)], {"w": random(*other)}, shape)

    assert "MatMul" in types(model)


@pytest.mark.parametrize("equation", ["bnd->bdn", "bnd->bn", "bnd->dn", "b...->..."])
def test_an_einsum_of_one_operand(equation: str) -> None:
    check([op("Einsum", "x", equation=equation)], {}, (1, 3, 4), by=by_onnx)


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_constant_nodes_become_initializers(opset: int) -> None:
    constant = op("Constant", outputs=["c"], value=numpy_helper.from_array(random(1, 4)))

    model = check([constant, op("Add", "x", "c")], {}, (1, 4), opset)

    assert types(model) == ["Add"]


def test_layers_with_the_same_weights_get_constants_of_their_own() -> None:
    nodes = [
        op("Gemm", "x", "w", "b", outputs=["a"], transB=1),
        op("Relu", "a", outputs=["r"]),
        op("Gemm", "r", "w", "b", transB=1),
    ]

    model = check(nodes, {"w": random(6, 6), "b": random(6)}, (1, 6))

    read = [name for node in model.graph.node if node.op_type == "Gemm" for name in node.input[1:]]
    assert len(set(read)) == 4


@pytest.mark.parametrize("axis", [None, 1, -1])
@pytest.mark.parametrize("name", ["ArgMax", "ArgMin"])
def test_an_argmax_says_its_axis(name: str, axis: int | None) -> None:
    attributes = {} if axis is None else {"axis": axis}
    nodes = [op(name, "x", outputs=["i"], keepdims=0, **attributes), op("Cast", "i", to=TensorProto.FLOAT)]

    check(nodes, {}, (1, 4, 6))


def test_an_exponent_takes_the_datatype_of_the_base() -> None:
    check([op("Pow", "x", "two")], {"two": np.array(2, np.int64)}, (1, 4))


def test_functions_of_the_model_itself_are_written_out() -> None:
    body = [op("Sigmoid", "v", outputs=["s"]), op("Mul", "v", "s", outputs=["w"])]
    silu = helper.make_function("own", "Silu", ["v"], ["w"], body, [helper.make_opsetid("", 18)])
    model = net([op("Relu", "x")], {}, 2, 18)
    model.graph.node[0].CopyFrom(helper.make_node("Silu", ["x"], ["y"], domain="own"))
    model.functions.append(silu)
    model.opset_import.append(helper.make_opsetid("own", 1))
    image = random(1, 4)

    rewritten = fix_shape(model, (1, 4))

    assert types(rewritten) == ["Sigmoid", "Mul"]
    np.testing.assert_allclose(run(rewritten, image)[0], image / (1 + np.exp(-image)), rtol=1e-5)


def test_outputs_without_a_shape_are_no_obstacle_below_opset_13() -> None:
    model = net([op("Conv", "x", "w", outputs=["c"]), op("Softmax", "c", axis=1)], {"w": random(4, 3, 1, 1)}, 4, 11)
    model.graph.output[0].type.tensor_type.ClearField("shape")

    assert types(fix_shape(model, (1, 3, 6, 5)))[0] == "Conv"


@pytest.mark.parametrize(
    ("node", "opset", "says"),
    [
        (op("GridSample", "x", "grid"), 16, r"^GridSample \(node lens\)$"),
        (op("Round", "x"), 13, r"^Round \(node lens\)$"),
        (op("Einsum", "x", equation="nchh->nch"), 13, r"Einsum \(node lens\): it computes nchh->nch"),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_what_cannot_be_converted_is_named_with_its_node(node: NodeProto, opset: int, says: str) -> None:
    node.name = "lens"

    with pytest.raises(ConversionError, match=says):
        fix_shape(net([node], {"grid": random(1, 5, 5, 2)}, 4, opset), (1, 3, 5, 5))
