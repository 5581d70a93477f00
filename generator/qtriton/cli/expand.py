"""Let a command take a dataclass of options: its fields become the command's own."""

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar, get_type_hints

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
    taken = [each for each in fields(options) if each.name not in without]  # type: ignore[arg-type]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own_hints = get_type_hints(command, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == "options":
                parameters += [_parameter(each, hints[each.name]) for each in taken]
            else:
                parameters.append(parameter.replace(annotation=own_hints[parameter.name]))

        @functools.wraps(command)
        def expanded(**given: Any) -> None:
            values = {each.name: given.pop(each.name) for each in taken}
            command(options=options(**values), **given)

        expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        expanded.__annotations__ = {each.name: each.annotation for each in parameters}
        del expanded.__wrapped__  # Typer would look at the command itself
        return expanded

    return decorate


def _parameter(field: "Field[Any]", annotation: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
