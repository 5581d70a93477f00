"""Decodes JSON values into frozen dataclasses by their annotations, and refuses what does not fit."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decode(cls: type[T], raw: object, where: str = "") -> T:
    """Build dataclass `cls` from a JSON object.

    Raises:
        ValueError: a field is missing, unknown, or of another type; the message names it as `a.b[3]`.
    """
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where or 'the file'} must be an object, not {_kind(raw)}")
    hints = get_type_hints(cls)
    schema = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(raw) - set(schema)):
        raise ValueError(f"{_path(where, unknown[0])} is not a known field")
    required = (n for n, f in schema.items() if f.default is MISSING and f.default_factory is MISSING)
    if missing := [name for name in required if name not in raw]:
        raise ValueError(f"{_path(where, missing[0])} is missing")
    values = {name: _value(hints[name], value, _path(where, name)) for name, value in raw.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where or 'the file'}: {error}") from error


def _value(hint: Any, raw: object, where: str) -> object:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        choices = [choice for choice in get_args(hint) if choice is not type(None)]
        return None if raw is None else _value(choices[0], raw, where)
    if origin is tuple:
        if not isinstance(raw, list):
            raise ValueError(f"{where} must be a list, not {_kind(raw)}")
        item = get_args(hint)[0]
        return tuple(_value(item, value, f"{where}[{place}]") for place, value in enumerate(raw))
    if hint is float and type(raw) is int:
        return float(raw)
    if hint in (str, int, float, bool):
        if type(raw) is not hint:
            raise ValueError(f"{where} must be {hint.__name__}, not {_kind(raw)}")
        return raw
    return decode(hint, raw, where)


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _kind(raw: object) -> str:
    return "null" if raw is None else type(raw).__name__
