"""qtriton tune: how many instances and threads each step should have."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.expand import expand

if TYPE_CHECKING:
    from qtriton.tuning.run import TuneResult


@dataclass(frozen=True)
class TuneArguments:
    """The options of `qtriton tune`."""

    model: Annotated[
        str,
        typer.Option(help="An ensemble, or a model: then the one that `qtriton explain` recommends.", metavar="NAME"),
    ]
    p99: Annotated[float, typer.Option(help="What 99 of 100 clients may wait at most, in milliseconds.", metavar="MS")]
    clients: Annotated[
        int | None,
        typer.Option(
            help="The load: so many clients, one request each at a time. Their throughput is made as high as can be. "
            "Default: two for each core.",
            metavar="N",
        ),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(
            help="The load: so many requests a second, at random moments. Their p99 is made as low as can be.",
            metavar="R",
        ),
    ] = None
    minutes: Annotated[float, typer.Option(help="How long it may measure.", metavar="MINUTES")] = 5.0
    images: Annotated[
        Path | None, typer.Option(help="Folder of images. Default: those of the build.", metavar="DIR")
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written, and change nothing.")] = False
    json: o.Json = False


@expand(TuneArguments)
def tune(repository: o.RepositoryArgument, *, options: TuneArguments) -> None:
    """Find the instances, threads and batching with which a model serves a load best on this machine, and write them.

    Starts embedded servers on copies of the model, and ends them. The repository changes at the end, as a whole, and
    only where the p99 keeps its budget.
    """
    # Loaded when called: NumPy, tritonclient.
    from qtriton.report.tuning import remarks, sections
    from qtriton.tuning.run import TuneOptions, tune
    from qtriton.workspace import Workspace

    asked = TuneOptions(
        p99_ms=options.p99,
        clients=options.clients,
        rate=options.rate,
        minutes=options.minutes,
        images=options.images,
        dry_run=options.dry_run,
    )
    result = tune(repository, options.model, asked, Workspace.default(), console)
    if options.json:
        console.as_json(result.as_json())
        return
    for section in sections(result.tuning):
        console.table(section.title, section.headers, section.rows)
    for line in remarks(result.tuning):
        console.text(line)
    console.say(_outcome(result, repository, options.dry_run))


def _outcome(result: "TuneResult", repository: Path, dry_run: bool) -> str:
    chosen = result.tuning.chosen
    if dry_run:
        return f"{result.ensemble}: {chosen} would be written; --dry-run changed nothing."
    if not result.changed:
        return f"{result.ensemble}: stays at {chosen}; nothing that was tried is better."
    return (
        f"{result.ensemble}: {chosen} is written. A server that runs has it when it is started again: "
        f"qtriton serve {repository}"
    )
