"""The only module that prints: data on stdout, talk and progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

#: Called with how much is done and how much there is.
Report: TypeAlias = Callable[[int, int], None]

_err = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


def say(message: str) -> None:
    """Tell the user what happens; not part of the data."""
    if not _err.quiet:
        _err.print(escape(message), soft_wrap=True)


def warn(message: str) -> None:
    """Tell the user what may surprise them."""
    _err.print(f"[yellow]warning:[/yellow] {escape(message)}", soft_wrap=True)


def fail(message: str) -> None:
    """Show an error, even when quiet."""
    Console(stderr=True, highlight=False).print(f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True)


def quiet() -> None:
    """From now on only data, warnings and errors."""
    _err.quiet = True


def text(data: str) -> None:
    """Print data as it is, e.g. Markdown."""
    sys.stdout.write(data if data.endswith("\n") else data + "\n")


def as_json(data: Any) -> None:
    """Print data as JSON."""
    text(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table as wide as the terminal, or as wide as it needs where there is none."""
    drawn = Table(title=title, title_justify="left", title_style="bold")
    for header in headers:
        drawn.add_column(escape(header), overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(cell) for cell in row))
    console = _out if sys.stdout.isatty() else Console(highlight=False, width=200)
    console.print(drawn)


@contextmanager
def progress(label: str) -> Iterator[Report]:
    """A progress bar with the time left while the block runs; in a log, one line when it ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not _err.is_terminal:
        yield lambda done, total: None
        say(f"{label}: done")
        return
    with Progress(*columns, console=_err) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
