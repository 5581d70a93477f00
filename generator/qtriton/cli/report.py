"""qtriton report: the tables of what was measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from qtriton.cli import options as o


def report(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Files that bench wrote. Default: all in results/.", metavar="FILE...")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the Markdown into a file instead of stdout.", metavar="FILE")
    ] = None,
    json: o.Json = False,
) -> None:
    """Print the tables of FastDeploy's kind as Markdown; for the same variant the latest results count."""
    from qtriton.errors import InputError

    files = results or sorted(Path("results").glob("*.json"))
    if not files:
        raise InputError("results/: no results there. Run qtriton bench first, or name the files it wrote.")
    show(files, json, markdown=True, output=output)


def show(files: Sequence[Path], json: bool, markdown: bool, output: Path | None = None) -> None:
    """Show results as JSON, as Markdown, or drawn for a person."""
    from qtriton import console
    from qtriton.atomic import write_atomically
    from qtriton.report.tables import build_report
    from qtriton_client import BenchResults

    made = build_report([BenchResults.load(path) for path in files])
    if json:
        console.as_json(made.to_json())
    elif output is not None:
        write_atomically(output, made.markdown().encode())
        console.say(f"Written: {output}")
    elif markdown:
        console.text(made.markdown())
    else:
        for table in (made.runtime, made.end2end, made.details):
            console.table(table.title, table.headers, table.rows)
        for note in made.notes:
            console.text(note)
