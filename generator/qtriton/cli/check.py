"""qtriton check: is a repository complete and consistent, without a server."""

import typer

from qtriton.cli import options as o


def check(repository: o.RepositoryArgument = o.DEFAULT_REPOSITORY, json: o.Json = False) -> None:
    """Check every config, tensor and file of a model repository without starting a server."""
    from dataclasses import asdict

    from qtriton import console
    from qtriton.triton.check import check as run

    problems = run(repository)
    if json:
        console.as_json({"repository": str(repository), "problems": [asdict(problem) for problem in problems]})
    else:
        for problem in problems:
            console.text(str(problem))
        if not problems:
            console.say(f"{repository}: no problem found.")
    if problems:
        raise typer.Exit(7)
