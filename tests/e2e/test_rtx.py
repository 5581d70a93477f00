"""A real and current TensorRT on our typed ONNX: TensorRT-RTX parses and builds it without a GPU."""

import json
import shutil
from pathlib import Path

import onnx
import pytest

from qtriton import isolated
from qtriton.backends.tensorrt.recipe import EngineRecipe
from qtriton.backends.tensorrt.rtx import build_rtx

from .conftest import qtriton
from .rtx import INSTALLED, assert_builds

pytestmark = pytest.mark.skipif(
    not INSTALLED, reason="TensorRT-RTX is not installed: pip install 'qtriton[tensorrt-rtx]'"
)

PLAINEST = ("--method", "ptq", "--algorithm", "avg", "--accept-drop")
INT8 = "demo_digits_tensorrt_int8_runtime"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo detector in every precision."""
    folder = tmp_path_factory.mktemp("rtx") / "repository"
    for precision in ("fp16", "int8", "int8-fp16"):
        build = ("build", "demo_digits", "--backend", "tensorrt", "--precision", precision, *PLAINEST)
        done = qtriton(*build, "--repository", folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_every_precision_is_built_and_every_quantized_layer_is_in_integers(repository: Path) -> None:
    told = assert_builds(repository, models=4)
    multiplications = [sum(each["multiplications"].values()) for each in told.values()]
    assert len(set(multiplications)) == 1, told  # no precision computes a layer twice
    floats = [len(told[INT8.replace("int8", name)]["float_multiplications"]) for name in ("int8", "int8_fp16")]
    assert floats[0] == floats[1] > 0  # the last layers
    nodes = told[INT8.replace("int8", "int8_fp16")]["float_multiplications"]
    assert all("Conv." in "".join(names) for names in nodes)  # by the names that the model gives them


def test_a_person_reads_a_table(repository: Path) -> None:
    done = qtriton("check", repository, "--tensorrt-rtx")
    assert done.returncode == 0, done.stderr
    assert "Built by TensorRT-RTX 1." in done.stdout and INT8 in done.stdout
    assert "no problem found" in done.stderr


def test_what_it_refuses_is_a_problem_in_the_words_of_its_parser(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / INT8, tmp_path / INT8)
    path = tmp_path / INT8 / "1" / "model.onnx"
    model = onnx.load(str(path))
    next(node for node in model.graph.node if node.op_type == "Conv").op_type = "Mystery"
    onnx.save(model, str(path))
    done = qtriton("check", tmp_path, "--tensorrt-rtx", "--json")
    assert done.returncode == 7
    said = json.loads(done.stdout)
    assert said["tensorrt_rtx"] == [{"model": INT8, "built": False}]
    problem = said["problems"][-1]
    assert (problem["model"], problem["where"]) == (INT8, "1/model.onnx")
    assert "TensorRT-RTX 1." in problem["sentence"] and "Mystery" in problem["sentence"]
    assert "Try another --precision" in problem["sentence"]


def test_a_file_that_is_not_onnx_is_a_problem(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / INT8, tmp_path / INT8)
    (tmp_path / INT8 / "1" / "model.onnx").write_bytes(b"another")
    done = qtriton("check", tmp_path, "--tensorrt-rtx")
    assert done.returncode == 7 and "cannot read it" in done.stdout


def test_a_repository_without_engines_says_so(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "demo_digits_preprocess_pixels", tmp_path / "demo_digits_preprocess_pixels")
    done = qtriton("check", tmp_path, "--tensorrt-rtx")
    assert done.returncode == 0, done.stdout
    assert "no model here has a TensorRT engine" in done.stderr


def test_what_does_not_fuse_is_named(repository: Path) -> None:
    """For Turing, TensorRT-RTX computes quantized convolutions in floating point."""
    folder = repository / INT8 / "1"
    engine = isolated.run(build_rtx, folder, EngineRecipe.load(folder), "7.5")
    assert len(engine.unfused) >= 10 and "INT8" not in engine.multiplications
