"""qtriton engines: TensorRT engines of a repository."""

from pathlib import Path
from typing import Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.options import DEFAULT_REPOSITORY

app = typer.Typer(no_args_is_help=True, help="Build the TensorRT engines of a repository on the GPU that serves it.")


@app.command("build")
def build(
    repository: o.RepositoryArgument = DEFAULT_REPOSITORY,
    into: Annotated[
        Path | None,
        typer.Option(help="Leave REPOSITORY as it is: make DIR of links to it and the engines.", metavar="DIR"),
    ] = None,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Build every engine that is pending, or that another TensorRT, another GPU or another model made."""
    # Loaded when called: NumPy, pydantic.
    from qtriton.operate.engines import build_engines
    from qtriton.repository.links import link_repository
    from qtriton.workspace import Workspace

    if into is not None:
        link_repository(repository, into)
    builds = []
    for each in build_engines(into or repository, Workspace.default(), console, force):
        builds.append(each)
        if not json:
            how = f"built in {each.facts.seconds:g} s" if each.changed else "is up to date"
            console.say(f"{each.model}: {how}, TensorRT {each.facts.tensorrt} on {each.facts.gpu}.")
    if json:
        rows = [{"model": each.model, "changed": each.changed, **each.facts.model_dump()} for each in builds]
        console.as_json({"repository": str(into or repository), "engines": rows})
    elif not builds and into is None:
        console.say(f"{repository}: no model here has a TensorRT engine. `qtriton build --backend tensorrt` makes one.")


@app.command("list")
def list_engines(repository: o.RepositoryArgument = DEFAULT_REPOSITORY, json: o.Json = False) -> None:
    """Say which engines are built, where, and which are pending."""
    # Loaded when called: NumPy, pydantic.
    from qtriton.backends.tensorrt.recipe import PlanFacts
    from qtriton.repository.engines import engine_folders, is_pending

    rows = []
    for folder in engine_folders(repository):
        try:
            facts = None if is_pending(folder) else PlanFacts.load(folder)
        except (OSError, ValueError):
            facts = None
        rows.append((folder.parent.name, facts))
    if json:
        console.as_json([{"model": model, "engine": facts.model_dump() if facts else None} for model, facts in rows])
        return
    for model, facts in rows:
        console.say(f"{model}: {f'TensorRT {facts.tensorrt} on {facts.gpu}' if facts else 'pending'}")
    if not rows:
        console.say(f"{repository}: no model here has a TensorRT engine.")
