"""A wrong value for an option with choices: one plain sentence, not a box of Typer's."""

import sys
from collections.abc import Iterator
from enum import EnumMeta
from typing import Any, get_args, get_type_hints

import pytest

from qtriton.cli import app, main


def choices() -> Iterator[tuple[str, str, EnumMeta]]:
    """Every option of a command whose type is an enum."""
    for command in app.registered_commands:
        callback: Any = command.callback
        for name, hint in get_type_hints(callback, include_extras=True).items():
            kinds = get_args(hint)
            if kinds and isinstance(kinds[0], EnumMeta):
                words = [each for each in (kinds[1].default, *(kinds[1].param_decls or ())) if isinstance(each, str)]
                yield str(command.name), words[0] if words else f"--{name.replace('_', '-')}", kinds[0]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["qtriton", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(("command", "option", "enum"), list(choices()))
def test_a_wrong_choice_is_answered_with_the_right_ones(
    command: str, option: str, enum: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, command, "demo_digits", option, "int9") == 2
    values = ", ".join(member.value for member in enum)
    assert capsys.readouterr().err == f"error: {option} int9: choose one of {values}.\n"


def test_the_commands_have_such_options() -> None:
    found = {(command, option) for command, option, _ in choices()}
    options = ("--precision", "--method", "--algorithm")
    assert {(command, option) for command in ("build", "plan") for option in options} <= found


def test_the_help_names_the_choices_and_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "build", "--help") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "--precision" in line]
    assert len(lines) == 1 and "<fp32|fp16|int8|int8-fp16>" in lines[0] and "[default: int8]" in lines[0]
