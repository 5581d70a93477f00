"""The promise: what is published keeps the accuracy budget, and what does not changes nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qtriton.builder.inputs import resolve_datasets
from qtriton.options import BuildOptions
from qtriton.progress import SILENT
from qtriton.spec_files import load_spec
from qtriton.workspace import Workspace

from .conftest import qtriton

BUILD = ("build", "demo_digits", "--json")


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this module's own, so that it can be looked into."""
    return tmp_path_factory.mktemp("cache")


def build(own_cache: Path, repository: Path, *words: str, code: int = 0) -> Any:
    done = qtriton(*BUILD, "--repository", repository, *words, QTRITON_CACHE=str(own_cache))
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else " ".join(done.stderr.split())


def contents(repository: Path) -> dict[str, bytes]:
    return {str(path.relative_to(repository)): path.read_bytes() for path in repository.rglob("*") if path.is_file()}


def calibrations(own_cache: Path) -> set[str]:
    return {path.name for path in (own_cache / "stages").glob("demo_digits-scales-*") if path.is_dir()}


def stages(own_cache: Path) -> set[str]:
    """What is kept, but for the bounds that follow from it."""
    names = {path.name for path in (own_cache / "stages").iterdir() if path.is_dir()}
    return {name for name in names if "-interval-" not in name}


def int8_of(said: Any) -> Any:
    return next(each for each in said["variants"] if each["precision"] == "int8")


def test_over_the_budget_nothing_changes(own_cache: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    refused = build(own_cache, repository, "--method", "ptq", "--algorithm", "avg", "--max-accuracy-drop", "0", code=6)
    assert "drops 0." in refused and "budget is 0" in refused and "--accept-drop" in refused
    assert not repository.exists()
    build(own_cache, repository, "--precision", "fp32")
    before = contents(repository)
    build(own_cache, repository, "--method", "ptq", "--algorithm", "avg", "--max-accuracy-drop", "0", code=6)
    assert contents(repository) == before


def test_an_accepted_drop_is_published_and_says_so(own_cache: Path, tmp_path: Path) -> None:
    words = ("--method", "ptq", "--algorithm", "avg", "--max-accuracy-drop", "0")
    int8 = int8_of(build(own_cache, tmp_path / "repository", *words, "--accept-drop"))
    assert int8["gate"]["accepted"] and int8["gate"]["drop"] > 0
    told = qtriton("explain", "demo_digits", "--repository", tmp_path / "repository")
    assert told.returncode == 0 and "(accepted)" in told.stdout


def test_another_budget_calibrates_nothing_again(own_cache: Path, tmp_path: Path) -> None:
    first = int8_of(build(own_cache, tmp_path / "one", "--max-accuracy-drop", "0.5"))
    known = calibrations(own_cache)
    second = int8_of(build(own_cache, tmp_path / "two", "--max-accuracy-drop", "2"))
    assert first["gate"]["drop"] <= 0.5
    assert (first["gate"]["budget"], second["gate"]["budget"]) == (0.5, 2)
    assert calibrations(own_cache) == known


def test_the_gate_says_how_sure_it_is_and_decides_by_that_where_it_is_required(own_cache: Path, tmp_path: Path) -> None:
    repository, words = tmp_path / "repository", ("--method", "ptq", "--algorithm", "avg", "--max-accuracy-drop")
    int8 = int8_of(build(own_cache, repository, *words, "20"))
    gate, sure = int8["gate"], int8["gate"]["evidence"]
    assert sure["lower"] < gate["drop"] < sure["upper"] <= 20 and sure["verdict"] == "within"
    assert sure["tried"] == 1 and sure["images_needed"] is None and not gate["required"]
    assert int8["speed"]["bounds"]["lower"] <= int8["speed"]["bounds"]["upper"]
    measured = stages(own_cache)

    between = f"{(gate['drop'] + sure['upper']) / 2:.4f}"
    gate = int8_of(build(own_cache, repository, *words, between))["gate"]
    assert gate["evidence"]["verdict"] == "cannot tell" and gate["evidence"]["images_needed"] > 100
    assert (gate["evidence"]["lower"], gate["evidence"]["upper"]) == (sure["lower"], sure["upper"])
    told = qtriton("explain", "demo_digits", "--repository", repository).stdout
    assert f"100 images cannot tell whether that is within the budget of {float(between):g}; about " in told

    before = contents(repository)
    refused = build(own_cache, repository, *words, between, "--require-evidence", code=6)
    assert f"drops {gate['drop']:.2f} " in refused and f"might drop {sure['upper']:.2f} (95 %)" in refused
    assert "100 images cannot show" in refused and "leave out --require-evidence" in refused
    assert contents(repository) == before
    gate = int8_of(build(own_cache, repository, *words, "20", "--require-evidence"))["gate"]
    assert gate["required"] and gate["evidence"] == sure
    assert stages(own_cache) == measured, "no artifact is run again"


def test_layers_go_back_to_float_until_the_budget_holds(own_cache: Path, tmp_path: Path) -> None:
    """Paddle quantizes the image layer and the last layers too, which costs the demo more than the budget."""
    repository = tmp_path / "repository"
    said = int8_of(build(own_cache, repository, "--backend", "paddle", "--max-accuracy-drop", "0.7"))
    assert said["gate"]["drop"] <= 0.7 and "in floating point" in said["recipe"]
    told = json.loads(qtriton("explain", "demo_digits", "--repository", repository, "--json").stdout)
    manifest = told["demo_digits_paddle_int8"]
    in_float = [layer for layer in manifest["layers"] if layer["float_reason"]]
    assert f", {len(in_float)} layer" in said["recipe"]
    assert all(layer["divergence"] > 0 for layer in in_float)
    assert len(manifest["tried"]) > 2 and manifest["speed"]["compressed_ms"] > 0
    assert {"calibration", "validation", "labels"} <= set(manifest["parents"])


def test_without_labels_int8_is_compared_with_fp32(own_cache: Path, tmp_path: Path) -> None:
    validation = resolve_datasets(load_spec("demo_digits"), BuildOptions(), Workspace(own_cache), SILENT).validation
    assert validation is not None
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted(validation.glob("*.jpg"))[:20]:
        shutil.copy(path, images)
    int8 = int8_of(build(own_cache, tmp_path / "repository", "--validation", str(images)))
    assert int8["metric"] is None
    assert not int8["gate"]["labelled"] and int8["gate"]["images"] == 20
    assert 0 < int8["gate"]["drop"] < 20
    refused = build(own_cache, tmp_path / "other", "--validation", str(images), "--max-accuracy-drop", "0",
                    "--method", "ptq", "--algorithm", "avg", code=6)  # fmt: skip
    assert "against FP32's detections" in refused


def test_training_is_one_method_of_the_build(own_cache: Path, tmp_path: Path) -> None:
    words = ("--method", "qat", "--iterations", "40", "--accept-drop", "--backend", "onnxruntime,paddle")
    said = build(own_cache, tmp_path / "repository", *words)
    int8 = [each for each in said["variants"] if each["precision"] == "int8"]
    assert [each["recipe"] for each in int8] == ["QAT", "QAT"]
    assert all(each["gate"]["drop"] < 5 for each in int8)
    told = qtriton("explain", "demo_digits_paddle_int8", "--repository", tmp_path / "repository", "--json")
    manifest = json.loads(told.stdout)["demo_digits_paddle_int8"]
    assert manifest["method"] == "qat" and manifest["settings"]["iterations"] == 40
    assert not list((own_cache / "checkpoints").glob("*")), "what a training needs to go on is gone when it has ended"


def test_the_same_inputs_give_the_same_artifact(own_cache: Path, tmp_path: Path) -> None:
    made: list[list[bytes]] = []
    for place in (own_cache, tmp_path / "another cache"):
        repository = tmp_path / f"repository{len(made)}"
        said = build(place, repository, "--backend", "onnxruntime,openvino", "--max-accuracy-drop", "1")
        made.append([Path(each["artifact"]).read_bytes() for each in said["variants"]])
    assert made[0] == made[1]
