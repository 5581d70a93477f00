"""What a build ends with, for a person."""

from pathlib import Path
from typing import Any

import pytest

from qtriton.builder.result import BuildResult
from qtriton.evidence import Verdict
from qtriton.options import BuildOptions
from qtriton.plan import Plan
from qtriton.report.summary import describe, summarize_build
from qtriton.repository.manifest import Bounds, Evidence, File, Gate, Manifest, Metric, Speed
from qtriton.request import Request
from qtriton.spec_files import load_spec
from qtriton.target import Precision, Target

SURE = Evidence(
    lower=-0.31, upper=1.22, level=0.97, method="Newcombe", verdict=Verdict.CANNOT_TELL, images_needed=640,
    image_points=100 / 150,
)  # fmt: skip
GATE = Gate(budget=0.5, drop=0.44, metric="Top1", images=150, labelled=True, evidence=SURE)
SPEED = Speed(
    fp32_ms=20, compressed_ms=10, threads=1, processor="CPU", bounds=Bounds(lower=1.9, upper=2.1, level=0.95)
)  # fmt: skip


def manifest(precision: Precision, **known: Any) -> Manifest:
    return Manifest(
        model="m", title="Model", backend="onnxruntime", precision=precision, threads=1, key="k",
        artifact=File(name="model.onnx", sha256="a"), source=File(name="w.onnx", sha256="b"), licence="none",
        metric=Metric(name="Top1", value=75.33, images=150), **known,
    )  # fmt: skip


def summary(gate: Gate, repository: str = "r") -> str:
    targets = [Target("onnxruntime", each) for each in (Precision.FP32, Precision.INT8)]
    plan = Plan(load_spec("mobilenet_v1"), Request(BuildOptions(repository=Path(repository))), tuple(targets), ())
    manifests = manifest(Precision.FP32), manifest(Precision.INT8, gate=gate, speed=SPEED)
    return summarize_build(BuildResult(plan, True, tuple(zip(targets, manifests, strict=True))))


def test_a_variant_in_a_line() -> None:
    settings = {"recipe": "PTQ avg"}
    assert describe(manifest(Precision.INT8, gate=GATE, speed=SPEED, settings=settings)) == (
        "Top1 75.33 on 150 images, drops 0.44 of 0.5 (95 %: -0.31 to 1.22; cannot tell; about 640 images would), "
        "2.00 times FP32's speed (1.90 to 2.10), PTQ avg"
    )


def test_what_an_older_qtriton_built_in_a_line() -> None:
    gate = GATE.model_copy(update={"evidence": None, "accepted": True})
    speed = SPEED.model_copy(update={"bounds": None})
    line = describe(manifest(Precision.INT8, gate=gate, speed=speed))
    assert line == "Top1 75.33 on 150 images, drops 0.44 of 0.5, accepted, 2.00 times FP32's speed"


def test_the_end_of_a_build_says_what_images_cannot_tell() -> None:
    text = summary(GATE)
    assert all(len(line) <= 100 for line in text.splitlines() if line.startswith(" "))
    assert (
        "\nOne of 150 images is 0.67 points, more than the budget of 0.5: give more with --validation and --labels.\n"
        in text
    )
    assert "the fastest within the accuracy budget as measured; 150 images cannot tell for sure." in text


@pytest.mark.parametrize("verdict", [Verdict.WITHIN, None])
def test_what_is_shown_needs_no_warning(verdict: Verdict | None) -> None:
    sure = SURE.model_copy(update={"verdict": verdict, "images_needed": None, "image_points": 0.1})
    text = summary(GATE.model_copy(update={"evidence": sure if verdict else None}))
    assert "the fastest within the accuracy budget. `" in text and "One of" not in text


def test_a_single_image_is_not_called_images() -> None:
    text = summary(GATE.model_copy(update={"images": 1, "evidence": SURE.model_copy(update={"image_points": 100})}))
    assert "\nThe only image is 100.00 points, more than the budget of 0.5" in text
    assert "measured; 1 image cannot tell for sure." in text


@pytest.mark.parametrize(
    ("repository", "named"), [("model_repository", ""), ("my models", " --repository 'my models'")]
)
def test_the_next_commands_can_be_copied(repository: str, named: str) -> None:
    text = summary(GATE, repository)
    assert f"`qtriton explain mobilenet_v1{named}` says why." in text
    folder = "'my models'" if named else repository
    assert f"\nNext: qtriton bench {folder} --model mobilenet_v1, or qtriton serve {folder}" in text
