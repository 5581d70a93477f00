"""What a layer in floating point takes longer, from the layers that a runtime ran."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.backends.runner import LayerTiming
from qtriton.builder.layer_times import float_ms
from qtriton.quantize.graph import GraphView
from qtriton.quantize.groups import Names, group_of, sizes_of
from qtriton.quantize.sensitivity import LayerCost, rank


def net() -> Any:
    """Two convolutions with SiLU, then one that reads both."""
    node = helper.make_node
    nodes = []
    for place, source in enumerate(("image", "m0")):
        nodes += [
            node("Conv", [source, f"w{place}"], [f"c{place}"], name=f"/{place}/Conv"),
            node("Sigmoid", [f"c{place}"], [f"s{place}"], name=f"/{place}/Sigmoid"),
            node("Mul", [f"c{place}", f"s{place}"], [f"m{place}"], name=f"/{place}/Mul"),
        ]
    nodes += [node("Add", ["m0", "m1"], ["sum"], name="/Add"), node("Conv", ["sum", "w2"], ["y"], name="/2/Conv")]
    weights = [numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), f"w{place}") for place in range(3)]
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4, 10, 10])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 10, 10])
    return helper.make_model(helper.make_graph(nodes, "net", [x], [y], weights))


def ran(name: str, ms: float, kind: str = "Conv", datatype: str = "FP32") -> LayerTiming:
    return LayerTiming(name, kind, datatype, (int(ms * 1e6),) * 3)


def test_silu_is_one_with_its_convolution_and_a_join_of_two_layers_is_not() -> None:
    view = GraphView(net())
    group = group_of(view, "c0")
    assert [set(each) for each in (group.tensors, group.reads, group.gives)] == [{"c0", "s0", "m0"}, {"image"}, {"m0"}]
    assert group_of(view, "y").tensors == {"y"}


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("/0/Conv", {"c0"}),
        ("/0/Conv_token_16", {"c0"}),
        ("c0_nchwc", {"c0"}),
        ("/0/Mul/QuickGeluFusion/", {"m0"}),
        ("/1/Conv/WithoutBiases + /1/Sigmoid + Multiply_20009", {"c1", "s1"}),
        ("/0/Convolution", set()),
        ("12 mb1_ic3oc16", set()),
    ],
)
def test_a_runtimes_name_tells_the_nodes(name: str, outputs: set[str]) -> None:
    assert Names(GraphView(net())).outputs(name) == outputs


FP32 = (ran("/0/Conv", 5), ran("m0", 1), ran("/1/Conv", 5), ran("m1", 1), ran("/Add", 1), ran("/2/Conv", 5))


def times(int8: tuple[LayerTiming, ...], fp32: tuple[LayerTiming, ...] = FP32) -> dict[str, float]:
    model = net()
    view = GraphView(model)
    groups = {layer: group_of(view, layer) for layer in ("c0", "c1", "y")}
    return float_ms(view, groups, sizes_of(model, {*view.producer, *view.inputs}), fp32, int8)


def in_integers(*more: LayerTiming) -> tuple[LayerTiming, ...]:
    return (*(ran(f"/{place}/Conv", 2, "QLinearConv", "INT8") for place in range(3)), *more)


def test_the_time_is_that_of_the_group_in_fp32_without_that_in_integers() -> None:
    found = times(
        in_integers(ran("/0/Sigmoid", 0.5, "QLinearSigmoid", "INT8"), ran("/0/Mul", 0.25, "QLinearMul", "INT8"))
    )
    assert found == pytest.approx({"c0": 6 - 2.75, "c1": 6 - 2, "y": 5 - 2})


def test_conversions_beside_neighbours_in_integers_count() -> None:
    """A conversion takes 0.4 ms for 400 values, so one of another tensor of that size does too."""
    found = times(in_integers(ran("sum_dq", 0.4, "DequantizeLinear", "-")))
    assert found["c0"] == pytest.approx(6 - 2 + 0.4)  # the second layer reads it in integers
    assert found["c1"] == pytest.approx(6 - 2)  # neither the Mul before it nor the Add behind it is in integers


def test_a_runtime_that_names_no_layers_tells_nothing() -> None:
    assert times((ran("1 mb1_ic3", 1),), (ran("1 mb1_ic3", 2),)) == {}


def cost(name: str, float_ms: float | None, macs: int = 100, divergence: float = 1.0) -> LayerCost:
    return LayerCost(name, name, "Conv", (4, 4, 1, 1), macs, divergence, float_ms=float_ms)


def test_a_layer_that_loses_more_time_in_floating_point_comes_later_whatever_its_work() -> None:
    costs = (cost("breaks a fusion", 4.0, macs=1), cost("large", 1.0, macs=1000), cost("free", -0.2, macs=500))
    assert [each.name for each in rank(costs)] == ["free", "large", "breaks a fusion"]


def test_where_one_time_is_missing_the_work_decides() -> None:
    costs = (cost("small", 4.0, macs=1), cost("large", None, macs=1000))
    assert [each.name for each in rank(costs)] == ["small", "large"]
