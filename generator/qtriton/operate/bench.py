"""Measure ensembles over gRPC, each model with images of its own kind, on a server of ours or the user's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from qtriton.builder.inputs import generate_scenes
from qtriton.errors import BenchError, RepositoryError, ServerError
from qtriton.operate.serve import serve_repository
from qtriton.progress import SILENT, Reporter
from qtriton.repository.read import Repository
from qtriton.server import ServerOptions
from qtriton.spec import GeneratedImages
from qtriton.workspace import Workspace
from qtriton_client import BenchResults, ClientError, LoadOptions, implausible, read_images
from qtriton_client import bench as measure

#: What is sent where no image of a model's own is at hand.
_SCENES: Final = GeneratedImages(scenes="digits", seed=0, images=32)


def bench_server(
    url: str,
    models: Sequence[str],
    images: Path,
    options: LoadOptions,
    reporter: Reporter = SILENT,
    metrics_url: str | None = None,
) -> BenchResults:
    """Measure a server that runs already; no models means all of its ensembles that qtriton built.

    With the URL of its metrics, decoding is told from the rest of preprocessing.

    Raises:
        ClientError: the server is away, or has not what was named.
        BenchError: a Runtime is above its End2End.
    """
    return _measure(url, url, metrics_url, list(models) or None, read_images(images), options, reporter)


def bench_repository(
    repository: Path,
    models: Sequence[str],
    images: Path | None,
    options: LoadOptions,
    workspace: Workspace,
    reporter: Reporter = SILENT,
) -> BenchResults:
    """Serve a repository, measure its models one after the other, and end the server.

    Without `images` each model gets those of its build, and where these are gone, generated ones and a warning.

    Raises:
        InputError: there is no such folder, or it has not what was named.
        RepositoryError: there is nothing of qtriton's in it.
        ServerError: the server does not start, or has ended.
        BenchError: a Runtime is above its End2End.
    """
    opened = Repository.open(repository)
    by_model: dict[str, list[str]] = {}
    for ensemble, model in opened.ensembles(models).items():
        by_model.setdefault(model, []).append(ensemble)
    sent = {
        model: read_images(images or images_of(opened, model, ensembles, workspace, reporter))
        for model, ensembles in by_model.items()
    }
    with serve_repository(repository, ServerOptions(grpc_port=0, http_port=0, metrics_port=0), reporter) as server:
        try:
            runs = [
                _measure(model, server.grpc_url, server.metrics_url, ensembles, sent[model], options, reporter)
                for model, ensembles in by_model.items()
            ]
        except ClientError as error:
            if not server.has_ended(within_s=5):
                raise
            # The log is in the server's own folder, which goes away with it.
            raise ServerError(f"{error}\ntritonserver has ended; its log ends with:\n{server.last_words()}") from error
    return replace(runs[0], runs=tuple(run for results in runs for run in results.runs))


def _measure(
    what: str,
    url: str,
    metrics_url: str | None,
    models: Sequence[str] | None,
    images: Sequence[bytes],
    options: LoadOptions,
    reporter: Reporter,
) -> BenchResults:
    with reporter.progress(f"bench {what}") as progress:
        results = measure(url, models, images, options, progress, metrics_url)
    refuse_implausible(results)
    return results


def refuse_implausible(results: BenchResults) -> None:
    """Let pass only results in which each Runtime lies within its End2End.

    Raises:
        BenchError: some do not; the message names each row.
    """
    if violations := implausible(results):
        rows = "; ".join(map(str, violations))
        raise BenchError(f"Not reported, as it cannot be true: {rows}. Measure again on a quiet machine.")


def images_of(
    repository: Repository, model: str, ensembles: Iterable[str], workspace: Workspace, reporter: Reporter
) -> Path:
    """The folder of images that a model was measured on, or with, when it was built; else generated scenes."""
    places: list[str] = []
    for ensemble in ensembles:
        try:
            places.append(repository.manifest(ensemble).images)
        except RepositoryError:
            continue  # of another qtriton, which can be measured all the same
    folders = [place for place in dict.fromkeys(places) if place]
    for folder in map(Path, folders):
        if folder.is_dir():
            return folder
    reason = f"the images of its build, {folders[0]}, are gone" if folders else "it was built without images"
    reporter.warn(f"{model}: {reason}, so generated ones are sent. Pass --images DIR to send your own.")
    return generate_scenes(_SCENES, "validation", workspace)
