"""Pieces of Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: How to write everything anew.
COMMAND: Final = "python docs/reference.py"
NOTE: Final = f"<!-- Written by `{COMMAND}`; change the code that it reads. -->"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in the source."""
    cells = [list(headers), *(list(row) for row in rows)]
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(headers))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def paragraphs(text: str) -> str:
    """Docstrings are wrapped; Markdown need not be."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def cell(text: str) -> str:
    """A text as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
