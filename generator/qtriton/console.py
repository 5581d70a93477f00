"""The only module that prints: data on stdout, talk and progress on stderr."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import HEAVY_HEAD, Box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from qtriton.progress import Progress

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
    text(json.dumps(data, indent=2, ensure_ascii=False, default=str, allow_nan=False))


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table as wide as it needs; where that is too wide, without frames and without columns of dashes."""
    console = _out if sys.stdout.isatty() else Console(highlight=False, width=200)
    grid = _table(title, headers, rows, HEAVY_HEAD)
    if console.measure(grid, options=console.options.update(max_width=10_000)).maximum > console.width:
        columns = [place for place in range(len(headers)) if any(row[place] != "-" for row in rows)]
        headers, rows = [headers[place] for place in columns], [[row[place] for place in columns] for row in rows]
        grid = _table(title, headers, rows, None)
        for column, width in zip(grid.columns, _widths(headers, rows, console.width), strict=True):
            column.width = width
    console.print(grid)


def _widths(headers: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """Columns that break no word, where there is room for that, and then as few lines as can be; rich would break."""
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    full_widths = [max(map(len, column)) for column in columns]
    spare = room - sum(widths) - len(widths)
    if spare < 0:
        return [None] * len(widths)
    for place in sorted(range(len(widths)), key=lambda place: full_widths[place] - widths[place]):
        more = min(spare, full_widths[place] - widths[place])
        widths[place] += more
        spare -= more
    return list(widths)


def _table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], box: Box | None) -> Table:
    padding = (0, 1) if box else (0, 1, 0, 0)
    grid = Table(title=title, title_justify="left", title_style="bold", box=box, padding=padding)
    for header in headers:
        grid.add_column(escape(header), overflow="fold")
    for row in rows:
        grid.add_row(*(escape(cell) for cell in row))
    return grid


class _Count(MofNCompleteColumn):
    """How much of how much, once that is known."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total else Text()


@contextmanager
def progress(label: str) -> Iterator[Progress]:
    """A progress bar with the time left while the block runs; in a log, one line when it ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), _Count(), TimeRemainingColumn())
    if not _err.is_terminal:
        yield lambda done, total: None
        say(f"{label}: done")
        return
    with Bars(*columns, console=_err) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
        if bars.tasks[task].total is None:
            bars.update(task, completed=1, total=1)
