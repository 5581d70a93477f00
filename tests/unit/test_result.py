"""What a build ends with: the variant to serve, and what programs read of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from qtriton.backends.tensorrt import ENGINE_FILES
from qtriton.builder.result import BuildResult, LeftOut
from qtriton.errors import ArtifactLoadError
from qtriton.options import BuildOptions
from qtriton.plan import Plan
from qtriton.repository.engines import is_pending
from qtriton.repository.manifest import File, Gate, Manifest, Metric, Speed
from qtriton.request import Request
from qtriton.spec_files import load_spec
from qtriton.target import Method, Precision, Target

GATE = Gate(budget=0.5, drop=0.25, metric="mAP50-95", images=80, labelled=True)
VALUES = {"onnxruntime": 27.5, "openvino": 27.25, "tensorrt": 27.0}


def manifest(target: Target, *, fp32_ms: float = 0, ms: float = 0, gate: Gate | None = None) -> Manifest:
    speed = Speed(fp32_ms=fp32_ms, compressed_ms=ms, threads=1, processor="A CPU") if ms else None
    return Manifest(
        model="yolov5n", title="YOLOv5n", backend=target.backend, precision=target.precision, threads=1, key="key",
        artifact=File(name="model.onnx", sha256="0" * 64), source=File(name="w.onnx", sha256="0" * 64), licence="none",
        method=Method.PTQ if gate else None, metric=Metric(name="mAP50-95", value=VALUES[target.backend], images=80),
        gate=gate,
        speed=speed, settings={"recipe": "PTQ avg"} if gate else {},
    )  # fmt: skip


def plan(repository: Path, backend: str = "onnxruntime", precision: Precision = Precision.INT8) -> Plan:
    names = backend.split(",")
    targets = [Target(name, each) for name in names for each in dict.fromkeys((Precision.FP32, precision))]
    options = BuildOptions(backend=backend, precision=precision, repository=repository)
    return Plan(load_spec("yolov5n"), Request(options), tuple(targets), ())


def result(repository: Path, backend: str, times: dict[str, float], left_out: str = "") -> BuildResult:
    """A build in which INT8 of each backend takes so many ms, and FP32 of all 10."""
    made = plan(repository, backend)
    variants = tuple(
        (each, manifest(each))
        if each.precision is Precision.FP32
        else (each, manifest(each, fp32_ms=10, ms=times.get(each.backend, 0), gate=GATE))
        for each in made.variants
        if each.backend != left_out
    )
    missing = tuple(
        LeftOut(each, ArtifactLoadError("it cannot be loaded.")) for each in made.variants if each.backend == left_out
    )
    return BuildResult(made, True, variants, missing)


def words(target: Target) -> str:
    return f"{target.backend} {target.precision.value}"


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({"onnxruntime": 5.0, "openvino": 4.0}, "openvino int8"),
        ({"onnxruntime": 4.0, "openvino": 5.0}, "onnxruntime int8"),
        ({"onnxruntime": 9.9, "openvino": 9.8}, "onnxruntime fp32"),
        ({}, "onnxruntime int8"),
    ],
    ids=["the faster", "the faster, the first", "FP32 where INT8 gains nothing", "INT8 where nothing was timed"],
)
def test_the_variant_to_serve(tmp_path: Path, times: dict[str, float], best: str) -> None:
    assert words(result(tmp_path, "onnxruntime,openvino", times).default) == best


def test_programs_get_what_stands_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: dict[str, Any] = json.loads(
        json.dumps(result(Path("repository"), "onnxruntime", {"onnxruntime": 4.0}).as_json())
    )

    version = tmp_path / "repository" / "yolov5n_onnxruntime_int8_runtime" / "1"
    assert told["repository"] == str(tmp_path / "repository"), "a relative path means nothing to another program"
    assert told["ensemble"] == told["default"] == "yolov5n_onnxruntime_int8"
    assert (told["artifact"], told["manifest"]) == (str(version / "model.onnx"), str(version / "manifest.json"))
    assert told["steps"] == {
        "preprocess": "yolov5n_preprocess",
        "runtime": "yolov5n_onnxruntime_int8_runtime",
        "postprocess": "yolov5n_postprocess",
    }
    assert (told["model"], told["changed"], told["left_out"]) == ("yolov5n", True, [])
    metric = {"name": "mAP50-95", "value": 27.5, "images": 80, "measured_on": ""}
    assert told["metrics"] == {"fp32": metric, "int8": metric}

    fp32, int8 = told["variants"]
    assert (fp32["precision"], fp32["gate"], fp32["speed"], fp32["recipe"]) == ("fp32", None, None, None)
    assert int8["gate"]["drop"] == 0.25 and int8["recipe"] == "PTQ avg"
    speed = {"fp32_ms": 10, "compressed_ms": 4, "threads": 1, "processor": "A CPU", "bounds": None}
    assert int8["speed"] == {**speed, "ratio": 2.5}


def test_what_was_asked_for_is_that_of_the_first_backend(tmp_path: Path) -> None:
    told = result(tmp_path, "openvino,onnxruntime", {"onnxruntime": 2.0, "openvino": 4.0}).as_json()
    assert (told["ensemble"], told["default"]) == ("yolov5n_openvino_int8", "yolov5n_onnxruntime_int8")
    assert {name: each["value"] for name, each in told["metrics"].items()} == {"fp32": 27.25, "int8": 27.25}
    assert [each["ensemble"] for each in told["variants"]] == [
        f"yolov5n_{name}" for name in ("openvino_fp32", "openvino_int8", "onnxruntime_fp32", "onnxruntime_int8")
    ]


def test_where_the_first_backend_was_left_out_another_is_named_and_the_reason_told(tmp_path: Path) -> None:
    told = result(tmp_path, "openvino,onnxruntime", {"onnxruntime": 4.0}, left_out="openvino").as_json()
    assert told["ensemble"] == "yolov5n_onnxruntime_int8"
    assert told["left_out"] == [
        {"backend": "openvino", "precision": each, "reason": "it cannot be loaded."} for each in ("fp32", "int8")
    ]


def test_engines_that_have_still_to_be_built_are_named_by_ensemble(tmp_path: Path) -> None:
    """A TensorRT variant without its plan; an ONNX variant has none to build."""
    made = plan(tmp_path, "onnxruntime,tensorrt")
    variants = tuple((each, manifest(each)) for each in made.variants)
    found = BuildResult(made, True, variants)
    for target, _ in variants:
        version = found.repository.version(found.names(target).runtime)
        version.mkdir(parents=True)
        if target.backend == "tensorrt":
            (version / "engine.json").write_text("{}")
    assert is_pending(found.repository.version("yolov5n_tensorrt_int8_runtime")), "the test knows how it looks"
    assert found.pending() == ("yolov5n_tensorrt_fp32", "yolov5n_tensorrt_int8")

    for name in ENGINE_FILES:
        (found.repository.version("yolov5n_tensorrt_fp32_runtime") / name).write_text("plan")
    assert found.pending() == ("yolov5n_tensorrt_int8",)
