"""Which variant is the default, and what explain says of it."""

from typing import Any

import pytest

from qtriton.builder.choice import fastest
from qtriton.report.explain import sections
from qtriton.repository.manifest import File, Gate, Layer, Manifest, Metric, Shares, Speed, Trial
from qtriton.target import Precision


def manifest(backend: str, precision: Precision, **known: Any) -> Manifest:
    return Manifest(
        model="m",
        title="Model",
        backend=backend,
        precision=precision,
        threads=1,
        key="k",
        artifact=File(name="model.onnx", sha256="a"),
        source=File(name="w.onnx", sha256="b"),
        licence="none",
        **known,
    )


def pair(backend: str, fp32_ms: float, int8_ms: float, **known: Any) -> list[Manifest]:
    speed = Speed(fp32_ms=fp32_ms, compressed_ms=int8_ms, threads=1, processor="CPU")
    gate = Gate(budget=0.5, drop=0.2, metric="mAP", images=80, labelled=True)
    known = {"gate": gate, "metric": Metric(name="mAP", value=30.0, images=80), **known}
    return [manifest(backend, Precision.FP32), manifest(backend, Precision.INT8, speed=speed, **known)]


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ((20, 10), (30, 15), ("a", Precision.INT8)),
        ((20, 12), (30, 11), ("b", Precision.INT8)),
        # INT8 beats its own FP32, but not that of the other backend by enough.
        ((10, 9.8), (30, 9.7), ("a", Precision.FP32)),
        ((10, 12), (8, 9), ("b", Precision.FP32)),
    ],
)
def test_the_fastest_is_served_and_int8_only_where_it_is_worth_it(
    one: tuple[float, float], two: tuple[float, float], expected: tuple[str, Precision]
) -> None:
    found = fastest([*pair("a", *one), *pair("b", *two)])
    assert (found.backend, found.precision) == expected


def test_without_int8_the_first_is_served() -> None:
    only = [manifest("a", Precision.FP32), manifest("b", Precision.FP32)]
    assert fastest(only) is only[0]


def told(*manifests: Manifest) -> str:
    found = {f"m_{each.backend}_{each.precision.value}": each for each in manifests}
    return "\n".join(
        " ".join((each.title, *each.headers, *map(" ".join, each.rows))) for each in sections(found, False)
    )


def test_explain_says_why_fp32_stays() -> None:
    assert "FP32 stays: the fastest compressed model is 0.80 times as fast" in told(*pair("a", 8, 10))


def test_explain_says_how_many_instances_serve() -> None:
    assert "instances" not in told(manifest("a", Precision.FP32))
    text = told(manifest("a", Precision.FP32, instances=4))
    assert "m_a_fp32: served by 4 instances of its runtime step." in text


def test_explain_says_what_runs_as_a_cuda_graph() -> None:
    assert "CUDA" not in told(manifest("a", Precision.FP32))
    text = told(manifest("a", Precision.FP32, cuda_graphs=True), manifest("b", Precision.FP32))
    assert "\nm_a_fp32: run as a CUDA graph by Triton's own TensorRT backend, one image at a time." in text


def test_explain_shows_layers_in_float_first_with_what_they_would_cost() -> None:
    layers = [Layer(node=f"n{i}", op="Conv", weights=(8, 8, 3, 3), macs=100, divergence=1.0) for i in range(30)]
    layers[29] = layers[29].model_copy(update={"divergence": 71.0, "float_reason": "costs too much"})
    tried = (Trial(recipe="PTQ avg", drop=3.0), Trial(recipe="PTQ avg, 1 layer in floating point", drop=0.2))
    text = told(*pair("a", 20, 10, layers=tuple(layers), tried=tried))
    assert "serve this" in text and "Layers (1 kept in floating point; 15 more with --all)" in text
    first = next(line for line in text.splitlines() if "n29" in line)
    assert "71.0 %" in first and "3.3 %" in first and first.index("n29") < first.index("n0 ")
    assert "PTQ avg 3.00" in text


def test_explain_says_when_there_were_no_labels() -> None:
    gate = Gate(budget=15, drop=4.0, metric="mAP50-95 against FP32's detections", images=32, labelled=False)
    assert "as there are no labels" in told(*pair("a", 20, 10, gate=gate, metric=None))


def test_what_was_not_timed_is_not_recommended() -> None:
    gate = Gate(budget=0.5, drop=0.2, metric="mAP", images=80, labelled=True)
    half = manifest("tensorrt", Precision.FP16, gate=gate, measured_in="ONNX Runtime")
    table, why, measured, *_ = sections({"a": manifest("tensorrt", Precision.FP32), "b": half}, False)
    assert [row[-1] for row in table.rows] == ["", ""]
    assert why.title.startswith("Nothing was timed, as this runs on a GPU")
    assert "measured in ONNX Runtime in place of TensorRT" in measured.title


MOVED = Shares(
    preprocess="letterbox, rgb",
    prologue="normalize, chw",
    epilogue="the best 3000 of 25200 rows",
    postprocess="yolo_head, nms",
)
STEPS = Shares(preprocess="letterbox, rgb, normalize, chw", postprocess="yolo_head, nms")
IN_GRAPH = (
    "In the graph: normalize, chw; the best 3000 of 25200 rows. In the steps: letterbox, rgb; yolo_head, nms."
)  # fmt: skip
IN_STEPS = "In the graph: the network alone. In the steps: letterbox, rgb, normalize, chw; yolo_head, nms."


def placements(*manifests: Manifest) -> list[str]:
    return [line for line in told(*manifests).splitlines() if "In the steps" in line]


def test_explain_says_where_the_operations_run() -> None:
    both = [manifest("a", each, placement=MOVED) for each in (Precision.FP32, Precision.INT8)]
    assert placements(*both) == [IN_GRAPH], "once for those that have it alike"


def test_explain_says_it_of_each_variant_where_they_differ() -> None:
    graph, steps = manifest("a", Precision.FP32, placement=MOVED), manifest("b", Precision.FP32, placement=STEPS)
    assert placements(graph, steps) == [f"m_a_fp32. {IN_GRAPH}", f"m_b_fp32. {IN_STEPS}"]


def test_what_only_one_end_of_the_graph_does() -> None:
    pixels = MOVED.model_copy(update={"epilogue": ""})
    (line,) = placements(manifest("a", Precision.FP32, placement=pixels))
    assert line == "In the graph: normalize, chw. In the steps: letterbox, rgb; yolo_head, nms."


def test_of_what_an_older_qtriton_built_nothing_is_said() -> None:
    old = manifest("a", Precision.FP32)
    assert placements(old) == []
    assert placements(old, manifest("b", Precision.FP32, placement=MOVED)) == [f"m_b_fp32. {IN_GRAPH}"]


def test_where_the_operations_run_is_part_of_the_manifest() -> None:
    """Which `qtriton explain --json` prints."""
    told = manifest("a", Precision.FP32, placement=MOVED).model_dump(mode="json")
    assert told["placement"] == MOVED.model_dump()
    assert Manifest.model_validate(told).moved == MOVED.moved
    assert (MOVED.moved.steps, STEPS.moved.steps) == (
        ("preprocess_pixels", "postprocess_chosen"),
        ("preprocess", "postprocess"),
    )
