"""On which line of a config.pbtxt a field stands: protobuf's parser for Python does not keep that."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_ENDS: Final = {"{": "}", "<": ">"}


@dataclass
class Position:
    """A field's line, its text where it is a plain value, and the fields in it by name."""

    line: int
    text: str = ""
    fields: dict[str, list[Position]] = field(default_factory=dict)


def read_positions(text: str) -> Position:
    """The tree of positions of a config that can be parsed; what cannot be followed is left out."""
    from google.protobuf import text_format

    root = Position(1)
    tokens = text_format.Tokenizer(text.splitlines())
    with contextlib.suppress(text_format.ParseError):
        _message(tokens, "", root)
    return root


# The tokenizer keeps its line for errors only, so it has no public name.
def _message(tokens: Any, end: str, into: Position) -> None:
    while not tokens.AtEnd() and tokens.token != end:
        name, line = tokens.token, tokens._line + 1
        tokens.NextToken()
        tokens.TryConsume(":")
        into.fields.setdefault(name, []).extend(_values(tokens, line))
        tokens.TryConsume(",") or tokens.TryConsume(";")
    if end:
        tokens.Consume(end)


def _values(tokens: Any, line: int) -> list[Position]:
    if not tokens.TryConsume("["):
        return [_value(tokens, line)]
    values = []
    while not tokens.TryConsume("]"):
        values.append(_value(tokens, tokens._line + 1))
        tokens.TryConsume(",")
    return values


def _value(tokens: Any, line: int) -> Position:
    position = Position(line)
    if (end := _ENDS.get(tokens.token)) is not None:
        tokens.NextToken()
        _message(tokens, end, position)
        return position
    position.text = tokens.token.strip("\"'")
    tokens.NextToken()
    if position.text == "-":
        tokens.NextToken()
    return position


def line_of(root: Position, at: Sequence[str | int]) -> int | None:
    """The line of a field, or of the nearest field around it that the file names; None where it names none of it.

    Args:
        root: what `read_positions` gives.
        at: names, each followed by a number, or by the key of a map's entry, where it may stand more than once.
    """
    position, line, current = root, None, None
    for part in at:
        if isinstance(part, str) and (current is None or part in position.fields):
            current = position.fields.get(part)
            if not current:
                return line
            position = current[0]
        elif current is not None:
            entries = [each for each in current if any(key.text == str(part) for key in each.fields.get("key", ()))]
            chosen = entries[0] if entries else current[part] if isinstance(part, int) and part < len(current) else None
            if chosen is None:
                return line
            position = chosen
        else:
            return line
        line = position.line
    return line
