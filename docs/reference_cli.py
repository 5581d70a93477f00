"""The command line, as Typer reads it, in Markdown."""

from __future__ import annotations

import enum
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from reference_markdown import NOTE, cell, markdown_table, paragraphs
from typer.models import ArgumentInfo, OptionInfo

from qtriton.cli import app
from qtriton.errors import ExitCode


def commands() -> str:
    """Every command in one line."""
    rows = [(f"`{name}`", _first_sentence(command)) for name, command in _top_level()]
    return markdown_table(("Command", "What it does"), rows)


def exit_codes() -> str:
    """What a command ends with."""
    rows = [(str(int(code)), code.meaning[0].upper() + code.meaning[1:]) for code in ExitCode]
    return markdown_table(("Code", "Meaning"), rows)


def cli_page() -> str:
    """Every command with its arguments and options."""
    parts = [
        f"# Command line\n\n{NOTE}",
        "Options that stand before the command hold for all of them: `qtriton --quiet build yolov5n`.",
        _options(app.registered_callback.callback) if app.registered_callback else "",
        "`qtriton --install-completion` sets up completion for your shell; `--show-completion` prints it. Every\n"
        "command has `--help`, or `-h`.",
        "## All commands",
        commands(),
    ]
    for name, command in _top_level():
        parts.append(f"## {name}")
        if isinstance(command, typer.Typer):
            parts += _group(name, command)
        else:
            parts += _command(name, command)
    parts += ["## Exit codes", exit_codes()]
    return "\n\n".join(filter(None, parts)) + "\n"


def _top_level() -> Iterator[tuple[str, Any]]:
    """The commands and groups by the words that call them."""
    for command in app.registered_commands:
        yield f"qtriton {command.name}", command.callback
    for group in app.registered_groups:
        yield f"qtriton {group.name}", group.typer_instance


def _group(name: str, group: typer.Typer) -> Iterator[str]:
    callback = group.registered_callback
    if callback is not None and callback.invoke_without_command:
        yield from _command(name, callback.callback)
    else:
        yield str(group.info.help)
    for command in group.registered_commands:
        yield f"### {name} {command.name}"
        yield from _command(f"{name} {command.name}", command.callback)


def _command(name: str, function: Any) -> Iterator[str]:
    arguments = [each for each in _parameters(function) if isinstance(each.info, ArgumentInfo)]
    words = [f"[{each.value}]" if each.optional else each.value for each in arguments]
    yield f"```text\n{' '.join([name, *words, '[OPTIONS]'])}\n```"
    yield paragraphs(inspect.getdoc(function) or "")
    if arguments:
        rows = [
            (_alternatives(each.value), each.shown_default if each.optional else "required", each.help)
            for each in arguments
        ]
        yield markdown_table(("Argument", "Default", "What"), rows)
    yield _options(function)


def _options(function: Any) -> str:
    """A table a panel of the help."""
    panels: dict[str, list[_Parameter]] = {}
    for each in _parameters(function):
        if isinstance(each.info, OptionInfo):
            panels.setdefault(each.info.rich_help_panel or "", []).append(each)
    tables = []
    for panel, options in panels.items():
        rows = [(each.words, each.shown_value, each.shown_default, each.help) for each in options]
        table = markdown_table(("Option", "Value", "Default", "What"), rows)
        tables.append(f"**{panel}**\n\n{table}" if panel else table)
    return "\n\n".join(tables)


class _Parameter:
    """One parameter of a command, as Typer reads it."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self.name, self.default = name, default
        self.kind, self.info = annotation, ArgumentInfo(default=default)
        if get_origin(annotation) is Annotated:
            self.kind, self.info = get_args(annotation)

    @property
    def help(self) -> str:
        """What it is for."""
        return cell(self.info.help or "")

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return self.default is not inspect.Parameter.empty

    @property
    def value(self) -> str:
        """What is written for its value."""
        return self.info.metavar or self.name.upper()

    @property
    def words(self) -> str:
        """An option as it is typed."""
        flag = f"--{self.name.replace('_', '-')}"
        # Inside of Annotated the first word lands where an older notation has the default; Typer sorts that out later.
        words = [word for word in (self.info.default, *(self.info.param_decls or ())) if isinstance(word, str)]
        return ", ".join(f"`{word}`" for word in words or [flag])

    @property
    def shown_value(self) -> str:
        """What an option takes."""
        kinds = [each for each in self._kinds() if each is not type(None)]
        if bool in kinds:
            return "-"
        if isinstance(kinds[0], enum.EnumMeta):
            members: list[Any] = list(kinds[0])
            return ", ".join(f"`{each.value}`" for each in members)
        if self.info.metavar:
            return _alternatives(self.info.metavar)
        return {int: "integer", float: "number", Path: "path"}.get(kinds[0], "text") + self._repeated()

    @property
    def shown_default(self) -> str:
        """What holds where it is left out."""
        default = self.default.value if isinstance(self.default, enum.Enum) else self.default
        return "-" if any(default is nothing for nothing in (None, False, inspect.Parameter.empty)) else f"`{default}`"

    def _kinds(self) -> tuple[Any, ...]:
        union = get_origin(self.kind) in (Union, types.UnionType)
        kinds = get_args(self.kind) if union else (self.kind,)
        return tuple(get_args(kind)[0] if get_origin(kind) is list else kind for kind in kinds)

    def _repeated(self) -> str:
        return ", repeatable" if "list" in str(self.kind) else ""


def _alternatives(metavar: str) -> str:
    return " or ".join(f"`{word}`" for word in metavar.split("|"))


def _parameters(function: Any) -> list[_Parameter]:
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    return [
        _Parameter(name, hints[name], each.default)
        for name, each in signature.parameters.items()
        if hints[name] is not typer.Context
    ]


def _first_sentence(command: Any) -> str:
    text = str(command.info.help) if isinstance(command, typer.Typer) else inspect.getdoc(command) or ""
    return paragraphs(text).split("\n\n")[0].partition(". ")[0]
