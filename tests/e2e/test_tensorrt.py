"""TensorRT without a GPU: what is built, what is said of it, and how near the typed ONNX is to FP32."""

import json
from pathlib import Path

import pytest

from qtriton.target import Precision

from .conftest import qtriton
from .test_zoo import MODELS, Real

PLAINEST = ("--method", "ptq", "--algorithm", "avg", "--accept-drop", "--few-images")


def test_the_known_command_ends_well_without_a_gpu(tmp_path: Path) -> None:
    """int8-fp16 on TensorRT: published, checked as pending, refused by what needs the engine."""
    repository = tmp_path / "repository"
    build = ("build", "demo_digits", "--precision", "int8-fp16", "--backend", "tensorrt", "--repository", repository)
    done = qtriton(*build, "--pinned-memory")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "Engine pending: demo_digits_tensorrt_fp32_pm, demo_digits_tensorrt_int8_fp16_pm" in said
    assert f"Next: qtriton engines build {repository}, on the GPU that serves it" in said
    assert "measured in ONNX Runtime in place of TensorRT" in said

    checked = qtriton("check", repository, "--json")
    assert checked.returncode == 0, checked.stderr
    pending = [f"demo_digits_tensorrt_{precision}_pm_runtime" for precision in ("fp32", "int8_fp16")]
    assert json.loads(checked.stdout) == {"repository": str(repository), "problems": [], "engines_pending": pending}
    assert "engine pending. Run `qtriton engines build" in qtriton("check", repository).stderr
    listed = json.loads(qtriton("engines", "list", repository, "--json").stdout)
    assert listed == [{"model": name, "engine": None} for name in pending]

    for command, code, words in (("engines build", 5, "TensorRT is not installed"), ("serve", 7, "is pending")):
        refused = qtriton(*command.split(), repository)
        assert (refused.returncode, words in refused.stderr) == (code, True), refused.stderr

    (repository / pending[1] / "1" / "model.onnx").write_bytes(b"another")
    assert "does not have the sha256" in qtriton("check", repository).stdout
    again = qtriton(*build, "--pinned-memory")
    assert again.returncode == 0 and "is published" in again.stdout + again.stderr
    assert "nothing was done" in "".join(vars(qtriton(*build, "--pinned-memory"))[key] for key in ("stdout", "stderr"))


@pytest.mark.parametrize("precision", [p for p in Precision if p is not Precision.FP32])
@pytest.mark.parametrize("real", MODELS, ids=[real.name for real in MODELS])
def test_the_typed_onnx_is_near_fp32(real: Real, precision: Precision, zoo: Path, tmp_path: Path) -> None:
    data = zoo / "data" / real.data
    done = qtriton(
        "build", real.name, "--weights", zoo / "models" / f"{real.name}.onnx", "--precision", precision.value,
        "--calibration", data / "calibration", "--validation", data / "validation", "--labels", data / real.labels,
        "--backend", "tensorrt", "--repository", tmp_path / "repository", "--json", *PLAINEST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fp32, typed = (each["metric"]["value"] for each in json.loads(done.stdout)["variants"])
    assert fp32 == pytest.approx(real.fp32, abs=real.within)
    # With every layer in integers, and 127 steps for what Relu leaves of a range, a net loses what it loses in Paddle.
    assert fp32 - typed <= (0.2 if precision is Precision.FP16 else real.paddle or real.loss)
