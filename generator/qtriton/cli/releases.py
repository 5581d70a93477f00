"""qtriton releases: what was published to a destination, which of it is current, and a copy of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.units import parse_age, size_in_words

app = typer.Typer(
    no_args_is_help=True, help="List what was published to a folder or bucket, fetch it, roll back, or prune it."
)


@app.command("list")
def list_releases(destination: o.Destination, endpoint_url: o.EndpointUrl = None, json: o.Json = False) -> None:
    """List the releases of a destination, the last one first, and say which is current."""
    # Loaded when called: pydantic, boto3.
    from qtriton.releases.api import list_releases as run
    from qtriton.releases.release import SHOWN

    found = run(destination, endpoint_url=endpoint_url)
    if json:
        rows = [{**asdict(each), "modified": each.modified.isoformat()} for each in found.releases]
        history = [move.model_dump(mode="json") for move in found.history]
        console.as_json(
            {"destination": found.destination, "current": found.current, "releases": rows, "history": history}
        )
    elif found.releases:
        lines = [
            (each.release[:SHOWN], each.state, f"{each.modified:%Y-%m-%d %H:%M}", size_in_words(each.bytes))
            for each in found.releases
        ]
        console.table(found.destination, ("Release", "State", "Completed (UTC)", "Size"), lines)
    else:
        console.say(f"{found.destination}: nothing was published here. `qtriton publish` does that.")


@app.command("rollback")
def rollback(
    destination: o.Destination,
    release: Annotated[
        str | None,
        typer.Argument(help="The release, or the beginning of its name. Default: the one before the current one."),
    ] = None,
    endpoint_url: o.EndpointUrl = None,
    json: o.Json = False,
) -> None:
    """Make an earlier release current again.

    Servers go on with what they have loaded: give them the release's URL, or let them fetch what is current.
    """
    # Loaded when called: pydantic, boto3.
    from qtriton.releases.api import rollback_release as run

    result = run(destination, release, endpoint_url=endpoint_url)
    if json:
        console.as_json(asdict(result))
        return
    console.say(f"Release {result.release} {'is current again' if result.moved else 'was current already'}.")
    console.text(result.url)


@app.command("fetch")
def fetch(
    destination: o.Destination,
    folder: Annotated[
        Path, typer.Argument(help="A folder that does not exist, is empty, or holds a release.", show_default=False)
    ],
    release: Annotated[
        str | None, typer.Option(help="The release, or the beginning of its name. Default: the current one.")
    ] = None,
    endpoint_url: o.EndpointUrl = None,
    json: o.Json = False,
) -> None:
    """Download a release into a folder, which appears whole, when every SHA-256 is right, or not at all."""
    # Loaded when called: pydantic, boto3.
    from qtriton.releases.api import fetch_release as run

    fetched = run(destination, folder, release, endpoint_url=endpoint_url, reporter=console)
    if json:
        console.as_json(asdict(fetched))
        return
    how = "fetched, verified" if fetched.changed else "is there already, verified"
    size = size_in_words(fetched.bytes)
    console.say(f"{fetched.folder}: release {fetched.release} {how}. {fetched.files} files, {size}.")


@app.command("prune")
def prune(
    destination: o.Destination,
    older_than: Annotated[
        str, typer.Option(help="Remove releases that were not current for so long: 12h, 30d, 8w.", metavar="TIME")
    ] = "30d",
    half_older_than: Annotated[
        str,
        typer.Option(help="Remove half a release if nothing was sent to it for so long.", metavar="TIME"),
    ] = "24h",
    keep: Annotated[
        list[str] | None, typer.Option(help="A release that stays, or the beginning of its name.", metavar="RELEASE")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    endpoint_url: o.EndpointUrl = None,
    json: o.Json = False,
) -> None:
    """Remove old releases; never the current one, the one before it, nor what you name with --keep.

    What the servers of a cluster were given by its URL stays if it was current within the time, or is named.
    """
    # Loaded when called: pydantic, boto3.
    from qtriton.releases.api import prune_releases as run

    gone = run(
        destination,
        older_than=timedelta(seconds=parse_age(older_than, "--older-than")),
        half_older_than=timedelta(seconds=parse_age(half_older_than, "--half-older-than")),
        keep=keep or (),
        dry_run=dry_run,
        endpoint_url=endpoint_url,
    )
    if json:
        rows = [{"release": each.id, "bytes": each.bytes, "whole": each.whole} for each in gone]
        console.as_json({"dry_run": dry_run, "removed": rows})
        return
    for each in gone:
        console.text(f"{each.id}: {size_in_words(each.bytes)}{'' if each.whole else ', half'}")
    what = "would be removed" if dry_run else "removed"
    console.say(f"{len(gone)} releases, {size_in_words(sum(each.bytes for each in gone))}, {what}.")
