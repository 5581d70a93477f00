"""Let a command take a dataclass of options: its fields become the command's own."""

import copy
import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from enum import EnumMeta
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from qtriton.errors import InputError

Options = TypeVar("Options")


def expand(
    options: type[Options], *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter `options` of a command by the fields of a dataclass, with their types and defaults.

    Args:
        options: the dataclass; each field is annotated as Typer wants a parameter.
        without: fields that the command does not take.
    """
    hints = get_type_hints(options, include_extras=True)
    option_fields = [each for each in fields(options) if each.name not in without]  # type: ignore[arg-type]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        command_hints = get_type_hints(command, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == "options":
                parameters += [_parameter(each, hints[each.name]) for each in option_fields]
            else:
                parameters.append(parameter.replace(annotation=command_hints[parameter.name]))

        @functools.wraps(command)
        def expanded(**arguments: Any) -> None:
            values = {each.name: arguments.pop(each.name) for each in option_fields}
            command(options=options(**values), **arguments)

        expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        expanded.__annotations__ = {each.name: each.annotation for each in parameters}
        del expanded.__wrapped__  # Typer would look at the command itself
        return expanded

    return decorate


def _parameter(field: "Field[Any]", annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=default, annotation=_with_parser(field.name, annotation))


def _with_parser(name: str, annotation: Any) -> Any:
    """An option whose type is an enum gets a parser of ours: Typer's own words for a wrong value are not plain."""
    enum, *details = get_args(annotation) if get_origin(annotation) is Annotated else (None,)
    if not isinstance(enum, EnumMeta):
        return annotation
    option = copy.copy(details[0])
    members: list[Any] = list(enum)
    values = [member.value for member in members]
    option.metavar, option.parser = f"<{'|'.join(values)}>", choice(f"--{name.replace('_', '-')}", enum, values)
    return Annotated[enum, option]


def choice(option: str, enum: Any, values: list[str]) -> Callable[[Any], Any]:
    """A parser of an option's value that says in one sentence which there are."""

    def parse(value: Any) -> Any:
        try:
            return enum(value)
        except ValueError:
            raise InputError(f"{option} {value}: choose one of {', '.join(values)}.") from None

    return parse
