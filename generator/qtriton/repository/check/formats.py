"""The problems of a repository as CI takes them: GitHub's workflow commands, and SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.rules import Problem, Rule, Severity

#: What the severities are called there.
_GITHUB: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def github(repository: Path, problems: Iterable[Problem]) -> list[str]:
    """A line a problem, which GitHub shows beside the file; paths are from where the command runs."""
    lines = []
    for problem in problems:
        place = [f"file={_property(_path(repository, problem))}"]
        place += [f"line={problem.line}"] if problem.line else []
        place.append(f"title={_property(f'qtriton check: {problem.rule}')}")
        text = " ".join(part for part in (problem.sentence, problem.fix) if part)
        lines.append(f"::{_GITHUB[problem.severity]} {','.join(place)}::{_data(text)}")
    return lines


def _path(repository: Path, problem: Problem) -> str:
    return (repository / problem.path).as_posix() if problem.model else repository.as_posix()


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sarif(repository: Path, problems: Sequence[Problem], rules: Iterable[Rule], version: str) -> dict[str, Any]:
    """A log of SARIF 2.1.0 with one run; paths are from where the command runs, which is the root in CI.

    Args:
        repository: the folder, as the user named it.
        problems: what was found in it.
        rules: all that there are: a log names those that it does not tell of, too.
        version: qtriton's.
    """
    each = {rule.id: rule for rule in rules}
    places = {name: index for index, name in enumerate(each)}
    driver = {
        "name": "qtriton check",
        "version": version,
        "semanticVersion": version,
        "informationUri": "https://github.com/qtriton/qtriton",
        "rules": [_rule(rule) for rule in each.values()],
    }
    results = [_result(repository, problem, places[problem.rule]) for problem in problems]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": f"{rule.sentence}."},
        "help": {"text": f"{rule.fix}." if rule.fix else f"{rule.sentence}."},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _result(repository: Path, problem: Problem, index: int) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(_path(repository, problem))}}
    if problem.line:
        location["region"] = {"startLine": problem.line}
    return {
        "ruleId": problem.rule,
        "ruleIndex": index,
        "level": problem.severity.value,
        "message": {"text": " ".join(part for part in (problem.sentence, problem.fix) if part)},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"place/v1": f"{problem.rule}:{problem.path}"},
    }


def _uri(path: str) -> str:
    from urllib.parse import quote

    return f"file://{quote(path)}" if path.startswith("/") else quote(path)
