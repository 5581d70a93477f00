"""Calibration folders that cannot teach INT8 anything, or teach it the answers."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from qtriton import console
from qtriton.builder.feeding import FrameReader
from qtriton.builder.images import write_frames
from qtriton.errors import InputError
from qtriton.options import AlgorithmChoice, BuildOptions
from qtriton.plan import make_plan
from qtriton.request import Request
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton.target import Precision

SPEC = """
name: mine
task: classification
input: {name: image, dims: [3, 32, 32]}
preprocess: [{op: resize, size: [32, 32]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: top_k, k: 5}]
"""


@pytest.fixture
def spec() -> ModelSpec:
    return parse_spec(SPEC, "mine.yaml")


def images(folder: Path, count: int, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        pixels = np.random.default_rng([seed, index]).integers(0, 255, (40, 40, 3), np.uint8)
        cv2.imwrite(str(folder / f"{seed}_{index:03}.png"), pixels)
    return folder


def calibrate(folder: Path, spec: ModelSpec, few: bool = False) -> npt.NDArray[np.float32]:
    out = folder.parent / "frames.npy"
    write_frames(folder, spec, out, few, FrameReader(), console)
    frames: npt.NDArray[np.float32] = np.load(out)
    return frames


def request(calibration: Path, validation: Path | None = None, **more: Any) -> Request:
    return Request(BuildOptions(weights=Path("w.onnx"), calibration=calibration, validation=validation, **more))


def test_32_images_are_enough_and_31_are_not(tmp_path: Path, spec: ModelSpec) -> None:
    assert calibrate(images(tmp_path / "enough", 32), spec).shape == (32, 3, 32, 32)
    few = images(tmp_path / "few", 31)
    with pytest.raises(InputError, match=r"31 images .* needs 32.*--few-images"):
        calibrate(few, spec)
    with pytest.raises(InputError, match="needs 32"):
        make_plan(spec, request(few), None)
    make_plan(spec, request(few, few_images=True), None)
    assert len(calibrate(few, spec, few=True)) == 31


def test_what_cannot_be_decoded_is_named_and_skipped(
    tmp_path: Path, spec: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images(tmp_path / "images", 32)
    (folder / "broken.jpg").write_bytes(b"no image")
    assert len(calibrate(folder, spec)) == 32
    assert "broken.jpg" in capsys.readouterr().err


def test_one_colour_and_copies_are_warned_about(
    tmp_path: Path, spec: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images(tmp_path / "images", 32)
    for index in range(3):
        cv2.imwrite(str(folder / f"grey{index}.jpg"), np.full((40, 40, 3), (10, 200, 90), np.uint8))
    calibrate(folder, spec)
    said = " ".join(capsys.readouterr().err.split())
    assert "3 of 35 images are of one colour" in said
    assert "only 33 of 35 images differ" in said


def test_a_good_folder_is_not_warned_about(tmp_path: Path, spec: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    calibrate(images(tmp_path / "images", 33), spec)
    assert "warning" not in capsys.readouterr().err


def test_an_image_in_both_folders_is_an_error(tmp_path: Path, spec: ModelSpec) -> None:
    calibration, validation = images(tmp_path / "c", 32), images(tmp_path / "v", 4, seed=1)
    make_plan(spec, request(calibration, validation), None)
    (validation / "copy.png").write_bytes((calibration / "0_007.png").read_bytes())
    with pytest.raises(InputError, match=r"1 images in common, first copy\.png"):
        make_plan(spec, request(calibration, validation), None)


def test_the_plan_names_the_gate(tmp_path: Path, spec: ModelSpec) -> None:
    calibration = images(tmp_path / "c", 32)
    steps = {step.name: step.what for step in make_plan(spec, request(calibration), None).steps}
    assert "agreement with FP32" in steps["gate"]
    accepted = request(calibration, accept_drop=True, max_accuracy_drop=1.5, algorithm=AlgorithmChoice.AVG)
    steps = {step.name: step.what for step in make_plan(spec, accepted, None).steps}
    assert "1.5 points" in steps["gate"] and "--accept-drop" in steps["gate"]
    shown = request(calibration, require_evidence=True, max_accuracy_drop=1.5)
    steps = {step.name: step.what for step in make_plan(spec, shown, None).steps}
    assert steps["gate"].startswith("publish only what is shown to drop at most 1.5 points")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"accept_drop": True}, "--accept-drop whatever is best. Pass one of them"),
        ({"precision": Precision.FP32}, "fp32 is what a drop is measured against"),
    ],
)
def test_evidence_that_nothing_can_give_is_refused(
    options: dict[str, Any], why: str, tmp_path: Path, spec: ModelSpec
) -> None:
    with pytest.raises(InputError, match=why):
        make_plan(spec, request(images(tmp_path / "c", 32), require_evidence=True, **options), None)


@pytest.mark.parametrize("budget", [-0.1, 101.0, float("nan")])
def test_a_budget_is_in_points_of_100(budget: float, tmp_path: Path, spec: ModelSpec) -> None:
    with pytest.raises(InputError, match="--max-accuracy-drop"):
        make_plan(spec, request(images(tmp_path / "c", 32), max_accuracy_drop=budget), None)
