"""From an ONNX file alone to what is served: nobody writes YAML."""

import json
from pathlib import Path

import cv2
import pytest

from qtriton.spec_files import load_spec

from .conftest import qtriton
from .made_up import photo, yolo8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("from_file")
    yolo8(folder / "best.onnx")
    photo(folder / "photo.png")
    return folder


def is_the_square(found: list[dict[str, object]]) -> bool:
    return [(each["name"], each["box"]) for each in found] == [("red", [32, 64, 48, 80])]


def test_a_file_is_built_and_served_with_its_names(folder: Path) -> None:
    done = qtriton("build", "best.onnx", "--precision", "fp32", "--repository", "repository", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "best: read as ultralytics_detect, detection  <- metadata of Ultralytics 8.4.1: task detect" in done.stderr
    done = qtriton("predict", "best", "photo.png", "--repository", "repository", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert is_the_square(json.loads(done.stdout)["photo.png"]["found"])


def test_plan_says_how_the_file_was_read(folder: Path) -> None:
    done = qtriton("plan", "./best.onnx", "--precision", "fp32", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["model"] == "best" and len(plan["notes"]) == 5
    assert "classes: red, green" in plan["notes"][-1]


def test_init_writes_the_spec_and_tries_it_on_a_photo(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "best.yaml"
    arguments = ("init", folder / "best.onnx", "--output", output, "--try", folder / "photo.png", "--json")
    done = qtriton(*arguments)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert is_the_square(said["found"])
    picture, scene = cv2.imread(said["picture"]), cv2.imread(str(folder / "photo.png"))
    assert Path(said["picture"]).parent == tmp_path and picture is not None and scene is not None
    assert picture.shape == scene.shape and (picture != scene).any()
    spec = load_spec(str(output))
    assert (spec.name, spec.classes, spec.input.dims) == ("best", ("red", "green"), (3, 64, 64))
    again = qtriton(*arguments)
    assert again.returncode == 2 and "is there already" in again.stderr
    assert qtriton(*arguments, "--force").returncode == 0


def test_a_spec_that_was_corrected_is_tried_and_built(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: ultralytics_detect\nclasses: [rot, gruen]\n")
    rest = ("--weights", folder / "best.onnx")
    done = qtriton("init", path, *rest, "--try", folder / "photo.png", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["found"][0]["name"] == "rot" and said["picture"] == "mine-photo.png"
    done = qtriton("build", path, *rest, "--precision", "fp32", "--repository", tmp_path / "repository")
    assert done.returncode == 0, done.stderr


def test_a_wrong_reading_is_found_out_by_the_photo(folder: Path, tmp_path: Path) -> None:
    done = qtriton(
        "init", folder / "best.onnx", "--base", "generic_detection", "--output", tmp_path / "wrong.yaml",
        "--try", folder / "photo.png",
    )  # fmt: skip
    assert done.returncode == 3
    assert "{op: yolo_head} takes" in done.stderr and "yolo8_head" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("build", "x/best.onnx"), 2, "no such file"),
        (("plan", "best.pt"), 2, "yolo export model=best.pt format=onnx"),
        (("build", "."), 2, "Give the ONNX file in it: best.onnx"),
        (("init", "demo_digits"), 2, "qtriton zoo show demo_digits"),
        (("init", "best.onnx", "--try", "no.jpg"), 2, "no such file"),
        (("init", "best.onnx", "--base", "yolo"), 2, "there is no such base"),
        (("build", "demo_digits", "--base", "yolox"), 2, "is a spec"),
        (("zoo", "show", "no"), 2, "not in the zoo"),
    ],
)
def test_what_cannot_be_is_told(arguments: tuple[str, ...], code: int, words: str, folder: Path) -> None:
    done = qtriton(*arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr


def test_zoo_show_prints_models_and_bases() -> None:
    done = qtriton("zoo", "show", "picodet_xs_416")
    assert done.returncode == 0 and "{op: pico_head, strides: [8, 16, 32, 64]} # " in done.stdout
    done = qtriton("zoo", "show", "ultralytics_end2end", "--json")
    assert json.loads(done.stdout)["postprocess"][0]["columns"] == "box_score_class"
