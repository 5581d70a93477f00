"""Serve a repository, or a release in its store, while a block runs, and report how far the start is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from qtriton.errors import QtritonError, RepositoryError
from qtriton.progress import SILENT, Reporter
from qtriton.releases.address import open_store, split_release_url
from qtriton.releases.outline import write_outline
from qtriton.releases.release import folder_of
from qtriton.repository.engines import pending
from qtriton.server import Server, ServerOptions, serve
from qtriton.server.requirements import graph_models


@contextmanager
def serve_repository(
    repository: Path, options: ServerOptions | None = None, reporter: Reporter = SILENT
) -> Iterator[Server]:
    """The embedded server, ready; it has ended, with all its processes, when the block is left.

    Raises:
        InputError: there is no such folder.
        RepositoryError: it is not one that can be served.
        ServerError: a port is taken, or a model does not load; with Triton's reason.
        SetupError: this machine lacks a part.
    """
    options = options or ServerOptions()
    backends = options.backends
    if (names := graph_models(repository)) and not (backends and (backends / "tensorrt").is_dir()):
        reporter.warn(
            f"{', '.join(names)}: served without CUDA graphs, which only Triton's own TensorRT backend runs. Name the "
            "folder of its backends with --backends, or serve with --docker."
        )
    with ExitStack() as stack:
        with reporter.progress(f"{options.copy_url or repository}: start tritonserver") as progress:
            server = stack.enter_context(serve(repository, options, progress))
        yield server


@contextmanager
def serve_release(url: str, options: ServerOptions | None = None, reporter: Reporter = SILENT) -> Iterator[Server]:
    """The embedded server on a release, which tritonserver itself loads from its store.

    Args:
        url: a destination, whose current release is served, or the URL of a release, as `qtriton publish` prints it.
        options: as for a folder.
        reporter: hears how far the start is.

    Raises:
        InputError: there is no such destination or release.
        RepositoryError: it cannot be served.
        ServerError: a port is taken, or a model does not load; with Triton's reason.
        SetupError, StoreError: as for every store.
    """
    destination, name = split_release_url(url)
    store = open_store(destination)
    with TemporaryDirectory(prefix="qtriton-release-") as folder, ExitStack() as stack:
        outline = Path(folder)
        release_url = store.server_url(folder_of(write_outline(store, name, outline).id))
        if models := pending(outline):
            raise RepositoryError(
                f"{release_url}: the engine of {', '.join(models)} is pending, and a store is not written to. Fetch "
                "the release with `qtriton releases fetch`, run `qtriton engines build` on it, and serve that folder."
            )
        try:
            copy = replace(options or ServerOptions(), copy_url=release_url)
            server = stack.enter_context(serve_repository(outline, copy, reporter))
        except QtritonError as error:
            raise type(error)(str(error).replace(str(outline), release_url)) from error
        yield server
