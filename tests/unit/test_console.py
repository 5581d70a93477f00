"""Tables in terminals of any width."""

import io

import pytest
from rich.console import Console

from qtriton import console

HEADERS = ("Model", "FP32", "INT8+FP16", "INT8+FP16+PM", "Method")
ROWS = [("Demo digits", "12.34", "-", "-", "Post Training Quantization"), ("B", "1", "-", "-", "")]


def drawn(monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    screen = Console(highlight=False, width=width, record=True, file=io.StringIO())
    monkeypatch.setattr(console, "_out", screen)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    console.table("Title", HEADERS, ROWS)
    return screen.export_text()


def test_a_wide_terminal_gets_every_column_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, 120)
    assert "INT8+FP16+PM" in text and "Post Training Quantization" in text and "┃" in text


def test_a_narrow_one_gets_whole_words_and_no_column_of_dashes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, 40)
    words = {word for header in (*HEADERS[:2], HEADERS[4]) for word in header.split()}
    words |= {word for row in ROWS for cell in (*row[:2], row[4]) for word in cell.split()}
    assert words <= set(text.split())
    assert "INT8+FP16" not in text
    assert max(map(len, text.splitlines())) <= 40
