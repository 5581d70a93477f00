"""qtriton tune: how many instances and threads each step should have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.expand import expand
from qtriton.options import DEFAULT_REPOSITORY
from qtriton.tuning.options import TuneOptions

if TYPE_CHECKING:
    from qtriton.tuning.run import TuneResult


@expand(TuneOptions)
def tune(
    repository: o.RepositoryArgument = DEFAULT_REPOSITORY,
    *,
    model: Annotated[
        str,
        typer.Option(help="An ensemble, or a model: then the one that `qtriton explain` recommends.", metavar="NAME"),
    ],
    options: TuneOptions,
    json: o.Json = False,
) -> None:
    """Find the instances, threads and batching with which a model serves a load best, and write them.

    Starts embedded servers on copies of the model, and ends them. The repository changes at the end, as a whole, and
    only where the p99 keeps its budget.
    """
    # Loaded when called: NumPy, tritonclient.
    from qtriton.report.tuning import remarks, sections
    from qtriton.tuning.run import tune
    from qtriton.workspace import Workspace

    result = tune(repository, model, options, Workspace.default(), console)
    if json:
        console.as_json(result.as_json())
        return
    for section in sections(result.tuning):
        console.table(section.title, section.headers, section.rows)
    for line in remarks(result.tuning):
        console.text(line)
    console.say(_outcome(result, repository, options.dry_run))


def _outcome(result: "TuneResult", repository: Path, dry_run: bool) -> str:
    chosen = result.tuning.chosen
    if chosen == result.tuning.before:
        said = f"stays at {chosen}; nothing that was tried is better."
    elif dry_run:
        said = f"{chosen} would be written."
    else:
        said = f"{chosen} is written. A server that runs has it when it is started again: qtriton serve {repository}"
    return f"{result.ensemble}: {said}{' --dry-run changed nothing.' * dry_run}"
