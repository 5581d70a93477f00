"""TensorRT without a GPU: what is built, what is said of it, and how near the typed ONNX is to FP32."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from qtriton.backends import BACKENDS
from qtriton.backends.runner import running
from qtriton.backends.tensorrt.recipe import engine_recipe
from qtriton.errors import ArtifactLoadError
from qtriton.target import Precision, Target

from . import rtx
from .conftest import qtriton
from .test_zoo import MODELS, Real

PLAINEST = ("--method", "ptq", "--algorithm", "avg", "--accept-drop", "--few-images")


def test_the_known_command_ends_well_without_a_gpu(tmp_path: Path) -> None:
    """int8-fp16 on TensorRT: published, checked as pending, refused by what needs the engine."""
    repository = tmp_path / "repository"
    build = ("build", "demo_digits", "--precision", "int8-fp16", "--repository", repository)
    done = qtriton(*build, "--pinned-memory")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "Engine pending: demo_digits_tensorrt_fp32, demo_digits_tensorrt_int8_fp16_pm" in said
    assert f"Next: qtriton engines build {repository}, on the GPU that serves it" in said
    assert "measured in ONNX Runtime in place of TensorRT" in said

    checked = qtriton("check", repository, "--json")
    assert checked.returncode == 0, checked.stderr
    pending = [f"demo_digits_tensorrt_{variant}_runtime" for variant in ("fp32", "int8_fp16_pm")]
    assert json.loads(checked.stdout) == {"repository": str(repository), "problems": [], "engines_pending": pending}
    assert "engine pending. Run `qtriton engines build" in qtriton("check", repository).stderr
    listed = json.loads(qtriton("engines", "list", repository, "--json").stdout)
    assert listed == [{"model": name, "engine": None} for name in pending]

    for command, code, words in (("engines build", 5, "TensorRT is not installed"), ("serve", 7, "is pending")):
        refused = qtriton(*command.split(), repository)
        assert (refused.returncode, words in refused.stderr) == (code, True), refused.stderr

    (repository / pending[1] / "1" / "model.onnx").write_bytes(b"another")
    assert "which has another sha256" in qtriton("check", repository).stdout
    again = qtriton(*build, "--pinned-memory")
    assert again.returncode == 0 and "is published" in again.stdout + again.stderr
    assert "nothing was done" in "".join(vars(qtriton(*build, "--pinned-memory"))[key] for key in ("stdout", "stderr"))


@pytest.mark.parametrize(
    ("backend", "precision", "instead"),
    [
        ("onnxruntime-tensorrt", "int8", "ONNX Runtime on the CPU in place of ONNX Runtime with TensorRT"),
        ("onnxruntime-tensorrt", "fp16", "ONNX Runtime on the CPU in place of ONNX Runtime with TensorRT"),
        ("paddle-tensorrt", "int8-fp16", "Paddle Inference on the CPU in place of Paddle-TensorRT"),
    ],
)
def test_the_other_runtimes_of_tensorrt_are_published_without_a_gpu(
    backend: str, precision: str, instead: str, tmp_path: Path
) -> None:
    """Checked, explained, and refused by the server that has no GPU."""
    repository = tmp_path / "repository"
    done = qtriton(
        "build", "demo_digits", "--backend", backend, "--precision", precision, "--repository", repository,
        "--json", *PLAINEST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fp32, other = json.loads(done.stdout)["variants"]
    assert fp32["metric"]["value"] - other["metric"]["value"] <= 2
    assert (other["precision"], other["speed"]) == (precision, None)
    assert qtriton("check", repository).returncode == 0
    assert f"measured in {instead}" in qtriton("explain", "demo_digits", "--repository", repository).stdout
    refused = qtriton("serve", repository)
    assert refused.returncode == 7 and "run on an NVIDIA GPU, and there is none here" in refused.stderr


def test_tensorrt_and_onnxruntime_build_from_the_same_onnx(tmp_path: Path) -> None:
    backends = ("tensorrt", "onnxruntime-tensorrt")
    done = qtriton(
        "build", "demo_digits", "--backend", ",".join(backends), "--precision", "fp16", "--repository", tmp_path / "r",
        "--json", "--placement", "steps", *PLAINEST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = {each["backend"]: Path(each["artifact"]).read_bytes() for each in json.loads(done.stdout)["variants"][1::2]}
    assert set(files) == set(backends) and len(set(files.values())) == 1


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ("tensorrt", "cannot run the fp32 model"),
        ("onnxruntime-tensorrt", "has no TensorRT; install onnxruntime-gpu"),
        ("paddle-tensorrt", "was built without TensorRT; install paddlepaddle-gpu"),
    ],
)
def test_a_runtime_without_its_gpu_says_so_and_nothing_falls_back(backend: str, told: str, tmp_path: Path) -> None:
    """The engine as it would run on a GPU, opened where there is none."""
    done = qtriton("build", "demo_digits", "--backend", backend, "--precision", "fp32", "--repository", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    target = Target(backend, Precision.FP32, device="some GPU")
    version = tmp_path / "r" / f"demo_digits_{backend.replace('-', '_')}_fp32_runtime" / "1"
    with (
        pytest.raises(ArtifactLoadError, match=told),
        running(target, version / BACKENDS[backend].files(target)[0]),
    ):
        pytest.fail("it must not run")


#: What a machine with a GPU has and this one lacks, as far as the command asks for it before TensorRT's own work.
SLOW = """
import time
__version__ = "10.16.1"
class ILogger:
    class Severity: ERROR, INTERNAL_ERROR = 1, 0
class NetworkDefinitionCreationFlag: STRONGLY_TYPED = 1
def init_libnvinfer_plugins(logger, _):
    open("started", "w").close()
    {what}
"""
SMI = "#!/bin/sh\necho 'Tesla T4, 7.5, 550.54.15'\n"


@pytest.fixture
def gpu_machine(tmp_path: Path) -> dict[str, str]:
    """An environment with an nvidia-smi that answers; a test writes the tensorrt.py that is found first."""
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SMI)
    smi.chmod(0o755)
    folder = tmp_path / "repository" / "net_tensorrt_int8_runtime" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"onnx")
    engine_recipe({"x": (3, 4, 4)}, 8, Precision.INT8).save(folder)
    known = os.environ.get("PYTHONPATH", "")
    return {"PATH": f"{smi.parent}:{os.environ['PATH']}", "PYTHONPATH": f"{tmp_path}:{known}"}


def test_ctrl_c_ends_the_build_of_an_engine(gpu_machine: dict[str, str], tmp_path: Path) -> None:
    """TensorRT itself would not hear it."""
    (tmp_path / "tensorrt.py").write_text(SLOW.format(what="time.sleep(600)"))
    command = [sys.executable, "-m", "qtriton", "engines", "build", "repository"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **gpu_machine}, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children, process.communicate()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert not list((tmp_path / "repository").rglob("model.plan"))


def test_a_crash_of_tensorrt_is_a_sentence(gpu_machine: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text(SLOW.format(what="import os; os.abort()"))
    done = qtriton("engines", "build", "repository", cwd=tmp_path, **gpu_machine)
    assert done.returncode == 6
    assert "TensorRT crashed while it built the engine: it was killed by SIGABRT" in done.stderr


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
    # With every layer quantized, and 127 steps for what Relu leaves of a range, accuracy drops as much as in Paddle.
    assert fp32 - typed <= (0.2 if precision is Precision.FP16 else real.paddle or real.loss)
    if rtx.INSTALLED:
        rtx.assert_builds(tmp_path / "repository", models=2)
