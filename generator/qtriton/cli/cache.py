"""qtriton cache: where intermediate results are kept, how much they take, and how to take some away."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from qtriton import console
from qtriton.cache import KINDS, CacheEntry, entries, free_bytes, prune, to_prune
from qtriton.cli import options as o
from qtriton.cli.units import parse_age, parse_size, size_in_words
from qtriton.errors import InputError
from qtriton.workspace import Workspace

app = typer.Typer(help="Say where intermediate results are kept and how much they take, list them, or prune them.")


@app.callback(invoke_without_command=True)
def where(context: typer.Context, json: o.Json = False) -> None:
    """Say where intermediate results are kept and how much they take, list them, or prune them."""
    if context.invoked_subcommand is not None:
        return
    workspace = Workspace.default()
    every = entries(workspace)
    sizes = {kind: sum(entry.bytes for entry in every if entry.kind == kind) for kind in KINDS}
    total, free = sum(sizes.values()), free_bytes(workspace)
    if json:
        console.as_json({"path": workspace.root, "bytes": total, "free_bytes": free, "kinds": sizes})
        return
    console.text(f"{workspace.root}: {size_in_words(total)}, {size_in_words(free)} free on its disk")
    for kind, what in KINDS.items():
        console.text(f"  {kind}: {size_in_words(sizes[kind])}, {what}")
    console.say("QTRITON_CACHE names another folder. Next: qtriton cache list, or qtriton cache prune --older-than 30d")


@app.command("list")
def list_entries(json: o.Json = False) -> None:
    """List what is kept, that which was used longest ago first."""
    every = entries(Workspace.default())
    if json:
        console.as_json([_row(entry) for entry in every])
        return
    rows = [
        (
            entry.kind,
            entry.name,
            size_in_words(entry.bytes),
            f"{_used(entry):%Y-%m-%d %H:%M}",
            "in use" if entry.in_use else "",
        )
        for entry in every
    ]
    if rows:
        console.table("Cache", ("Kind", "Name", "Size", "Last used", ""), rows)
    else:
        console.say("The cache is empty.")


@app.command("prune")
def prune_entries(
    older_than: Annotated[
        str | None,
        typer.Option(help="Take away what was not used for so long: 12h, 30d, 8w.", metavar="TIME"),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(help="Take away the oldest until no more is left: 500M, 5G.", metavar="SIZE"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be taken away.")] = False,
    json: o.Json = False,
) -> None:
    """Take away what is old or too much, and what failed builds left; never what a running build uses.

    Published repositories keep no link to the cache. What is taken away is made again when a build needs it.
    """
    if older_than is None and max_size is None:
        raise InputError("Say what may go: --older-than 30d, or --max-size 5G, or both.")
    age = None if older_than is None else parse_age(older_than, "--older-than")
    size = None if max_size is None else parse_size(max_size, "--max-size")
    workspace = Workspace.default()
    chosen = to_prune(entries(workspace), age, size)
    gone = chosen if dry_run else prune(workspace, chosen)
    if json:
        console.as_json({"dry_run": dry_run, "removed": [_row(entry) for entry in gone]})
        return
    for entry in gone:
        console.text(f"{entry.kind}/{entry.name}: {size_in_words(entry.bytes)}")
    what = "would be taken away" if dry_run else "taken away"
    console.say(f"{len(gone)} entries, {size_in_words(sum(entry.bytes for entry in gone))}, {what}.")


def _row(entry: CacheEntry) -> dict[str, object]:
    return {**asdict(entry), "name": entry.name, "used": _used(entry).isoformat(timespec="seconds")}


def _used(entry: CacheEntry) -> datetime:
    return datetime.fromtimestamp(entry.used)
