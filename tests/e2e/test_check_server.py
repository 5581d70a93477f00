"""`qtriton check` and the embedded tritonserver judge the list alike, or the test says what each of them says."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from e2e.check_cases import CASES, Case
from e2e.verdicts import NOT_STARTED, verdicts
from qtriton.repository.check import Severity, check

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed: no embedded server to ask")

#: Every fifth case by default, all with QTRITON_CHECK_CASES=all.
ASKED: Final = CASES if os.environ.get("QTRITON_CHECK_CASES") == "all" else CASES[::5]
#: How many models share a server: all of them are loaded at once, and most are a process.
_TOGETHER: Final = 60
#: After how long without a word the server has hung up on what is left; the slowest stub starts in less.
_HUNG_S: Final = 20


def _own(case: Case, said: dict[str, str]) -> dict[str, str]:
    """What the server refuses of a case's models."""
    names = {name.replace("@", case.name).split("/")[0] for name in case.files}
    return {name: reason for name, reason in said.items() if name in names and reason}


def _shares(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases in their order, as many of them together as a server takes."""
    shares: list[list[Case]] = [[]]
    models = 0
    for case in cases:
        more = sum(name.endswith("config.pbtxt") for name in case.files)
        if models + more > _TOGETHER:
            shares.append([])
            models = 0
        shares[-1].append(case)
        models += more
    return shares


def _disagreements(cases: Sequence[Case], folder: Path, quiet_s: float = 180) -> list[str]:
    """Where the server does not do with a case what the list says; the server is asked once for all of them."""
    folder.mkdir()
    for case in cases:
        case.write(folder)
    said = verdicts(folder, quiet_s)
    if len(cases) > 1 and all(reason.startswith(NOT_STARTED) for reason in said.values()):
        # Under load it sometimes ends while dozens of stubs do: that says nothing of any one model.
        middle = len(cases) // 2
        halves = (cases[:middle], "a"), (cases[middle:], "b")
        return [
            line
            for half, name in halves
            for line in _disagreements(half, folder.with_name(folder.name + name), quiet_s)
        ]
    lines = []
    for case in cases:
        refused = _own(case, {name: reason for name, reason in said.items() if case.alone or (folder / name).is_dir()})
        if bool(refused) != bool(case.refused):
            problems = [str(each) for each in check(folder) if each.model in refused or each.model == case.name]
            lines.append(f"{case.name}: the server says {refused or 'that all loads'}; check says {problems}")
    return lines


def test_the_server_does_what_the_list_says(tmp_path: Path) -> None:
    run = [case for case in ASKED if case.judge == "run"]
    together = [case for case in run if not case.alone and not case.hangs]
    lines = [line for number, shared in enumerate(_shares(together))
             for line in _disagreements(shared, tmp_path / str(number))]  # fmt: skip
    if hanging := [case for case in run if case.hangs]:
        lines += _disagreements(hanging, tmp_path / "hanging", _HUNG_S)
    for case in run:
        lines += _disagreements([case], tmp_path / case.name) if case.alone else []
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_check_says_what_the_list_says(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path / "repository")

    problems = check(tmp_path / "repository", release=case.server, least=Severity.NOTE)

    told = [f"{each} [{each.rule}]" for each in problems]
    errors = {each.rule for each in problems if each.severity is Severity.ERROR}
    assert case.refused in errors if case.refused else not errors, told
    others = {each.rule for each in problems if each.severity is not Severity.ERROR}
    assert case.refused or others == set(case.also), told


def test_the_list_is_long() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 150
