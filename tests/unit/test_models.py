"""The zoo's page and `qtriton models` say what the YAML files say."""

import csv
import json
import re
from pathlib import Path

import pytest

from qtriton import resources
from qtriton.cli import app
from qtriton.errors import InputError, ModelError
from qtriton.report.models import COMMAND, model_row, zoo_page, zoo_rows
from qtriton.spec_files import classes, generic_names, load_spec, parse_spec, zoo_names
from qtriton.target import Precision
from qtriton.tasks import TASKS

PAGE = resources.zoo() / "README.md"
TABLES = Path(__file__).parents[3] / "shared" / "fastdeploy-tables.csv"
#: How many classes the data set of a shared list has.
CLASSES = {"coco": 80, "coco_by_id": 91, "imagenet": 1000, "cityscapes": 19, "camvid": 11}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTRITON_CACHE", str(tmp_path))


def test_the_page_is_what_the_yaml_files_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == zoo_page(), f"make the page again: {COMMAND}"


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    app(["models", "--markdown"], standalone_mode=False)
    assert capsys.readouterr().out == zoo_page()


def test_json_and_table_have_the_rows_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    app(["models", "--json"], standalone_mode=False)
    listed = json.loads(capsys.readouterr().out)
    rows = zoo_rows()
    assert [each["name"] for each in listed] == [row.name for row in rows] == zoo_names()
    for each, row in zip(listed, rows, strict=True):
        assert each["precisions"][0] == Precision.FP32.value
        assert (each["input"], each["metric"], each["sha256"]) == (list(row.input), row.metric, row.sha256)
        assert (each["weights"] is not None) == row.shipped
    app(["models"], standalone_mode=False)
    printed = capsys.readouterr().out
    for row in rows:
        assert re.search(rf"{row.name} .*{row.task}.*({'at hand' if row.shipped else row.weights})", printed)


def test_a_row_says_where_the_weights_come_from() -> None:
    kinds = {(row.weights, row.verified) for row in map(model_row, map(load_spec, ("demo_digits", "yolov7")))}
    assert kinds == {("shipped", "-"), ("download", "recorded on first download")}
    row = model_row(load_spec("yolov5n"))
    assert (row.weights, row.verified) == ("--weights FILE", "`7d779e25322dcff2`...")
    assert (row.thresholds, row.evaluation) == ({"score": 0.25, "iou": 0.45}, {"score": 0.001, "iou": 0.65})


@pytest.mark.parametrize("name", zoo_names())
def test_a_model_states_what_is_known_of_it(name: str) -> None:
    spec = load_spec(name)
    assert spec.title and spec.source.licence != "unknown"
    text = (resources.zoo() / f"{name}.yaml").read_text(encoding="utf-8")
    assert spec.source.url or spec.source.sha256 or spec.source.shipped or re.search(r"#.*export", text)
    names = classes(spec)
    assert len(names) == CLASSES.get(str(spec.classes), len(names)) and all(each.strip() == each for each in names)
    assert names and TASKS[spec.task].metric


def test_every_model_of_the_published_tables_has_one_entry() -> None:
    if not TABLES.is_file():
        pytest.skip("FastDeploy's tables (../shared/fastdeploy-tables.csv) are not on this machine")
    with TABLES.open(newline="", encoding="utf-8") as file:
        published = {row["model"] for row in csv.DictReader(file)}
    assert sorted(row.fastdeploy for row in zoo_rows() if row.fastdeploy) == sorted(published)


@pytest.mark.parametrize("name", generic_names())
def test_a_base_and_four_lines_are_a_spec(name: str) -> None:
    text = f"base: {name}\nname: mine\ninput: {{name: x, dims: [3, 64, 128]}}\nclasses: [cat, dog]\n"
    spec = parse_spec(text, "mine.yaml")
    assert name.removeprefix("generic_") == spec.task or not name.startswith("generic_")
    assert {op.size for op in spec.preprocess if hasattr(op, "size")} == {(64, 128)}
    assert (spec.title, spec.fastdeploy, spec.source.url) == ("", "", None)


def test_a_base_is_no_model() -> None:
    specs = [
        parse_spec(f"{{base: {name}, name: x, input: {{name: x, dims: [3, 9, 9]}}}}", "") for name in generic_names()
    ]
    assert set(TASKS) == {spec.task for spec in specs}
    assert not set(generic_names()) & set(zoo_names())
    with pytest.raises(InputError, match="Write `base: generic_detection`, name, input and classes into a YAML file"):
        load_spec("generic_detection")
    with pytest.raises(ModelError, match="name: Field required; input: Field required"):
        parse_spec("base: generic_detection", "mine.yaml")
    with pytest.raises(
        ModelError,
        match=r"base: generic_detektion is not in the zoo.* generic_detection, generic_multi_label, generic_seg",
    ):
        parse_spec("base: generic_detektion", "mine.yaml")


def test_the_whole_spec_on_the_page_is_one_and_short() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert parse_spec(text, "README.md").task == "detection"
    assert len(text.splitlines()) <= 12
