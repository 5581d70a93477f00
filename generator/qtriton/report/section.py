"""A part of what a command says, as a table or a sentence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A table; without rows, its title is a sentence."""

    title: str
    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
