"""Measure ensembles over gRPC, each model with images of its own kind, on a server of ours or the user's."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtriton import console
from qtriton.build.images import remembered_images
from qtriton.errors import InputError, RepositoryError, ServerError
from qtriton.repository.record import published
from qtriton.workspace import Workspace

if TYPE_CHECKING:
    from qtriton_client import BenchResults, LoadOptions


def bench_server(url: str, models: Sequence[str], images: Path, options: "LoadOptions") -> "BenchResults":
    """Measure a server that runs already; no models means all of its ensembles that qtriton built."""
    return _measure(url, url, list(models) or None, images, options)


def bench_repository(
    repository: Path, models: Sequence[str], images: Path | None, options: "LoadOptions", workspace: Workspace
) -> "BenchResults":
    """Serve a repository, measure its models one after the other, and end the server.

    Raises:
        RepositoryError: there is nothing of qtriton's in it, or not what was asked for.
        InputError: no images are known for a model.
    """
    from qtriton.server import ServerOptions, serve
    from qtriton_client import ClientError

    work = {
        model: (ensembles, images or _known_images(model, workspace))
        for model, ensembles in _wanted(repository, models).items()
    }
    with ExitStack() as stack:
        with console.progress(f"{repository}: start tritonserver") as progress:
            server = stack.enter_context(serve(repository, ServerOptions(grpc_port=0, http_port=0), progress))
        try:
            runs = [
                _measure(model, server.grpc_url, ensembles, folder, options)
                for model, (ensembles, folder) in work.items()
            ]
        except ClientError as error:
            if not server.has_ended(within_s=5):
                raise
            # The log is in the server's own folder, which goes away with it.
            raise ServerError(f"{error}\ntritonserver has ended; the last it said:\n{server.last_words()}") from error
    return replace(runs[0], runs=tuple(run for results in runs for run in results.runs))


def _measure(what: str, url: str, models: Sequence[str] | None, images: Path, options: "LoadOptions") -> "BenchResults":
    from qtriton.report.plausibility import refuse_implausible
    from qtriton_client import bench, read_images

    with console.progress(f"bench {what}") as progress:
        results = bench(url, models, read_images(images), options, progress)
    refuse_implausible(results)
    return results


def _wanted(repository: Path, models: Sequence[str]) -> dict[str, list[str]]:
    """The ensembles to measure, by model."""
    found = published(repository)
    if not found:
        raise RepositoryError(f"{repository}: no ensemble that qtriton built. Run qtriton build first.")
    wanted: dict[str, list[str]] = {}
    for ensemble, model in found.items():
        if not models or model in models or ensemble in models:
            wanted.setdefault(model, []).append(ensemble)
    unknown = set(models) - set(found) - set(found.values())
    if unknown:
        known = ", ".join(sorted(set(found.values())))
        raise RepositoryError(f"{repository}: no model {', '.join(sorted(unknown))} in it. It has {known}.")
    return wanted


def _known_images(model: str, workspace: Workspace) -> Path:
    folder = remembered_images(workspace, model)
    if folder is None:
        raise InputError(f"{model}: which images to send is not known here. Pass --images DIR.")
    return folder
