"""A model of a user's own: its classes are published with it, and its images may move."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from qtriton.server import ServerOptions, serve
from qtriton_client.session import Session

from .conftest import qtriton
from .remote import ask
from .test_extend import YAML, weights

ENSEMBLE = "toy_onnxruntime_fp32"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy classifier, and beside the repository the images that it was measured on."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "toy.yaml").write_text(YAML)
    (folder / "images").mkdir()
    for index, colour in enumerate(((20, 30, 230), (20, 230, 40), (230, 20, 40))):
        cv2.imwrite(str(folder / "images" / f"{index}.png"), np.full((9, 5, 3), colour, np.uint8))
    done = qtriton(
        "build", folder / "toy.yaml", "--weights", weights(folder / "toy.onnx"), "--precision", "fp32",
        "--validation", folder / "images", "--repository", folder / "repository", "--instances", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "repository"


def test_two_instances_of_each_step_answer(repository: Path) -> None:
    steps = ("toy_preprocess_pixels", "toy_onnxruntime_fp32_runtime", "toy_postprocess")
    images = [path.read_bytes() for path in sorted((repository.parent / "images").iterdir())]
    with serve(repository, ServerOptions(grpc_port=0, http_port=0)) as server:
        with Session(server.grpc_url) as session:
            assert [[group.count for group in session.config(step).instance_group] for step in steps] == [[2]] * 3
        with ThreadPoolExecutor(4) as pool:
            asked = [(image, pool.submit(ask, server.grpc_url, ENSEMBLE, [image], ["classes"])) for image in images * 8]
        alone = {image: ask(server.grpc_url, ENSEMBLE, [image], ["classes"])["classes"] for image in images}
        for image, answer in asked:
            np.testing.assert_array_equal(answer.result()["classes"], alone[image])
        assert "2 instances" in qtriton("explain", "toy", "--repository", repository).stdout


def test_predict_prints_the_names_of_the_classes(repository: Path) -> None:
    image = repository.parent / "images" / "1.png"
    done = qtriton("predict", "toy", image, "--repository", repository, "--json")
    assert done.returncode == 0, done.stderr
    assert [each["name"] for each in json.loads(done.stdout)[str(image)]["found"]] == ["green", "red", "blue"]


def test_a_name_that_does_not_exist_starts_no_server(repository: Path) -> None:
    done = qtriton("predict", "toi", repository.parent / "images" / "1.png", "--repository", repository)
    assert done.returncode == 2
    assert "has no toi; it has toy" in done.stderr and "start tritonserver" not in done.stderr


def test_bench_measures_a_repository_whose_images_have_moved(repository: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(repository, tmp_path / "repository")
    moved = (repository.parent / "images").rename(tmp_path / "moved")
    try:
        done = qtriton("bench", copy, "--requests", 5, "--output", tmp_path / "results.json", cwd=tmp_path)
    finally:
        moved.rename(repository.parent / "images")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "are gone, so generated ones are sent. Pass --images DIR" in said and "images" in said
