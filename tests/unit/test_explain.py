"""Which variant is the default, and what explain says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from qtriton.builder.choice import fastest
from qtriton.evidence import Verdict
from qtriton.report.explain import sections
from qtriton.repository.manifest import (
    Bounds,
    Evidence,
    File,
    Gate,
    ImagesSource,
    Layer,
    Manifest,
    Metric,
    Shares,
    Speed,
    Trial,
)
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


def unsure(**known: Any) -> Gate:
    sure = {"lower": -0.31, "upper": 1.22, "level": 0.97, "method": "Newcombe", "verdict": Verdict.CANNOT_TELL, **known}
    return Gate(budget=0.5, drop=0.44, metric="Top1", images=150, labelled=True, evidence=Evidence(**sure))


def test_explain_says_how_sure_a_drop_is() -> None:
    gate = unsure(images_needed=640, tried=7, image_points=100 / 150, mcnemar=0.625)
    text = told(*pair("a", 20, 10, gate=gate))
    table = next(line for line in text.splitlines() if "what is published" in line)
    assert "Drop 95 % bounds Budget Verdict" in table and "0.44 -0.31…1.22 0.5 cannot tell" in table
    assert (
        "The true drop is at least -0.31 and at most 1.22 points, each with 95 %, which allows for the 7 artifacts "
        "that had been tried (Newcombe). 150 images cannot tell whether that is within the budget of 0.5; about 640 "
        "images would." in text
    )
    assert "One of 150 images is 0.67 points, more than the budget of 0.5: give more with" in text
    assert "McNemar's exact test that both are right equally often: p = 0.62." in text
    assert "--require-evidence" not in text


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Verdict.WITHIN, "(Newcombe). That is within the budget of 0.5."),
        (Verdict.OVER, "(Newcombe). That is over the budget of 0.5."),
    ],
)
def test_explain_says_what_the_images_tell(verdict: Verdict, said: str) -> None:
    gate = unsure(verdict=verdict, image_points=0.1).model_copy(update={"required": True})
    text = told(*pair("a", 20, 10, gate=gate))
    assert said in text and "One image is 0.10 points." in text and "artifacts" not in text
    assert "McNemar" not in text and "(--require-evidence)" in text


def test_explain_says_how_sure_a_speed_is() -> None:
    bounds = Bounds(lower=1.9, upper=2.1, level=0.95)
    fp32, int8 = pair("a", 20, 10)
    assert int8.speed is not None
    timed = int8.model_copy(update={"speed": int8.speed.model_copy(update={"bounds": bounds})})
    assert "INT8 10.00 ms, 1.90 to 2.10 times as fast with 95 % (1 thread, CPU; without" in told(fp32, timed)
    assert "times as fast with" not in told(fp32, int8)


def test_the_evidence_is_part_of_the_manifest_and_an_older_one_has_none(tmp_path: Path) -> None:
    known = manifest("a", Precision.INT8, gate=unsure(images_needed=640), speed=None)
    known.write(tmp_path)
    assert Manifest.read(tmp_path) == known
    raw = json.loads((tmp_path / "manifest.json").read_text())
    assert raw["gate"]["evidence"]["verdict"] == "cannot tell"
    for name in ("evidence", "required"):
        del raw["gate"][name]
    raw["speed"] = {"fp32_ms": 2.0, "compressed_ms": 1.0, "threads": 1, "processor": "CPU"}
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    old = Manifest.read(tmp_path)
    assert old.gate is not None and old.gate.evidence is None and old.speed is not None and old.speed.bounds is None
    row = next(line for line in told(old).splitlines() if "what is published" in line)
    assert "0.44 - 0.5 -" in row


def test_explain_says_which_images_were_downloaded() -> None:
    source = ImagesSource(url="https://example.org/a.tar", sha256="0" * 64, licence="theirs", images=33)
    fp32, int8 = pair("onnxruntime", 2, 1, downloaded={"calibration": source})
    said = f"The calibration images: 33 of https://example.org/a.tar (licence: theirs), sha256 {'0' * 64}."
    assert said in told(fp32, int8)


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
