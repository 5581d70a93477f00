"""A reading: which base a file is, what the file says beyond it, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from qtriton.recognize.facts import Facts


class Said(NamedTuple):
    """The value of a field of a spec, and where it is from."""

    value: Any
    why: str


#: Fields of a spec by name, as YAML has them.
Fields: TypeAlias = Mapping[str, Said]


def nothing(facts: Facts) -> Fields:
    """What a file of a family says beyond the base: nothing."""
    del facts
    return {}


@dataclass(frozen=True)
class Family:
    """Files that one base describes."""

    #: A base of the zoo's generic folder.
    base: str
    #: Why a file is one of the family; "" where it is none.
    why: Callable[[Facts], str]
    #: What a file says that differs from the base; asked for files that --base puts into the family, too.
    fields: Callable[[Facts], Fields] = nothing
