"""Specs are data: every zoo file is valid, and a mistake in one is named."""

import re
from pathlib import Path

import pytest

from qtriton.errors import InputError, ModelError
from qtriton.spec_files import classes, load_spec, parse_spec, zoo_names

GOOD = """
name: mine
task: detection
input: {name: images, dims: [3, 64, 64]}
preprocess: [{op: letterbox, size: [64, 64]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: yolo_head}, {op: nms}]
classes: [cat, dog]
"""


@pytest.mark.parametrize("name", zoo_names())
def test_every_zoo_model_is_valid_and_named_like_its_file(name: str) -> None:
    assert load_spec(name).name == name


def test_a_dozen_lines_are_a_spec(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    spec = load_spec(str(path))
    assert [output.name for output in spec.results] == ["num_detections", "boxes", "scores", "classes"]


def test_a_shared_list_of_classes() -> None:
    names = classes(load_spec("yolov5n"))
    assert (len(names), names[0], names[79]) == (80, "person", "toothbrush")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "task: detection",
            "task: detektion",
            r"task: Input should be 'detection', 'class.* or 'rotated_detection'",
        ),
        ("classes:", "clases:", r"clases: .*\(a typo\?\)"),
        ("op: letterbox", "op: leterbox", r"preprocess.0: .*'leterbox'.*'letterbox'"),
        ("op: nms", "op: nms, iou_treshold: 0.5", r"postprocess.1.nms.iou_treshold: .*\(a typo\?\)"),
        ("{op: yolo_head}, {op: nms}", "{op: top_k}", r"must end with {op: nms}"),
        (", {op: chw}", "", r"must end with {op: chw}"),
        ("[3, 64, 64]}\np", "[3, 0, 64]}\np", r"input.dims: \[3, 0, 64\] must be positive"),
        ("name: mine", "name: ../mine", r"name: String should match"),
        ("classes:", "evaluation: {score: 1}\nclasses:", r"evaluation: \['score'\] are no fields of nms"),
        ("name: mine", "name: [mine", r"not valid YAML"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ModelError, match=message) as caught:
        parse_spec(GOOD.replace(old, new, 1), "mine.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mine.yaml: ")


def test_a_spec_that_is_no_mapping() -> None:
    with pytest.raises(ModelError, match="this is list"):
        parse_spec("- a\n- b", "x.yaml")


def test_an_unknown_model_suggests_the_near_one() -> None:
    with pytest.raises(InputError, match=re.escape("Did you mean yolov5n?")):
        load_spec("yolo5n")


def test_a_missing_file() -> None:
    with pytest.raises(InputError, match="no such file"):
        load_spec("./nowhere.yaml")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[no, yes]", "2 of 2 names are no text to YAML but False, True"),
        ("[cat, null, 3]", "2 of 3 names are no text to YAML but None, 3"),
        ("[cat, 2024-01-01]", "1 of 2 names"),
        ("{0: cat, 1: dog}", "a list of names in the order of the model's scores, not a mapping"),
    ],
)
def test_class_names_that_yaml_reads_as_something_else(names: str, said: str) -> None:
    with pytest.raises(ModelError, match=re.escape(said)):
        parse_spec(GOOD.replace("[cat, dog]", names), "mine.yaml")
    assert parse_spec(GOOD.replace("[cat, dog]", '["no", "yes"]'), "mine.yaml").classes == ("no", "yes")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_spec_is_utf_8(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD, encoding=encoding)
    assert load_spec(str(path)).name == "mine"
    path.write_text(GOOD, encoding="utf-16")
    with pytest.raises(ModelError, match="Save it as UTF-8"):
        load_spec(str(path))
