"""qtriton report: the tables of what was measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from qtriton import console
from qtriton.atomic import write_atomically
from qtriton.cli import options as o
from qtriton.errors import InputError


def report(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Files that bench wrote. Default: all in results/.", metavar="FILE...")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the Markdown into a file instead of stdout.", metavar="FILE")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Set published tables beside ours: fastdeploy.", metavar="NAME")
    ] = None,
    json: o.Json = False,
) -> None:
    """Print the tables of FastDeploy's kind as Markdown; for the same variant the latest results count."""
    files = results or sorted(Path("results").glob("*.json"))
    if not files:
        raise InputError("results/: no results there. Run qtriton bench first, or name the files it wrote.")
    # Loaded when called: NumPy, pydantic.
    from qtriton.report.comparison import compare, published
    from qtriton.report.tables import build_report
    from qtriton_client import BenchResults

    tables = published(against) if against else None
    report = build_report([BenchResults.load(path) for path in files])
    comparison = compare(report.rows, tables) if tables else None
    if json:
        console.as_json({**report.to_json(), **({"against": comparison.to_json()} if comparison else {})})
        return
    text = "\n".join([report.markdown(), *([comparison.markdown()] if comparison else [])])
    if output is None:
        console.text(text)
    else:
        write_atomically(output, text.encode())
        console.say(f"Written: {output}")


def show(files: Sequence[Path], json: bool) -> None:
    """Show results as JSON, or drawn for a person."""
    # Loaded when called: NumPy, pydantic.
    from qtriton.report.tables import build_report
    from qtriton_client import BenchResults

    report = build_report([BenchResults.load(path) for path in files])
    if json:
        console.as_json(report.to_json())
        return
    for table in (report.runtime, report.end2end, report.accuracy, report.breakdown, report.details):
        if table.rows:
            console.table(table.title, table.headers, table.rows)
    for note in report.notes:
        console.text(note)
