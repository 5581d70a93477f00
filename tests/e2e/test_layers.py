"""`qtriton explain --layers`: what was published runs here, and its layers run in what they were published for."""

import json
from pathlib import Path
from typing import Any

import pytest

from qtriton.operate.profile import REPEATS

from .conftest import qtriton

CONVOLUTIONS = ("Conv", "QLinearConv", "Convolution", "convolution")
PLAINEST = ("--precision", "int8", "--method", "ptq", "--algorithm", "avg", "--accept-drop")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo on every backend; the engines of one are pending."""
    folder = tmp_path_factory.mktemp("layers") / "repository"
    done = qtriton(
        "build", "demo_digits", "--backend", "onnxruntime,openvino,paddle,tensorrt", "--repository", folder, *PLAINEST
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def told(repository: Path) -> dict[str, Any]:
    done = qtriton("explain", "demo_digits", "--layers", "--json", "--repository", repository)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def convolutions(told: dict[str, Any]) -> list[str]:
    return [each["runs_in"] for each in told["layers"] if each["kind"] in CONVOLUTIONS]


@pytest.mark.parametrize(("backend", "in_float"), [("onnxruntime", 3), ("openvino", 2), ("paddle", 0)])
def test_int8_runs_in_int8_and_fp32_does_not(told: dict[str, Any], backend: str, in_float: int) -> None:
    """ONNX Runtime keeps the image layer in floating point, it and OpenVINO the last two; Paddle none.

    In FP32 nothing is in integers but the way of the pixels, which are bytes.
    """
    fp32, int8 = (convolutions(told[f"demo_digits_{backend}_{each}"]) for each in ("fp32", "int8"))
    assert fp32 == ["FP32"] * 12
    assert sorted(int8) == ["FP32"] * in_float + ["INT8"] * (12 - in_float)
    layers = told[f"demo_digits_{backend}_fp32"]["layers"]
    assert {each["kind"] for each in layers if each["runs_in"] == "INT8"} <= {"Transpose", "Subgraph", "Reorder"}
    shares = [told[f"demo_digits_{backend}_{each}"]["int8_percent"] for each in ("fp32", "int8")]
    assert shares[0] < 10 and shares[0] < shares[1], "of the time, so how large it is depends on the machine"


def test_every_layer_was_timed_in_every_run(told: dict[str, Any]) -> None:
    for name, variant in told.items():
        if "layers" not in variant:
            continue
        lengths = {len(layer["times_ns"]) for layer in variant["layers"]}
        assert lengths == ({REPEATS} if "openvino" not in name else {5}), name
        assert sum(layer["median_ms"] for layer in variant["layers"]) == pytest.approx(variant["total_ms"])
        assert sum(layer["percent"] for layer in variant["layers"]) == pytest.approx(100)


def test_what_cannot_be_run_here_is_told_beside_what_can(told: dict[str, Any]) -> None:
    pending = {name for name, variant in told.items() if "engine is pending" in variant.get("refused", "")}
    assert pending == {"demo_digits_tensorrt_fp32", "demo_digits_tensorrt_int8"}


def test_alone_it_is_an_error(repository: Path) -> None:
    done = qtriton("explain", "demo_digits_tensorrt_int8", "--layers", "--repository", repository)
    assert (done.returncode, done.stdout) == (7, "")
    assert "its engine is pending. Run `qtriton engines build" in " ".join(done.stderr.split())
    typo = qtriton("explain", "demo_digit", "--layers", "--repository", repository)
    assert typo.returncode == 2 and "it has demo_digits" in " ".join(typo.stderr.split())


def test_a_person_sees_the_costliest_layers(repository: Path) -> None:
    words = ("explain", "demo_digits_onnxruntime_int8", "--layers", "--repository", repository)
    few, every = qtriton(*words), qtriton(*words, "--all")
    assert few.returncode == every.returncode == 0, few.stderr + every.stderr
    assert "QLinearConv" in few.stdout and "INT8" in few.stdout and "more with --all" in few.stdout
    assert len(every.stdout.splitlines()) > len(few.stdout.splitlines())


def test_a_broken_artifact_is_the_runtimes_refusal(repository: Path) -> None:
    artifact = repository / "demo_digits_onnxruntime_int8_runtime" / "1" / "model.onnx"
    whole = artifact.read_bytes()
    artifact.write_bytes(whole[:1000])
    try:
        done = qtriton("explain", "demo_digits_onnxruntime_int8", "--layers", "--repository", repository)
    finally:
        artifact.write_bytes(whole)
    assert done.returncode == 3 and "ONNX Runtime cannot run the int8 model" in " ".join(done.stderr.split())
