"""Training by ACT in its worker: it ends nearer to FP32, and killed at any moment it goes on to the same weights."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.compress.act import compress, import_onnx, train
from qtriton.compress.scales import QUANTIZED
from qtriton.compress.training import load_arrays
from qtriton.quantize.qdq import emit
from qtriton.recipe import QatOptions
from qtriton.target import Precision

from .test_compress import TARGET, Floats, images, in_paddle, run


def uneven_net(path: Path) -> Path:
    """A net whose channels differ in size a thousandfold, so that one scale for all of them loses the small ones."""
    rng = np.random.default_rng(0)
    sizes = (2.0 ** np.linspace(-5, 5, 16)).astype(np.float32)
    first = rng.normal(size=(16, 3, 3, 3)).astype(np.float32) / 5
    second = rng.normal(size=(8, 16, 3, 3)).astype(np.float32) / 12
    held = {
        "w0": first * sizes[:, None, None, None],
        "b0": rng.normal(size=16).astype(np.float32) * sizes / 5,
        "slope": np.full((16, 1, 1), 0.25, np.float32),
        "w1": second / sizes[:, None, None],
        "b1": rng.normal(size=8).astype(np.float32) / 5,
        "w2": rng.normal(size=(8, 8, 1, 1)).astype(np.float32) / 3,
    }
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["c0", "slope"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, 16, 16])
    tensors = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "uneven", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


OPTIONS = QatOptions(iterations=240, learning_rate=1e-4, checkpoint_every=10, evaluate_every=20)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """An FP32 net as ONNX and for Paddle, and images."""
    folder = tmp_path_factory.mktemp("net")
    fp32 = uneven_net(folder / "fp32.onnx")
    import_onnx(fp32, (1, 3, 16, 16), folder / "paddle")
    return fp32, folder / "paddle", images(folder / "images.npy", 16, count=40)


@pytest.fixture(scope="module")
def trained(material: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed training gives."""
    _, paddle, calibration = material
    work = tmp_path_factory.mktemp("trained")
    seen: list[tuple[int, int]] = []
    train(
        paddle,
        calibration=calibration,
        work=work,
        options=OPTIONS,
        checkpoints=work / "checkpoints",
        out=work / "paddle",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 240) for done in range(1, 241)]
    return work


def weights(work: Path) -> dict[str, Floats]:
    return load_arrays(work / "checkpoints" / "best.npz")


def test_training_brings_int8_nearer_to_fp32(material: tuple[Path, Path, Path], trained: Path, tmp_path: Path) -> None:
    fp32, paddle, calibration = material
    batch = np.load(calibration)[:8]
    want = run(fp32, batch)
    errors = {}
    for name, taught in (("ptq", None), ("qat", trained / "paddle")):
        scales = compress(paddle, calibration=calibration, work=tmp_path / name, trained=taught)
        emit(fp32, scales, TARGET, tmp_path / f"{name}.onnx")
        in_onnx = run(tmp_path / f"{name}.onnx", batch)
        in_int8 = in_paddle(tmp_path / name / QUANTIZED, Precision.INT8, batch)
        errors[name] = [float(np.linalg.norm(found - want)) for found in (in_onnx, in_int8)]
    assert errors["qat"][0] < 0.98 * errors["ptq"][0], errors
    assert errors["qat"][1] < 0.98 * errors["ptq"][1], errors


def test_the_teacher_itself_does_not_change(material: tuple[Path, Path, Path], trained: Path) -> None:
    fp32, paddle, calibration = material
    batch = np.load(calibration)[:8]
    np.testing.assert_allclose(in_paddle(paddle, Precision.FP32, batch), run(fp32, batch), rtol=1e-3, atol=1e-4)
    assert all(name.endswith((".w_0", ".b_0")) for name in weights(trained))


def test_killed_at_a_random_moment_it_goes_on_to_the_same_weights(
    material: tuple[Path, Path, Path], trained: Path, tmp_path: Path
) -> None:
    _, paddle, calibration = material
    program = (
        "import sys; from pathlib import Path; from qtriton.compress.act import train\n"
        "from qtriton.recipe import QatOptions\n"
        "paddle, calibration, work = map(Path, sys.argv[1:])\n"
        f"options = {OPTIONS!r}\n"
        "train(paddle, calibration=calibration, work=work / 'one', options=options,\n"
        "      checkpoints=work / 'checkpoints', out=work / 'paddle')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(paddle), str(calibration), str(tmp_path)])
    checkpoint = tmp_path / "checkpoints" / "checkpoint.npz"
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.is_file():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        workers = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    psutil.wait_procs(workers, timeout=20)
    assert not (tmp_path / "paddle").exists(), "it had ended before it was killed"
    train(
        paddle,
        calibration=calibration,
        work=tmp_path / "two",
        options=OPTIONS,
        checkpoints=tmp_path / "checkpoints",
        out=tmp_path / "paddle",
    )
    straight, resumed = weights(trained), weights(tmp_path)
    assert straight.keys() == resumed.keys()
    for name, array in straight.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)
