"""qtriton publish: a repository as an immutable release, whole and current."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.units import size_in_words

if TYPE_CHECKING:
    from qtriton.releases.publish import Published


def publish(
    repository: Annotated[
        Path, typer.Argument(help="The Triton model repository.", metavar="REPOSITORY", show_default=False)
    ],
    destination: o.Destination,
    endpoint_url: o.EndpointUrl = None,
    json: o.Json = False,
) -> None:
    """Publish a repository as an immutable release into a folder or an S3 bucket, and make it current.

    Checks it first, sends what is not there yet, reads back what the store has, and completes the release with
    RELEASE.json, the SHA-256 of every file. CURRENT.json then names it, unless another was published meanwhile.
    """
    # Loaded when called: pydantic, protobuf, boto3.
    from qtriton.releases.api import publish as run

    published = run(repository, destination, endpoint_url=endpoint_url, reporter=console)
    if json:
        console.as_json(asdict(published))
        return
    _tell(published, repository, destination, endpoint_url)


def _tell(published: Published, repository: Path, destination: str, endpoint_url: str | None) -> None:
    for model in published.engines_pending:
        console.say(
            f"{model}: engine pending, published as it is. The docker image builds it on its GPU at the start; other "
            f"servers need `qtriton engines build {repository}` on such a GPU first."
        )
    what = f"{published.files} files, {size_in_words(published.bytes)}"
    there = published.files - published.sent_files
    sent = f"{published.sent_files} sent" + (f", {there} were there" if there else "")
    how = "is current now" if published.moved else "was current already"
    console.say(f"Release {published.release}: {what}; {sent}. Verified; it {how}.")
    console.text(published.url)
    endpoint = ["--endpoint-url", endpoint_url] if endpoint_url else []
    console.say(f"Serve it: tritonserver --model-repository={published.url} --model-control-mode=none")
    fetch = join(["qtriton", "releases", "fetch", destination, "models", *endpoint])
    console.say(f"Fetch it, verified: {fetch}")
    if published.previous:
        back = join(["qtriton", "releases", "rollback", destination, *endpoint])
        console.say(f"Go back to {published.previous}: {back}")
